"""Devices, and the precision they compute in."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mixer_bench.errors import UsageError
from mixer_bench.system import machine, memory
from mixer_bench.system.machine import Precision

Result = TypeVar("Result")

# How torch rounds what goes into products of fp32: "ieee" not at all. What says "none" follows what stands above it:
# what a device computes the device, the device "generic". torch.backends names them all, but setting its
# mkldnn.fp32_precision sets the generic one (torch 2.11 to 2.15).
PRODUCTS = tuple((device, kind) for device in ("cuda", "mkldnn") for kind in ("matmul", "conv", "rnn"))
ROUNDINGS = (("generic", "all"), ("cuda", "all"), ("mkldnn", "all"), *PRODUCTS)

# Words for "no memory" in errors that are no OutOfMemoryError: of the CUDA runtime and MPS; of cuBLAS, cuSOLVER, cuFFT
# and cuDNN up to 8; of cuDNN 9; of CPUs under Linux and Windows. A library is "not initialized" where its first handle
# finds no memory, and cuDNN has no algorithm or engine where none fits into what is left.
NO_MEMORY = (
    "out of memory",
    "STATUS_ALLOC_FAILED",
    "STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "STATUS_NOT_INITIALIZED",
    "Unable to find a valid cuDNN algorithm",
    "unable to find an engine to execute this computation",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which a network computes in ``precision``."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision != "fp32")


@contextlib.contextmanager
def exact_fp32() -> Iterator[None]:
    """Let "fp32" mean it on every device, whatever was set before, and give the settings back at the end.

    PyTorch would compute convolutions on a GPU with ten bits of mantissa; the program that calls this one may have
    asked for that, or for less, anywhere.
    """
    before = {}
    for rounding in ROUNDINGS:  # from above, each taken away once it is read: it would show in those below it
        before[rounding] = torch._C._get_fp32_precision_getter(*rounding)
        torch._C._set_fp32_precision_setter(*rounding, "none")
    matmul, convolution = torch.get_float32_matmul_precision(), _cudnn_allows_tf32()
    _set_roundings(dict.fromkeys(ROUNDINGS, "ieee"), "highest", convolution=False)
    try:
        yield
    finally:
        _set_roundings(before, matmul, convolution)


def _cudnn_allows_tf32() -> bool:
    """Read torch's older flag, which is refused where it contradicts the newer ones; these say "none"."""
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return True


def _set_roundings(values: dict[tuple[str, str], str], matmul: str, convolution: bool) -> None:
    """Set the older flags, which set some of the newer ones as well, then the newer ones."""
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = convolution
    for rounding, value in values.items():
        torch._C._set_fp32_precision_setter(*rounding, value)


def device_name(device: torch.device) -> str:
    """Return the processor's or GPU's own name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else machine.processor()


def seen() -> str:
    """Return, in words, the GPUs that torch sees here and what it was built for."""
    built = (
        f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}" if torch.version.hip else ""
    )
    if torch.cuda.is_available():
        names = ", ".join(map(torch.cuda.get_device_name, range(torch.cuda.device_count())))
        return f"{names}, {built}"
    return (
        "mps"
        if torch.backends.mps.is_available()
        else f"cpu{built and f'; torch is built for {built} and sees no GPU'}"
    )


def forget_gpu_peak(device: torch.device) -> None:
    """Begin to count anew how much memory of a GPU tensors take at most."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def gpu_peak(device: torch.device) -> int | None:
    """Return how many bytes of a GPU tensors took at most since then; None on other devices."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def pick_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` is a GPU where there is one.

    Raises:
        UsageError: torch knows no such device, or it is not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: {str(error).splitlines()[0]}") from None
    return device


def works_alone(device: torch.device) -> bool:
    """Return whether a device computes while the host goes on, and copies what lies in pinned memory meanwhile."""
    return device.type == "cuda"


def host_memory(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return memory of the host, to be filled, that ``device`` copies from or to without the host's waiting."""
    # torch keeps pinned memory that is let go for the next batch, and never gives it away while a device still reads.
    return torch.empty(shape, dtype=dtype, pin_memory=works_alone(device))


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """Bring ``values`` of the CPU to ``device``; only CUDA is not waited for: MPS would read memory that is freed."""
    if not works_alone(device) or values.device.type == "cuda":
        return values.to(device, non_blocking=False)
    return (values if values.is_pinned() else values.pin_memory()).to(device, non_blocking=True)


