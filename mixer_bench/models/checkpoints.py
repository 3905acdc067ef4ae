"""Checkpoint files to tensors: .safetensors, .npz, .pth. No pickled code is run, and every tensor is accounted for."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mixer_bench.errors import WeightsError
from mixer_bench.models import google_npz
from mixer_bench.system import files

SHOWN = 3  # how many tensor names an error lists
State = dict[str, Tensor]


def write(network: nn.Module, file: Path, dtype: torch.dtype) -> None:
    """Save ``network``'s weights to ``file``, floating-point tensors as ``dtype``."""
    state = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in network.state_dict().items()
    }
    files.write(file, save(state))


def read(file: Path) -> State:
    """All tensors of a checkpoint, floating-point ones as float32.

    Google's .npz files come under timm's tensor names; a .pth file may hold its tensors directly, or under
    "state_dict" or "model", with or without "module." before their names.

    Raises:
        WeightsError: not such a file, a truncated one, or one that holds more than tensors.
    """
    readers: Mapping[str, Callable[[Path], State]] = {
        ".safetensors": _safetensors,
        ".npz": _npz,
        **dict.fromkeys((".pth", ".pt", ".bin", ".tar"), _pth),
    }
    if file.suffix not in readers:
        raise WeightsError(f"{file.name}: weights come in files ending with {', '.join(readers)}")
    try:
        with file.open("rb") as opened:
            if opened.read(64).lstrip()[:1] == b"<":
                raise WeightsError(f"{file.name} is a web page, no whole {file.suffix[1:]} file; fetch it again")
    except OSError as error:
        raise WeightsError(f"{file.name}: cannot be read ({error.strerror})") from None
    state = readers[file.suffix](file)
    odd = {n for n, t in state.items() if t.layout != torch.strided or t.is_quantized or t.is_meta or t.is_complex()}
    if odd:
        raise WeightsError(
            f"{file.name} holds tensors that are sparse, quantised, complex or empty shells ({_some(odd)})"
        )
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def _safetensors(file: Path) -> State:
    try:
        state: State = load_file(file)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{file.name} is no whole safetensors file ({error}); fetch it again, or convert it with "
            "safetensors.torch.save_file"
        ) from None
    return state


def _npz(file: Path) -> State:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(
            f"{file.name} is no whole .npz file of plain arrays ({type(error).__name__}); fetch it again"
        ) from None
    return google_npz.tensors(arrays, file.name)


def _pth(file: Path) -> State:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it may fail; if it does, that is an error here
            found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # torch's own words advise to run the code.
        raise WeightsError(
            f"{file.name} is damaged, or holds pickled code, which is never run; convert it where you trust it, with "
            "safetensors.torch.save_file"
        ) from None
    except (OSError, EOFError, RuntimeError, LookupError, ValueError, TypeError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{file.name} is no whole PyTorch file ({reason}); fetch it again") from None
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise WeightsError(f"{file.name} holds no table of tensors, nor one under 'state_dict' or 'model'")
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


@dataclass(frozen=True)
class Head:
    """The classifier's tensors: which they are, and what a checkpoint's must look like."""

    names: tuple[str, ...]
    width: int  # features before it
    classes: int | None = None  # rows there must be, 0 for none; None: any
    hidden: bool = False  # whether the original ViT's hidden layer before it may be there

    def of(self, state: State) -> State:
        """The classifier's tensors in ``state``."""
        hidden = (PRE_LOGITS,) if self.hidden else ()
        return {n: tensor for n, tensor in state.items() if n in self.names or n.startswith(hidden)}

    def rows(self, state: State) -> int:
        """How many classes the classifier in ``state`` tells apart; 0 where there is none."""
        own = {n: tensor for n, tensor in self.of(state).items() if not n.startswith(PRE_LOGITS)}
        return next((len(tensor) for n, tensor in own.items() if n.endswith("weight") and tensor.ndim), 0)

    def problem(self, state: State) -> str | None:
        """What is wrong with the classifier in ``state``, in words."""
        rows = self.rows(state)
        for name, tensor in self.of(state).items():
            if name.startswith(PRE_LOGITS):
                continue
            rank = (2, 4) if name.endswith("weight") else (1,)
            fits = tensor.ndim in rank and len(tensor) == rows and (tensor.ndim == 1 or tensor.shape[1] == self.width)
            if not fits:
                return f"its classifier has {name} {list(tensor.shape)}, not of {self.width} features"
        if self.classes is not None and rows != self.classes:
            return f"its classifier tells {rows:,} classes apart, not {self.classes:,}: other weights than these"
        return None


PRE_LOGITS = "pre_logits."  # the hidden layer of the original ViT's classifier; goes with it


def named_alike(state: State, expected: Mapping[str, Tensor]) -> tuple[State, bool]:
    """``state`` under the names of ``expected``, and whether they had to be taken by order.

    A file from another library names nothing alike. Where it has the same tensors in the same order (each with the
    same kind of name, such as "running_mean", and the same shape, and numbers in names that ascend), their places tell
    which is which.
    """
    pairs = list(zip(state.items(), expected.items(), strict=False))
    if state.keys() & expected.keys() or len(state) != len(expected):
        return state, False
    same = _ascend([*state]) and all(
        ours.shape == theirs.shape and _kind(a) == _kind(b) for (a, theirs), (b, ours) in pairs
    )
    return ({b: theirs for (_, theirs), (b, _) in pairs}, True) if same else (state, False)


def _ascend(names: Sequence[str]) -> bool:
    """Whether the first number in names that begin alike never falls: blocks 0, 1, 10, 2 were sorted as text."""
    last: dict[str, int] = {}
    for name in names:
        if (found := re.match(r"(\D*)(\d+)", name)) is None:
            continue
        if int(found[2]) < last.get(found[1], 0):
            return False
        last[found[1]] = int(found[2])
    return True


def _kind(name: str) -> str:
    return name.rpartition(".")[2]


def load_into(network: nn.Module, state: State, head: Head, source: str) -> None:
    """Put ``state`` into a headless ``network``; nothing outside the head may be missing or left over.

    timm would fill what is missing with random values and say nothing (it loads with ``strict=False`` whenever the
    head's size differs), so the comparison is made here.

    Args:
        network: built with ``num_classes=0``, or with as many classes as ``state`` has.
        state: tensors by name.
        head: the classifier's tensors, which are checked, then dropped if ``network`` has none.
        source: named in errors.

    Raises:
        WeightsError: names missing, unexpected or wrongly shaped tensors; ``network`` is then untouched.
    """
    expected = network.state_dict()
    dropped = {name for name in head.of(state) if name not in expected}
    body = {name: tensor for name, tensor in state.items() if name not in dropped}
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
    if kinds := {
        n for n in expected.keys() & body.keys() if expected[n].is_floating_point() != body[n].is_floating_point()
    }:
        problems.append(f"{len(kinds)} are of another kind of number ({_some(kinds)})")
    broken = {n for n, t in body.items() if t.is_floating_point() and not bool(torch.isfinite(t).all())}
    if broken:
        problems.append(f"{len(broken)} hold infinite or undefined values ({_some(broken)})")
    if (of_head := head.problem(state)) is not None:
        problems.append(of_head)
    if problems:
        raise WeightsError(f"{source} does not fit the network it is meant for: {'; '.join(problems)}")
    network.load_state_dict(body)


def _some(names: set[str]) -> str:
    shown = sorted(names)[:SHOWN]
    return ", ".join(shown) + (", ..." if len(names) > SHOWN else "")
