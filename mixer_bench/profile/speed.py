"""How fast a network is on a device, and what memory it takes: nothing but the forward pass is timed.

Throughput is measured as in MLP-Mixer (section 3, "Metrics"): batch sizes are swept, the highest throughput counts.
Departure: images a second of whatever device is here, in place of images a second and TPU-v3 core.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mixer_bench.models import device as device_module
from mixer_bench.models.device import is_out_of_memory
from mixer_bench.results.profiles import Batch, Latency, SweepEnd
from mixer_bench.system.machine import Precision

BATCH_SIZES = tuple(2**power for power in range(13))  # 1 .. 4096; the sweep ends long before on most devices
FALLS = 2  # times in a row that throughput may lie below the best
BF16_GAIN = 1.3  # how much faster than fp32 matrix products must be, on a CPU, for bf16 to be worth its digits
SMALLEST, LARGEST = 256, 8192  # sides of the matrices the peak is measured with
PRODUCTS = 3  # of each size; the fastest counts
PRODUCT_SECONDS = 0.1  # a product that takes that long is large enough
DISTURBANCE = 0.2  # CPUs in other processes' use that are not worth a word
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    warmup: int = 3  # passes before each measurement
    repeats: int = 7  # at each batch size
    repeat_seconds: float = 0.1  # a repeat has as many passes as take that long
    longest_pass: float = 1.0  # seconds; a batch that takes longer ends the sweep
    latency_repeats: tuple[int, int] = (10, 100)  # at least, at most
    latency_seconds: float = 5.0  # after which no more than the least are made


class PeakMemory:
    """The most memory held since ``restart``, beyond what was held when this object was made.

    On a GPU that of torch's tensors; on a CPU under Linux the process's resident set; elsewhere it is not known.
    """

    def __init__(self, device: torch.device) -> None:
        """Take what is held now for the ground level."""
        self._device = device
        self._ground = 0
        self._resident = False  # whether the kernel counts for us
        self.restart()
        self._ground = self.bytes() or 0

    def restart(self) -> None:
        """Forget peaks so far, and what is no longer used."""
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif self._device.type == "cpu":
            _return_freed_memory()
            self._resident = _reset_resident_peak()

    def bytes(self) -> int | None:
        """The peak since the last ``restart``; None where the system does not tell."""
        if self._device.type == "cuda":
            return max(0, torch.cuda.max_memory_allocated(self._device) - self._ground)
        if self._device.type != "cpu" or not self._resident:
            return None
        return max(0, _resident_peak() - self._ground)


def _return_freed_memory() -> None:
    """Have the C library give freed memory back, which would otherwise count as held."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if Path("/proc/self").exists() else None
    if trim is not None:  # glibc's alone
        trim(0)


def _reset_resident_peak() -> bool:
    """Let the kernel count the peak from now on (proc(5), clear_refs); False where it cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _resident_peak() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024  # "kB" there are KiB


class Neighbours:
    """Whether other processes take CPUs that this one would use, from when this object was made. Linux alone tells.

    Threads that wait for each other make that costly: with one other process on two CPUs, mixer_nano was seen at a
    hundredth of its speed.
    """

    def __init__(self) -> None:
        """Start counting."""
        self._start = _cpu_seconds()

    def disturb(self, threads: int) -> bool | None:
        """Whether ``threads`` and the others' work so far together need more CPUs than there are."""
        if self._start is None or (now := _cpu_seconds()) is None:
            return None
        wall, all_busy, own = (after - before for before, after in zip(self._start, now, strict=True))
        others = max(0.0, all_busy - own) / wall
        return others > DISTURBANCE and others + threads > len(os.sched_getaffinity(0))