def beside(values: Tensor, device: torch.device) -> Tensor:
    """Bring a batch of images to ``device``, on CUDA while it still computes with the batch before."""
    if not works_alone(device):
        return on_device(values, device)
    computing, copying = torch.cuda.current_stream(device), _copying(device)
    with torch.cuda.stream(copying):
        there = on_device(values, device)
    computing.wait_stream(copying)
    there.record_stream(computing)  # else its memory would be given to the next copy as soon as it is let go here
    return there


@functools.cache
def _copying(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def fetched(values: Tensor) -> Callable[[], np.ndarray]:
    """Begin to bring ``values`` to the host; return what waits until they are there, in memory of their own."""
    if not works_alone(values.device):
        array: np.ndarray = values.cpu().numpy().copy()
        return lambda: array
    there = host_memory(values.shape, values.dtype, values.device)
    there.copy_(values, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(values.device))

    def wait() -> np.ndarray:
        arrived.synchronize()
        return there.numpy().copy()  # the pinned memory goes back to the next batch

    return wait


def moment(device: torch.device) -> float | torch.cuda.Event:
    """Return this moment of the device's work, which CUDA reaches later."""
    if not works_alone(device):
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def seconds_between(start: float | torch.cuda.Event, end: float | torch.cuda.Event) -> float:
    """Return how long the device worked from the one moment to the other, which is waited for."""
    if isinstance(start, float) and isinstance(end, float):
        return end - start
    assert isinstance(start, torch.cuda.Event)
    assert isinstance(end, torch.cuda.Event)
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """Move ``network`` to ``device``; a convolutional one on CUDA with the channels of a pixel side by side.

    That is how Tensor Cores read images (NVIDIA, Convolutional Layers User's Guide, section 2.2): otherwise they are
    turned before each convolution and after. Convolutional is what has windows that overlap; patches of ViTs and
    Mixers do not, and what follows them are matrix products.
    """
    network = network.to(device)
    return network.to(memory_format=torch.channels_last) if works_alone(device) and _overlaps(network) else network


def _overlaps(network: nn.Module) -> bool:
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    return any(
        length > step for conv in convolutions for length, step in zip(conv.kernel_size, conv.stride, strict=True)
    )


def free_memory(device: torch.device) -> int:
    """Return how many bytes this process may still take of a device's memory, of the host's for a CPU.

    What torch holds of a GPU and no tensor uses is free as well.
    """
    if device.type != "cuda":
        return memory.available()
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + unused


def half_precision(device: torch.device) -> Precision:
    """Return what is fast and keeps features: bf16 where a GPU has it, else fp16; fp32 on a CPU."""
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether memory ran out, on whatever device and in whoever's words."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in NO_MEMORY)


def fitting(attempt: Callable[[int], Result], size: int, device: torch.device) -> tuple[Result, int]:
    """Return what ``attempt`` gives for ``size`` images at once, halved as long as memory runs out, and that size.

    Raises:
        RuntimeError: memory runs out for a single image.
    """
    while True:
        try:
            return attempt(size), size
        except RuntimeError as error:  # OutOfMemoryError is one; a CPU's allocator raises the plain one
            if not is_out_of_memory(error) or size == 1:
                raise
        # Outside of the handler, where the failed attempt's tensors are no longer held by the traceback.
        size = (size + 1) // 2
        if device.type == "cuda":
            torch.cuda.empty_cache()
