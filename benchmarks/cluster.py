"""A cluster on paper: how long ImageNet and VTAB take for all cards of the zoo on 64 GPUs. Nothing is run.

    python benchmarks/cluster.py [--gpus 64]

Cells are those that `run --executor slurm` would send, with the FLOPs counted of each network, and each goes to the GPU
that is free first, the longest first. What a GPU and a core do is assumed, not measured (the constants below).
"""

from __future__ import annotations

import argparse
import heapq
import time
from typing import NamedTuple

from tabulate import tabulate

from mixer_bench.executors import Cell, cells
from mixer_bench.models import zoo
from mixer_bench.runs import cost
from mixer_bench.runs.options import Options
from mixer_bench.task import task

FORWARD = 500e12  # FLOP/s in bf16, compiled: 63 % of what a large product reaches on an H100
TRAINING = 0.45 * 989e12  # FLOP/s: 45 % of the data sheet's peak
DECODED = 1400  # JPEGs of 500 x 375 a second and core by libjpeg-turbo; they are resized on the GPU
CORES = 16  # a GPU
START = 30.0  # seconds a cell takes to begin: a process, libraries, weights, compiling
TOGETHER = 8  # GPUs that train one network (--gpus-per-run), thought to be as many times as fast
SETS = {"ImageNet": "imagenet", "VTAB": "vtab"}


class Timed(NamedTuple):
    """A cell, and the seconds it takes."""

    cell: Cell
    seconds: float
    decoding: float

    @property
    def by_several(self) -> float:
        """The seconds where several GPUs train a network; features are computed by one."""
        trains = self.cell.options.protocol == ("finetune",)
        return START + (self.seconds - START) / TOGETHER if trains else self.seconds


def timed(cell: Cell) -> Timed:
    """Time a cell: while images are decoded the GPU works on others."""
    decoding = sum(cost.declared(task.tasks()[cell.options.task[0]], None)) / (DECODED * CORES)
    speed = TRAINING if cell.options.protocol == ("finetune",) else FORWARD
    return Timed(cell, START + max(decoding, cell.weight / speed), decoding)


def packed(seconds: list[float], gpus: int) -> float:
    """Give each to the GPU that is free first, the longest first; when is the last one done?"""
    free = [0.0] * gpus
    for each in sorted(seconds, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)


def planned(name: str, models: tuple[str, ...], gpus: int) -> list[list[object]]:
    """A row for each protocol of a set, and one for all together."""
    start = time.perf_counter()
    options = Options(task=(SETS[name],), model=models, protocol=("fewshot", "finetune"), precision="bf16")
    every = [timed(cell) for cell in cells.cells(cells.resolved(options), gpus)]
    took = time.perf_counter() - start
    rows: list[list[object]] = []
    for protocol in ("fewshot", "finetune", "both"):
        some = [each for each in every if protocol in ("both", each.cell.options.protocol[0])]
        seconds = [each.seconds for each in some]
        whole, alone = sum(seconds), packed(seconds, gpus)
        together = packed([each.by_several for each in some], gpus // TOGETHER)
        longest = max(some, key=lambda each: each.seconds)
        decoding = sum(each.decoding > each.seconds - START - 1e-9 for each in some)
        hours = [f"{each / 3600:,.2f}" for each in (whole, longest.seconds, alone, together)]
        flops = sum(each.cell.weight for each in some)
        busy = f"{100 * whole / alone / gpus:.0f}"
        rows.append([name, protocol, len(some), f"{flops:.2e}", *hours, busy, decoding])
        print(f"{name}, {protocol}: the longest cell is {longest.cell.label}")
    print(f"{name}: {len(every)} cells planned in {took:.1f} s")
    return rows


def main() -> None:
    """Print how long planning took, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=64)
    gpus = parser.parse_args().gpus
    models = tuple(name for name, card in zoo.cards().items() if card.architecture is not None)
    print(f"{len(models)} cards with a network of {len(zoo.cards())}; {gpus} GPUs")
    rows = [row for name in SETS for row in planned(name, models, gpus)]
    heads = ["set", "protocol", "cells", "FLOPs", "GPU-hours", "longest cell, h", "done after, h"]
    heads += [f"with {TOGETHER} a training, h", "busy, %", "bound by decoding"]
    print(f"\n{tabulate(rows, heads, tablefmt='github', disable_numparse=True)}")


if __name__ == "__main__":
    main()
