"""What `--dry-run` predicts against what the run then takes, on this machine.

    OMP_NUM_THREADS=1 python benchmarks/cost.py --data-dir data [--rounds 3] [--clock process]

`data/uoft-cs/cifar10` holds CIFAR-10 in the hub's layout. Each round predicts and then runs, in a cache and
a results folder of its own, so that nothing is there already and both see the machine as it is then. `--clock process`
counts the processor's seconds on both sides: other programs on the machine disturb these least.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from tabulate import tabulate

from mixer_bench.executors import driver
from mixer_bench.profile import speed
from mixer_bench.runs import speeds
from mixer_bench.runs.options import Options
from mixer_bench.system import machine
from mixer_bench.training import images

NANOS = ("mixer_nano", "vit_nano", "resnet_nano")
PROBES: dict[str, Any] = {"model": NANOS, "protocol": ("fewshot", "linear", "knn")}
STEPS = {"steps": 200, "warmup": 40, "batch_size": 32, "learning_rates": 0.03}
TRAINED: dict[str, Any] = {"model": "mixer_nano", "protocol": "finetune", "settings": STEPS, "seeds": 1}
CASES: dict[str, list[dict[str, Any]]] = {
    "probes of 3 nanos, clipart": [{"task": "clipart", **PROBES}],
    "probes of 3 nanos, CIFAR-10, 1,000 a split": [{"task": "cifar10", "limit": 1000, **PROBES}],
    "200 steps of mixer_nano, clipart": [{"task": "clipart", **TRAINED}],
    "both of clipart": [{"task": "clipart", **PROBES}, {"task": "clipart", **TRAINED}],
}
CLOCKS = {"process": time.process_time, "wall": time.perf_counter}


def once(case: list[dict[str, Any]], data_dir: Path, clock: str) -> tuple[float, float]:
    """Seconds as predicted, and as they were."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MIXER_BENCH_CACHE"] = f"{folder}/cache"
        images._KEPT.clear()
        shared = {"device": "cpu", "data_dir": data_dir, "output_dir": f"{folder}/results"}
        asked = [Options.model_validate({**shared, **part}) for part in case]
        predicted = sum(driver.foretell(options, quiet=True).seconds for options in asked)
        start = CLOCKS[clock]()
        for options in asked:
            done = driver.run(options, quiet=True)
            if done.exit_code:
                raise SystemExit(f"{options.task}: {done.unavailable} {done.failed}")
        return predicted, CLOCKS[clock]() - start


def main() -> None:
    """Print a row a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    told = parser.parse_args()
    for module in (speed, speeds):
        vars(module)["time"] = SimpleNamespace(perf_counter=CLOCKS[told.clock])
    once(CASES["probes of 3 nanos, clipart"], told.data_dir, told.clock)  # libraries are loaded
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    loads = []
    for _ in range(told.rounds):
        for name, case in CASES.items():
            rounds[name].append(once(case, told.data_dir, told.clock))
            loads.append(os.getloadavg()[0])
            print(name, *(f"{each:.1f}" for each in rounds[name][-1]), f"load {loads[-1]:.1f}", sep=" | ", flush=True)
    rows = []
    for name, pairs in rounds.items():
        ratios = [predicted / actual for predicted, actual in pairs]
        medians = [f"{statistics.median(side):.1f}" for side in zip(*pairs, strict=True)]
        rows.append([name, *medians, f"{statistics.median(ratios):.2f}", " ".join(f"{ratio:.2f}" for ratio in ratios)])
    print(f"\n{machine.processor()}, {torch.get_num_threads()} threads, torch {torch.__version__};", end=" ")
    print(f"seconds ({told.clock}), median of {told.rounds} rounds; load {min(loads):.1f} to {max(loads):.1f}\n")
    heads = ["what", "predicted", "actual", "predicted / actual", "each round"]
    print(tabulate(rows, heads, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
