"""How fast a network is on a device, and what memory it takes: nothing but the forward pass is timed.

Throughput is measured as in MLP-Mixer (section 3, "Metrics"): batch sizes are swept, the highest throughput counts.
Departure: images a second of whatever device is here, in place of images a second and TPU-v3 core.
"""

from __future__ import annotations

import ctypes
import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mixer_bench.models.device import exact_fp32, half_precision, is_out_of_memory
from mixer_bench.results.profiles import Batch, Latency, SweepEnd
from mixer_bench.system.machine import Precision

BATCH_SIZES = tuple(2**power for power in range(13))  # 1 .. 4096; the sweep ends long before on most devices
COMPILED_SIZES = BATCH_SIZES[::2]  # each is compiled by itself, for up to a minute
FALLS = 2  # times in a row that throughput may lie below the best
BF16_GAIN = 1.3  # how much faster than fp32 matrix products must be, on a CPU, for bf16 to be worth its digits
SMALLEST, LARGEST = 256, 8192  # sides of the matrices the peak is measured with
PRODUCTS = 3  # of each size; the fastest counts
PRODUCT_SECONDS = 0.1  # a product that takes that long is large enough
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PROCESS = Path("/proc/self")  # there under Linux


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    warmup: int = 3  # passes before each measurement
    repeats: int = 7  # at each batch size
    repeat_seconds: float = 0.1  # a repeat has as many passes as take that long
    longest_pass: float = 1.0  # seconds; a batch that takes longer ends the sweep
    latency_repeats: tuple[int, int] = (10, 100)  # at least, at most
    latency_seconds: float = 5.0  # after which no more than the least are made
    product_seconds: float = PRODUCT_SECONDS  # of the largest product by which the device's peak is measured


class PeakMemory:
    """The most memory held since ``restart``, beyond what was held when this object was made.

    On a GPU that of torch's tensors; on a CPU under Linux the process's resident set; elsewhere it is not known.
    """

    def __init__(self, device: torch.device) -> None:
        """Take what is held now for the ground level."""
        self._device = device
        self._ground = 0
        self._resident = False  # whether the kernel counts the resident set's peak for us
        self.restart()
        self._ground = self.bytes() or 0

    def restart(self) -> None:
        """Forget peaks so far, and what is no longer used."""
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif self._device.type == "cpu" and PROCESS.exists():
            # glibc keeps what is freed: mixer_nano, measured after ViT-B/16, seemed to take 1 MB instead of 8.
            getattr(ctypes.CDLL(None), "malloc_trim", int)(0)
            try:
                (PROCESS / "clear_refs").write_text("5", encoding="ascii")  # proc(5): the peak begins anew
                self._resident = True
            except OSError:
                self._resident = False

    def bytes(self) -> int | None:
        """Return the peak since the last ``restart``; None where the system does not tell."""
        if self._device.type == "cuda":
            return max(0, torch.cuda.max_memory_allocated(self._device) - self._ground)
        if not self._resident:
            return None
        status = (PROCESS / "status").read_text(encoding="utf-8", errors="replace")
        kibibytes = int(status.partition("VmHWM:")[2].split()[0])
        return max(0, kibibytes * 1024 - self._ground)


