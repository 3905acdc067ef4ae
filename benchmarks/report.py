"""How long a report over many records takes: synthetic records of 10 models on 20 tasks, with predictions.

    python benchmarks/report.py [--records 10000] [--rounds 5]

Each format is written by the command line in a process of its own, start included, as a user waits for it; the formats
take turns, so that a slow minute of the machine is every format's. The aim is five seconds for 10,000 records in the
terminal.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.results.record import Measured, Record, Run, RunCost
from mixer_bench.results.store import Predictions, Store
from mixer_bench.stats import intervals
from mixer_bench.system import machine
from mixer_bench.task import task

EXAMPLES, CLASSES = 1000, 10
SIDE = Preprocessing(resolution=224, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", crop_pct=1.0)
MODELS = ("mixer_b16", "mixer_l16", "vit_b16", "vit_b32", "vit_l16", "resnet50", "resnet101", "resnet152x2")
MODELS += ("mixer_b16_in1k", "vit_b16_in1k")
FORMATS = ("table", "markdown", "csv", "latex", "json", "html")
SHOTS, SEEDS = (1, 5, 10, 25, 50), range(10)


def record(name: str, number: int, shots: int, seed: int, right: np.ndarray) -> Record:
    """One run, with what it needs to be reported."""
    share, interval = float(right.mean()), intervals.proportion_interval(int(right.sum()), EXAMPLES)
    run = Run(
        model=MODELS[number],
        weights=f"{number:064d}",
        preprocessing=SIDE,
        task=name,
        task_version=task.tasks()[name].version,
        data=f"{name:0<64}"[:64],
        subset="official",
        limit=None,
        metric="top1",
        protocol="fewshot",
        protocol_version=1,
        config={"shots": shots, "l2": [1024.0]},
        seed=seed,
        precision="fp32",
    )
    return Record(
        run=run,
        metrics={"top1": Measured(value=share, ci95=interval)},
        num_classes=CLASSES,
        n_train=800,
        n_val=200,
        n_test=EXAMPLES,
        source="synthetic",
        cost=RunCost(images=0, extract_s=0, fit_s=0, throughput=100.0, throughput_on="a processor", peak_memory=None),
        environment={},
        created="2026-01-01T00:00:00+00:00",
    )


def fill(store: Store, count: int) -> None:
    """Write ``count`` records; the better half of the models is three points apart, hard images are hard for all."""
    generator = np.random.default_rng(0)
    names = [*sorted(name for name, one in task.tasks().items() if "vtab" in one.tags), "cifar10"]
    label = generator.integers(0, CLASSES, EXAMPLES)
    hard = generator.normal(size=EXAMPLES)
    every = itertools.product(names, range(len(MODELS)), SHOTS, SEEDS)
    for name, number, shots, seed in itertools.islice(every, count):
        level = 0.4 + 0.03 * number + 0.02 * SHOTS.index(shots)
        right = hard + generator.normal(size=EXAMPLES) < np.quantile(hard, level) * 1.4
        predictions = Predictions(label, np.where(right, label, (label + 1) % CLASSES), np.ones(EXAMPLES, np.float32))
        store.save(record(name, number, shots, seed, right), predictions)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fill(Store(Path(folder)), options.records)
        outputs = {fmt: Path(folder) / f"report.{fmt}" for fmt in FORMATS}
        rounds = [{fmt: seconds(folder, fmt, outputs[fmt]) for fmt in FORMATS} for _ in range(options.rounds)]
        sizes = {fmt: output.stat().st_size / 1e6 for fmt, output in outputs.items()}
    print(f"{machine.processor()}; {options.records} records with predictions of {EXAMPLES} test examples\n")
    rows = []
    for fmt in FORMATS:
        taken = sorted(one[fmt] for one in rounds)
        rows.append((fmt, *(f"{s:.1f}" for s in (taken[0], statistics.median(taken), taken[-1])), f"{sizes[fmt]:.1f}"))
    headings = ("format", "fastest, s", "median, s", "slowest, s", "MB")
    print(tabulate(rows, headings, tablefmt="pipe", disable_numparse=True))


def seconds(folder: str, fmt: str, output: Path) -> float:
    """What a user waits for the report of ``folder`` in that format."""
    command = [sys.executable, "-m", "mixer_bench", "report", "--results", folder, "--format", fmt]
    start = time.perf_counter()
    subprocess.run([*command, "--output", str(output)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
