"""Devices, and the precision they compute in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from mixer_bench.errors import UsageError
from mixer_bench.system import machine
from mixer_bench.system.machine import Precision

Result = TypeVar("Result")


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which a network computes in ``precision``."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision != "fp32")


def exact_fp32() -> None:
    """Let "fp32" mean it on every device: PyTorch would compute convolutions on a GPU with ten bits of mantissa."""
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


def device_name(device: torch.device) -> str:
    """Return the processor's or GPU's own name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else machine.processor()


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


def half_precision(device: torch.device) -> Precision:
    """Return what is fast and keeps features: bf16 where a GPU has it, else fp16; fp32 on a CPU."""
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether memory ran out, on whatever device."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


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