class Stopwatch:
    """A network on a device, timed. Use it under inference mode and autocast."""

    def __init__(self, network: nn.Module, resolution: int, device: torch.device, effort: Effort) -> None:
        """Time ``network``, which is on ``device`` in evaluation mode, on images of ``resolution`` pixels."""
        self._network = network
        self._resolution = resolution
        self._device = device
        self._effort = effort

    def _warm(self, batch: int, memory: PeakMemory | None = None) -> tuple[Callable[[], Tensor], float]:
        """Return a pass of synthetic normalised images, and its seconds after the first ones, which are slow.

        What the very first takes is no part of the peak in ``memory``: the network may be compiled then.
        """
        shape = (batch, 3, self._resolution, self._resolution)
        # Laid out as a run's own batches are, made from images whose channels lie side by side.
        images = torch.empty(shape, device=self._device, memory_format=torch.channels_last).normal_()
        forward = partial(self._network, images)
        first = seconds(self._device, forward)
        if memory is not None:
            memory.restart()
        return forward, [first, *(seconds(self._device, forward) for _ in range(self._effort.warmup))][-1]

    def latency(self) -> Latency:
        """Return milliseconds of batch 1, each pass timed by itself."""
        forward, _ = self._warm(1)
        least, most = self._effort.latency_repeats
        end = time.perf_counter() + self._effort.latency_seconds
        times: list[float] = []
        while len(times) < least or (len(times) < most and time.perf_counter() < end):
            times.append(1000 * seconds(self._device, forward))
        return Latency(median=statistics.median(times), p95=float(np.percentile(times, 95)), repeats=len(times))

    def at(self, batch: int, memory: PeakMemory) -> Batch:
        """Return throughput and peak memory at one batch size.

        Raises:
            RuntimeError: memory ran out, or anything else that torch meets with.
        """
        forward, once = self._warm(batch, memory)
        passes = max(1, math.ceil(self._effort.repeat_seconds / once))
        speeds = [batch * passes / seconds(self._device, forward, passes) for _ in range(self._effort.repeats)]
        low, median, high = np.percentile(speeds, (25, 50, 75)).tolist()
        return Batch(batch=batch, images_per_second=median, quartiles=(low, high), peak_memory=memory.bytes())


def seconds(device: torch.device, work: Callable[[], object], passes: int = 1) -> float:
    """Return the time that ``passes`` calls of ``work`` take, from an idle device to an idle device."""
    _finish(device)
    start = time.perf_counter()
    for _ in range(passes):
        work()
    _finish(device)
    return time.perf_counter() - start


def _finish(device: torch.device) -> None:
    """Wait until everything asked of the device is done: only a CPU's calls return when they are."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def sweep(
    measure: Callable[[int], Batch],
    sizes: Sequence[int] | None = None,
    longest_pass: float = Effort.longest_pass,
    tried: Sequence[int] = BATCH_SIZES,
) -> tuple[tuple[Batch, ...], SweepEnd]:
    """Measure batch sizes from the smallest up, and say why it ended.

    Args:
        measure: what is found at a batch size.
        sizes: measured one and all, up to where memory runs out. None: those ``tried``, until memory runs out, a pass
            takes too long, or throughput has fallen below the best twice in a row, its upper quartile with it: where
            others use the machine, a slow moment is not yet a fall.
        longest_pass: seconds.
        tried: ascending.

    Raises:
        RuntimeError: memory runs out at the first size already.
    """
    batches: list[Batch] = []
    falls = 0
    for size in sorted(set(sizes or tried)):
        try:
            batches.append(measure(size))
        except RuntimeError as error:
            if not batches or not is_out_of_memory(error):
                raise
            return tuple(batches), "memory"
        best = max(batch.images_per_second for batch in batches)
        falls = falls + 1 if batches[-1].quartiles[1] < best else 0
        if sizes is None and falls == FALLS:
            return tuple(batches), "fell"
        if sizes is None and size / batches[-1].images_per_second > longest_pass:
            return tuple(batches), "time"
    return tuple(batches), "sizes"


@exact_fp32()
def matmul_peak(device: torch.device, precision: Precision, longest: float = PRODUCT_SECONDS) -> float:
    """Return floating-point operations a second of the fastest square matrix product of ``longest`` seconds or less."""
    best, side, fastest = 0.0, SMALLEST, 0.0
    while side <= LARGEST and fastest < longest:
        left, right = (torch.randn(side, side, device=device, dtype=DTYPES[precision]) for _ in range(2))
        # Into memory that is there: fresh pages for every product would be measured with it.
        product = partial(torch.mm, left, right, out=torch.empty_like(left))
        fastest = min(seconds(device, product) for _ in range(PRODUCTS))
        best, side = max(best, 2 * side**3 / fastest), 2 * side
    return best


def best_precision(device: torch.device) -> Precision:
    """Return what is fastest: half precision on a GPU, and on a CPU whose bf16 is faster than its fp32."""
    if device.type != "cpu":
        return half_precision(device)
    gain = matmul_peak(device, "bf16") / matmul_peak(device, "fp32")
    return "bf16" if gain >= BF16_GAIN else "fp32"
