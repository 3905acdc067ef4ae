"""Qualify a GPU machine: everything that the speed of mixer-bench is said to be there, in one command.

    PYTHONPATH=. python benchmarks/gpu.py [--minutes 8] [--output benchmarks/gpu.md] [--device cpu --tiny]

Weights are random and images are made here, so that nothing is fetched. Each part has its time, is printed as it goes
and does not stop the others by failing; what failed, or found no time, is named. ``--tiny`` does the same with small
networks and few images, to try the program where there is no GPU: its figures say nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import gpu_lacking  # noqa: F401  before all that decodes
import gpu_parts
import torch
from gpu_place import Figure, Figures, Place

from mixer_bench.data import jpeg
from mixer_bench.models import compiling
from mixer_bench.models.device import device_name
from mixer_bench.profile import profile
from mixer_bench.system import machine

HEADING = "| what | measured | aim |\n|---|--:|--:|\n"
LEAST = 5.0  # seconds that a part must find left to be begun


class Part(NamedTuple):
    """What is measured, in how many seconds at most."""

    name: str
    figures: Callable[[Place], Figures]
    seconds: float


def parts(command: list[str]) -> list[Part]:
    """Return all parts, the weightiest first where time may run out."""
    return [
        Part("tests", gpu_parts.tests, 60),
        Part("decoding", gpu_parts.decoding, 40),
        Part("resizing", gpu_parts.resizing, 20),
        Part("extraction, eager", functools.partial(gpu_parts.extraction, compiled=False), 60),
        Part("training, eager", functools.partial(gpu_parts.training, compiled=False), 40),
        Part("training, compiled", functools.partial(gpu_parts.training, compiled=True), 120),
        Part("extraction, compiled", functools.partial(gpu_parts.extraction, compiled=True), 180),
        Part("five models", gpu_parts.five, 90),
        Part("memory", gpu_parts.memory, 40),
        Part("two processes", functools.partial(gpu_parts.two_processes, command=command), 60),
        Part("profile, eager", functools.partial(gpu_parts.profiles, compiled=False), 60),
        Part("profile, compiled", functools.partial(gpu_parts.profiles, compiled=True), 120),
    ]


def at_most(seconds: float, figures: Iterator[Figure]) -> Iterator[Figure]:
    """Give figures as they come, and raise TimeoutError after so many seconds, but never in what is done with one."""
    end = time.perf_counter() + seconds

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done in {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    try:
        while True:
            if (left := end - time.perf_counter()) <= 0:
                stop()
            signal.setitimer(signal.ITIMER_REAL, left)
            try:
                figure = next(figures, None)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            if figure is None:
                return
            yield figure
    finally:
        signal.signal(signal.SIGALRM, before)


def measured(part: Part, place: Place, left: float, write: Callable[[str], None]) -> None:
    """Write the lines of one part as they come, and of what went wrong."""
    seconds, start = min(part.seconds, left), time.perf_counter()
    if seconds < LEAST:
        write(f"| {part.name} | no time was left for it | |")
        return
    try:
        for figure in at_most(seconds, iter(part.figures(place))):
            write(line(figure))
    except Exception as error:  # noqa: BLE001  the other parts go on, whatever it is
        write(f"| {part.name} | FAILED: {type(error).__name__}: {' '.join(str(error).split())[:300]} | |")
    if place.device.type == "cuda":
        torch.cuda.empty_cache()
    print(f"  ({part.name}: {time.perf_counter() - start:.0f} s)", flush=True)


def line(figure: Figure) -> str:
    """Return a figure as a line of the table, with its aim and whether it is reached."""
    value = f"{figure.value:,.0f}" if abs(figure.value) >= 100 else f"{figure.value:.3g}"
    if figure.least is None:
        return f"| {figure.what} | {value} {figure.unit} | |"
    reached = "reached" if figure.value >= figure.least else "MISSED"
    return f"| {figure.what} | {value} {figure.unit} | {figure.least:,g}: {reached} |"


def heading(place: Place, tiny: bool) -> str:
    """Return what the figures are of: card, driver, versions, processor."""
    about = machine.describe(str(place.device), torch.get_num_threads())
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = "none"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
    versions = ", ".join(f"{name} {about[name]}" for name in ("python", "torch", "timm", "numpy", "pillow"))
    cores = len(os.sched_getaffinity(0))
    warning = "\nTiny networks and images, to try the program: these figures say nothing.\n" if tiny else ""
    return (
        f"# {device_name(place.device)}\n\n`PYTHONPATH=. python benchmarks/gpu.py`, random weights, {place.precision}, "
        f"batch {place.batch}; driver {driver}, CUDA {torch.version.cuda}; {versions}; {about['processor']}, "
        f"{cores} cores; JPEG by {jpeg.decoder()}.\n{warning}\n{HEADING}"
    )


def the_place(device: torch.device, tiny: bool, folder: Path) -> Place:
    """Return what is measured with: of a tiny one the same, smaller."""
    if tiny:
        compiling.BACKEND = "aot_eager"  # all of torch.compile but the machine code
        nanos = ("mixer_nano", "resnet_nano")
        return Place(device, "fp32", folder, nanos, batch=8, training_batch=8, files=32, size=(80, 60), seconds=0.1)
    models = ("mixer_b16", "vit_b16", "resnet50", "mixer_l16")
    return Place(device, "bf16", folder, models, batch=256, training_batch=512, files=8192, size=(500, 375))


def main() -> None:
    """Measure part by part, and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--parts", help="only those whose names have this in them", default="")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # one of two processes
    options = parser.parse_args()
    if options.tiny and options.output == parser.get_default("output"):
        parser.error("--tiny figures say nothing: name another file with --output")
    end, device = time.perf_counter() + 60 * options.minutes, profile.machine(options.device, "fp32").device
    command = [sys.executable, __file__, "--device", options.device, "--output", os.devnull]
    command += ["--tiny"] if options.tiny else []
    with tempfile.TemporaryDirectory() as folder:
        place = the_place(device, options.tiny, Path(folder))
        if options.alone:
            print(gpu_parts.from_squares(place.load(place.models[0]), place, longer=5.0))
            return
        text = heading(place, options.tiny)
        print(text, end="", flush=True)

        def write(row: str) -> None:
            nonlocal text
            text += row + "\n"
            print(row, flush=True)
            options.output.write_text(text, encoding="utf-8")

        for part in parts(command):
            if options.parts in part.name:
                measured(part, place, end - time.perf_counter(), write)


if __name__ == "__main__":
    main()