def _cpu_seconds() -> tuple[float, float, float] | None:
    """By the clock, busy in all processes, busy in this one; None where the system does not tell."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    except OSError:
        return None
    user, nice, system, _idle, _waiting, *interrupts_and_stolen = map(int, first.split()[1:9])
    busy = (user + nice + system + sum(interrupts_and_stolen)) / os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), busy, time.process_time()


class Stopwatch:
    """A network on a device, timed. Use it under inference mode and autocast."""

    def __init__(self, network: nn.Module, resolution: int, device: torch.device, effort: Effort) -> None:
        """Time ``network``, which is on ``device`` in evaluation mode, on images of ``resolution`` pixels."""
        self._network = network
        self._resolution = resolution
        self._device = device
        self._effort = effort

    def _seconds(self, images: Tensor, passes: int = 1) -> float:
        """Of ``passes`` forward passes, from an idle device to an idle device."""
        _finish(self._device)
        start = time.perf_counter()
        for _ in range(passes):
            self._network(images)
        _finish(self._device)
        return time.perf_counter() - start

    def _warm(self, batch: int) -> tuple[Tensor, float]:
        """Synthetic normalised images, and seconds of one pass after the first ones, which are slow."""
        shape = (batch, 3, self._resolution, self._resolution)
        # Laid out as a run's own batches are, made from images whose channels lie side by side.
        images = torch.empty(shape, device=self._device, memory_format=torch.channels_last).normal_()
        return images, [self._seconds(images) for _ in range(1 + self._effort.warmup)][-1]

    def latency(self) -> Latency:
        """Of batch 1, each pass timed by itself."""
        images, _ = self._warm(1)
        least, most = self._effort.latency_repeats
        end = time.perf_counter() + self._effort.latency_seconds
        found: list[float] = []
        while len(found) < least or (len(found) < most and time.perf_counter() < end):
            found.append(1000 * self._seconds(images))
        return Latency(median=statistics.median(found), p95=float(np.percentile(found, 95)), repeats=len(found))

    def at(self, batch: int, memory: PeakMemory) -> Batch:
        """Throughput and peak memory at one batch size.

        Raises:
            RuntimeError: memory ran out, or anything else that torch meets with.
        """
        memory.restart()
        images, once = self._warm(batch)
        passes = max(1, math.ceil(self._effort.repeat_seconds / once))
        speeds = [batch * passes / self._seconds(images, passes) for _ in range(self._effort.repeats)]
        low, median, high = np.percentile(speeds, (25, 50, 75)).tolist()
        return Batch(batch=batch, images_per_second=median, quartiles=(low, high), peak_memory=memory.bytes())


def sweep(
    measure: Callable[[int], Batch], sizes: Sequence[int] | None = None, longest_pass: float = Effort.longest_pass
) -> tuple[tuple[Batch, ...], SweepEnd]:
    """Measure batch sizes from the smallest up, and say why it ended.

    Args:
        measure: what is found at a batch size.
        sizes: measured one and all, up to where memory runs out. None: powers of two, until memory runs out, a pass
            takes too long, or throughput has fallen below the best twice in a row, its upper quartile with it: where
            others use the machine, a slow moment is not yet a fall.
        longest_pass: seconds.

    Raises:
        RuntimeError: memory runs out at the first size already.
    """
    found: list[Batch] = []
    falls = 0
    for size in sorted(set(sizes or BATCH_SIZES)):
        try:
            found.append(measure(size))
        except RuntimeError as error:
            if not found or not is_out_of_memory(error):
                raise
            return tuple(found), "memory"
        best = max(batch.images_per_second for batch in found)
        falls = falls + 1 if found[-1].quartiles[1] < best else 0
        if sizes is None and falls == FALLS:
            return tuple(found), "fell"
        if sizes is None and size / found[-1].images_per_second > longest_pass:
            return tuple(found), "time"
    return tuple(found), "sizes"


def _finish(device: torch.device) -> None:
    """Wait until everything asked of the device is done: only a CPU's calls return when they are."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def matmul_peak(device: torch.device, precision: Precision) -> float:
    """Floating-point operations a second of the fastest square matrix product at this moment."""
    device_module.exact_fp32()
    best, side, seconds = 0.0, SMALLEST, 0.0
    while side <= LARGEST and seconds < PRODUCT_SECONDS:
        left, right = (torch.randn(side, side, device=device, dtype=DTYPES[precision]) for _ in range(2))
        # Into memory that is there: fresh pages for every product would be measured with it.
        product = torch.empty_like(left)
        seconds = min(_product_seconds(left, right, product) for _ in range(PRODUCTS))
        best, side = max(best, 2 * side**3 / seconds), 2 * side
    return best


def _product_seconds(left: Tensor, right: Tensor, product: Tensor) -> float:
    _finish(left.device)
    start = time.perf_counter()
    torch.mm(left, right, out=product)
    _finish(left.device)
    return time.perf_counter() - start


def best_precision(device: torch.device) -> Precision:
    """What the device computes fastest in: half precision on a GPU, and on a CPU whose bf16 is faster than its fp32."""
    if device.type != "cpu":
        return device_module.half_precision(device)
    gain = matmul_peak(device, "bf16") / matmul_peak(device, "fp32")
    return "bf16" if gain >= BF16_GAIN else "fp32"
