"""What a cheaper search for the rate of fine-tuning loses: accuracy on test against that of the grid, and images.

    python benchmarks/search.py --data-dir data [--steps 128] [--limit 1000] [--output FOLDER]

`data/uoft-cs/cifar10` holds CIFAR-10 in the Hugging Face hub's layout. For each task and model the rate is chosen from
mixer-paper's four in each way; with what was chosen the network is trained on train and val with each seed and scored
on test. Trainings that ways share are made once, so that only the choice sets them apart. What is done already is kept
in the output folder, and a benchmark that was broken off goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from mixer_bench import data
from mixer_bench.data.examples import TaskData
from mixer_bench.models import names, weights
from mixer_bench.stats import metrics
from mixer_bench.system import machine
from mixer_bench.task import task
from mixer_bench.training import finetuning, presets
from mixer_bench.training.network import Trainable
from mixer_bench.training.search import search
from mixer_bench.training.settings import Config

MODELS = ("mixer_nano", "vit_nano", "resnet_nano")
TASKS = ("clipart", "digits", "cifar10")
WAYS: dict[str, dict[str, Any]] = {
    "grid": {},
    "search_steps=0.25": {"search_steps": 0.25},
    "halving": {"search": "halving"},
}
WARMUP = 0.2  # of the steps, as the preset's 100 of 500


def trainable(name: str, folder: Path) -> Trainable:
    """A model to be trained, its trainings noted in ``folder``."""
    card = names.card(name)
    identity = weights.identity(card)
    return Trainable(card, card.preprocessing, torch.device("cpu"), "fp32", identity, folder, lambda *_, **__: None)


def chosen(model: Trainable, images: TaskData, config: Config) -> float:
    """The rate that a search chooses."""
    development = images.development
    every = finetuning._Task(model, development, config, finetuning.FULL)

    def trial(rate: float, begin: int, end: int) -> finetuning._Training:
        return finetuning._Training(every, config.of_search, rate, 0, len(development.train), begin, end)

    return search(config, trial, len(development.val)).selection.chosen


def accuracy(model: Trainable, images: TaskData, config: Config, rate: float, seed: int, folder: Path) -> float:
    """The score on test of a network trained at a rate; those in ``folder`` are not computed again."""
    file = folder / f"{images.fingerprint[:16]}-{model.identity[:16]}-{config.steps}-{rate:g}-{seed}.json"
    if not file.is_file():
        fitted = finetuning.finetune(
            model, images.development, config.model_copy(update={"learning_rates": (rate,)}), seed
        )
        predicted = fitted.scores(images.test).argmax(1)
        score = metrics.get(images.metric).score(predicted, images.test.labels, images.num_classes)
        fitted.finished()
        file.write_text(json.dumps(score))
    return float(json.loads(file.read_text()))


def rows_of(name: str, model_name: str, options: argparse.Namespace) -> list[list[Any]]:
    """A row a way of searching."""
    asked = task.tasks()[name]
    images = data.load(asked, options.data_dir).limited(options.limit)
    model = trainable(model_name, options.output)
    settings = presets.preset("mixer-paper").of(asked, len(images.train) + len(images.val))
    settings |= {"steps": options.steps, "warmup": round(WARMUP * options.steps), "batch_size": options.batch_size}
    rows: list[list[Any]] = []
    for way, cheaper in WAYS.items():
        config = Config.model_validate({**settings, **cheaper})
        rate = chosen(model, images, config)
        scores = [accuracy(model, images, config, rate, seed, options.output) for seed in range(options.seeds)]
        before = 0
        searched = 0
        for rates, end in config.rungs:
            searched, before = searched + rates * (end - before), end
        rows.append([name, model_name, way, f"{searched / options.steps:g}", f"{rate:g}", 100 * float(np.mean(scores))])
        print(*rows[-1], sep=" | ", flush=True)
    return [[*row, row[-1] - rows[0][-1]] for row in rows]


def main() -> None:
    """Print a row a task, model and way, and what each way loses on average."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("results/search"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    rows = [row for model in MODELS for name in TASKS for row in rows_of(name, model, options)]
    print(
        f"\n{machine.processor()}, torch {torch.__version__}; {options.steps} steps of {options.batch_size}, ", end=""
    )
    print(f"{options.seeds} seeds, at most {options.limit} examples a split\n")
    headings = ("task", "model", "search", "trainings", "rate", "top-1 %", "against the grid")
    print(tabulate(rows, headings, tablefmt="github", floatfmt=".2f"))
    print()
    means = []
    for way in WAYS:
        lost = [row[-1] for row in rows if row[2] == way]
        cost = next(row[3] for row in rows if row[2] == way)
        same = sum(row[4] == of_grid[4] for row, of_grid in _beside_the_grid(rows, way))
        means.append([way, cost, f"{same} of {len(lost)}", float(np.mean(lost)), min(lost)])
    headings = ("search", "trainings", "the grid's rate", "mean against the grid", "worst")
    print(tabulate(means, headings, tablefmt="github", floatfmt=".2f"))


def _beside_the_grid(rows: list[list[Any]], way: str) -> list[tuple[list[Any], list[Any]]]:
    grids = {(row[0], row[1]): row for row in rows if row[2] == "grid"}
    return [(row, grids[row[0], row[1]]) for row in rows if row[2] == way]


if __name__ == "__main__":
    main()
