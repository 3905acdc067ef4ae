"""Weights in files: safetensors only (no pickled code), every tensor accounted for."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mixer_bench import atomic
from mixer_bench.errors import WeightsError

SHOWN = 3  # how many tensor names an error lists


def write(network: nn.Module, file: Path, dtype: torch.dtype) -> None:
    """Save ``network``'s weights to ``file``, floating-point tensors as ``dtype``."""
    state = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in network.state_dict().items()
    }
    atomic.write(file, save(state))


def read(file: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, floating-point ones as float32.

    Raises:
        WeightsError: not a safetensors file, or a truncated one.
    """
    try:
        state = load_file(file)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{file.name} is no whole safetensors file ({error}); fetch it again, or convert it with "
            "safetensors.torch.save_file"
        ) from None
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def load_into(network: nn.Module, state: dict[str, Tensor], head: tuple[str, ...], source: str) -> None:
    """Put ``state`` into a headless ``network``; nothing outside the head may be missing or left over.

    timm would fill what is missing with random values and say nothing (it loads with ``strict=False`` whenever the
    head's size differs), so the comparison is made here.

    Args:
        network: built with ``num_classes=0``.
        state: tensors by name.
        head: prefixes of the classifier's tensors, which are dropped.
        source: named in errors.

    Raises:
        WeightsError: names missing, unexpected or wrongly shaped tensors; ``network`` is then untouched.
    """
    body = {name: tensor for name, tensor in state.items() if not name.startswith(head)}
    expected = network.state_dict()
    problems = []
    if missing := expected.keys() - body.keys():
        problems.append(f"{len(missing)} tensors are missing ({_some(missing)})")
    if extra := body.keys() - expected.keys():
        problems.append(f"{len(extra)} belong to no part of the network ({_some(extra)})")
    wrong = {n for n in expected.keys() & body.keys() if expected[n].shape != body[n].shape}
    if wrong:
        name = min(wrong)
        shapes = f"{name}: {list(body[name].shape)} in the file, {list(expected[name].shape)} in the network"
        problems.append(f"{len(wrong)} have another shape ({shapes})")
    broken = {n for n, t in body.items() if t.is_floating_point() and not bool(torch.isfinite(t).all())}
    if broken:
        problems.append(f"{len(broken)} hold infinite or undefined values ({_some(broken)})")
    if problems:
        raise WeightsError(f"{source} does not fit the network it is meant for: {'; '.join(problems)}")
    network.load_state_dict(body)


def _some(names: set[str]) -> str:
    shown = sorted(names)[:SHOWN]
    return ", ".join(shown) + (", ..." if len(names) > SHOWN else "")
