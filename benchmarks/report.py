"""What reports, the gate and merges over many records take: synthetic records on 20 tasks, with predictions.

    python benchmarks/report.py [--records 10000] [--models 10] [--rounds 5]

Each verb runs from the command line in a process of its own, start included, as a user waits for it; verbs and formats
take turns, so that a slow minute of the machine is everybody's. The aims: three seconds for 10,000 records in the
terminal; a minute for 100,000 records in any format; 1 GB of memory for any verb; 15 seconds for a page of 200 models.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

from mixer_bench.models import zoo
from mixer_bench.models.origin import origin
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.results.record import Measured, Record, Run, RunCost
from mixer_bench.results.store import Predictions, Store
from mixer_bench.stats import intervals
from mixer_bench.system import code, machine
from mixer_bench.task import task

EXAMPLES, CLASSES = 1000, 10
SIDE = Preprocessing(resolution=224, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", crop_pct=1.0)
MODELS = ("mixer_b16", "mixer_l16", "vit_b16", "vit_b32", "vit_l16", "resnet50", "resnet101", "resnet152x2")
MODELS += ("mixer_b16_in1k", "vit_b16_in1k")
KNOWN = {name: origin(zoo.cards()[name]) for name in MODELS}
FORMATS = ("table", "markdown", "csv", "latex", "json", "html")
SHOTS = (1, 5, 10, 25, 50)


class Taken(NamedTuple):
    """What a process took."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def models(count: int) -> list[str]:
    """Names of so many models: of the zoo, and then of timm's checkpoints."""
    if count <= len(MODELS):
        return list(MODELS[:count])
    # Elsewhere: what this process holds when it starts another counts as the other's memory.
    listing = [sys.executable, "-c", "import timm; print(*timm.list_pretrained())"]
    names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split()
    return [*MODELS, *(f"timm:{name}" for name in names[: count - len(MODELS)])]


def record(name: str, model: str, number: int, shots: int, seed: int, right: np.ndarray) -> Record:
    """One run, with what it needs to be reported."""
    share, interval = float(right.mean()), intervals.proportion_interval(int(right.sum()), EXAMPLES)
    run = Run(
        model=model,
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
        origin=KNOWN.get(model),
        code=code.installed("fewshot"),
        environment=machine.describe("cpu", 2),
        created="2026-01-01T00:00:00+00:00",
    )


def fill(store: Store, count: int, names: Sequence[str]) -> None:
    """Write ``count`` records of those models; they are up to 27 points apart, hard images are hard for all."""
    generator = np.random.default_rng(0)
    tasks = [*sorted(name for name, each in task.tasks().items() if "vtab" in each.tags), "cifar10"]
    label = generator.integers(0, CLASSES, EXAMPLES)
    hard = generator.normal(size=EXAMPLES)
    seeds = range(math.ceil(count / len(tasks) / len(names) / len(SHOTS)))
    every = itertools.product(SHOTS, tasks, range(len(names)), seeds)
    for shots, name, number, seed in itertools.islice(every, count):
        level = 0.4 + 0.27 * number / max(1, len(names) - 1) + 0.02 * SHOTS.index(shots)
        right = hard + generator.normal(size=EXAMPLES) < np.quantile(hard, level) * 1.4
        predictions = Predictions(label, np.where(right, label, (label + 1) % CLASSES), np.ones(EXAMPLES, np.float32))
        store.save(record(name, names[number], number, shots, seed, right), predictions)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--models", type=int, default=len(MODELS))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results, merged, baseline = (Path(folder, name) for name in ("results", "merged", "baseline.json"))
        fill(Store(results), options.records, models(options.models))
        outputs = {f"report {fmt}": Path(folder, f"report.{fmt}") for fmt in FORMATS}
        verbs = {
            name: ["report", "--results", results, "--format", output.suffix[1:], "--output", output]
            for name, output in outputs.items()
        }
        verbs["check --update"] = ["check", baseline, "--results", results, "--update"]
        verbs["check"] = ["check", baseline, "--results", results]
        verbs["merge"] = ["merge", merged, results]
        rounds = []
        for _ in range(options.rounds):
            rounds.append({name: taken(verb) for name, verb in verbs.items()})
            shutil.rmtree(merged)
        outputs["check --update"] = baseline
        written = {name: output.stat().st_size / 1e6 for name, output in outputs.items()}
    print(f"{machine.processor()}; {options.records} records of {options.models} models, {EXAMPLES} test images\n")
    print_table(rounds, written)


def print_table(rounds: Sequence[Mapping[str, Taken]], written: Mapping[str, float]) -> None:
    """Print what each verb took, and the megabytes it wrote."""
    rows = []
    for name in rounds[0]:
        walls = sorted(each[name].wall_s for each in rounds)
        spread = [f"{wall:.1f}" for wall in (walls[0], statistics.median(walls), walls[-1])]
        cpu, peak = (max(each[name][column] for each in rounds) for column in (1, 2))
        rows.append((name, *spread, f"{cpu:.1f}", f"{peak:.0f}", f"{written[name]:.1f}" if name in written else ""))
    headings = ("verb", "fastest, s", "median, s", "slowest, s", "most CPU, s", "most memory, MB", "written, MB")
    print(tabulate(rows, headings, tablefmt="pipe", disable_numparse=True))


def taken(verb: Sequence[object]) -> Taken:
    """What a user waits for it, and what the process took."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "mixer_bench", *map(str, verb)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{verb} ended with {os.waitstatus_to_exitcode(status)}")
    # Linux counts kilobytes.
    return Taken(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3)


if __name__ == "__main__":
    main()
