"""Checkpoint files to tensors: .safetensors, .npz, .pth. No pickled code is run, and every tensor is accounted for."""

from __future__ import annotations

import argparse
import functools
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mixer_bench.errors import WeightsError
from mixer_bench.models import google_npz
from mixer_bench.system import arrays, files
from mixer_bench.system.network import first_line

State = dict[str, Tensor]


def write(network: nn.Module, file: Path, dtype: torch.dtype) -> None:
    """Save ``network``'s weights to ``file``, floating-point tensors as ``dtype``."""
    files.write(file, content(network, dtype))


def content(network: nn.Module, dtype: torch.dtype = torch.float32) -> bytes:
    """Return what a file with ``network``'s weights holds."""
    saved: bytes = save(state(network, dtype))
    return saved


def state(network: nn.Module, dtype: torch.dtype) -> State:
    """Return ``network``'s weights on the host, floating-point tensors as ``dtype``."""
    return {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in network.state_dict().items()
    }


def read(file: Path, key: str | None = None) -> State:
    """Read all tensors of a checkpoint, floating-point ones as float32.

    Google's .npz files come under timm's tensor names; a .pth file may hold its tensors directly or in a table of its
    own, such as "state_dict" or "model", with or without what wrappers put before their names ("module.").

    Args:
        file: ends with one of ``READERS``.
        key: which tensors of the file are meant: those below "state_dict_ema", the table or the first part of names;
            of a table within another or a part of one, by dots, "checkpoint.model".

    Raises:
        WeightsError: not such a file, a truncated one, one that holds more than tensors, or, without ``key``, several
            tables that each may be the weights.
    """
    if file.suffix not in READERS:
        raise WeightsError(f"{file.name}: weights come in files ending with {', '.join(READERS)}")
    kind, reader = READERS[file.suffix]
    try:
        with file.open("rb") as opened:
            if opened.read(64).lstrip()[:1] == b"<":
                raise WeightsError(f"{file.name} is a web page, no whole {kind} file; fetch it again")
        state = _chosen(reader(file), key, file.name)
    except pickle.UnpicklingError as error:
        # torch's own words advise to run the code.
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"holds pickled code ({code[1]})" if code else "is damaged, or holds pickled code"
        raise WeightsError(f"{file.name} {what}, which is never run; where you trust it: {CONVERSION}") from None
    except WeightsError:
        raise
    except Exception as error:  # noqa: BLE001  any byte may be wrong, and the parsers raise whatever they raise
        raise WeightsError(f"{file.name} is no whole {kind} file ({first_line(error)}); fetch it again") from None
    odd = {n for n, t in state.items() if t.layout != torch.strided or t.is_quantized or t.is_meta or t.is_complex()}
    if odd:
        kinds = "sparse, quantised, complex or empty shells"
        raise WeightsError(f"{file.name} holds tensors that are {kinds} ({google_npz.shortened(odd)})")
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def _npz(file: Path) -> State:
    with zipfile.ZipFile(file) as archive:
        arrays.refuse_bombs(archive, DENSER * file.stat().st_size)
        kept = {}
        for member in archive.infolist():
            with archive.open(member) as opened:  # no more is unpacked than asked for, which is what was checked
                kept[member.filename.removesuffix(".npy")] = arrays.array(opened.read(member.file_size))
    return google_npz.tensors(kept, file.name)


def _pth(file: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it may fail; if it does, that is an error here
        with torch.serialization.safe_globals(_values_only()):
            return torch.load(file, map_location="cpu", weights_only=True)


@functools.cache
def _values_only() -> list[Any]:
    """Return classes that training tools leave in a file and that are values: they can hold code, but run none."""
    numbers = [kind for kind in vars(np.dtypes).values() if isinstance(kind, type)]
    multiarray: Any = getattr(np, "_core").multiarray  # noqa: B009  where NumPy pickles its numbers and arrays from
    functions = (multiarray.scalar, multiarray._reconstruct)
    named = [(function, f"numpy.core.multiarray.{function.__name__}") for function in functions]
    return [argparse.Namespace, np.dtype, np.ndarray, *numbers, *functions, *named]


def _chosen(content: Any, key: str | None, source: str) -> State:
    """Return the table of ``content`` that is meant; averaged weights (EMA) are never passed over in silence."""
    tables = dict(_tables(content))
    if key is not None:
        placed = {f"{path}.{name}".lstrip("."): t for path, table in tables.items() for name, t in table.items()}
        below = {name.removeprefix(f"{key}."): t for name, t in placed.items() if name.startswith(f"{key}.")}
        if not below:
            known = google_npz.shortened(set(tables) - {""}) or "none"
            raise WeightsError(f"{source} holds no table of tensors under {key!r}; tables there are: {known}")
        return below
    on_top = [path for path in tables if "." not in path] or [*tables]
    meant = [path for path in PLAIN if path in tables][:1] or on_top
    if not meant:
        raise WeightsError(f"{source} holds no table of tensors")
    names = tables[meant[0]].keys()
    rivals = [path for path, table in tables.items() if path not in meant and names & table.keys()]
    averaged = [
        str(name)
        for name, value in (content.items() if meant != [""] else ())
        if AVERAGED.search(str(name)) and _holds_tensors(value)
        if str(name) not in {path.partition(".")[0] for path in (*meant, *rivals)}
    ]
    if len(several := [*meant, *rivals, *averaged]) > 1:
        raise WeightsError(
            f"{source} holds several sets of weights, under {', '.join(several)}; say which is meant: "
            f"file:PATH?arch=NAME&key={[path for path in several if path in tables][-1]}"
        )
    return tables[meant[0]]


def _tables(content: Any, path: str = "") -> Iterator[tuple[str, State]]:
    """Give each table of tensors in ``content``, by the keys that lead to it, joined by dots."""
    if not isinstance(content, dict) or not content:
        return
    content = {name: value for name, value in content.items() if name != AVERAGED_COUNT}
    if all(isinstance(value, Tensor) for value in content.values()):
        bare = _bare(tuple(map(str, content)))
        yield path, dict(zip(bare, content.values(), strict=True))
        return
    for name, value in content.items():
        yield from _tables(value, f"{path}.{name}" if path else str(name))


def _bare(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names without what wrappers put before or into them, as long as they all stay different."""
    bare = tuple(WITHIN.sub("", name) for name in names)
    while (first := {name.partition(".")[0] for name in bare}) <= BEFORE and len(first) == 1:
        bare = tuple(name.partition(".")[2] for name in bare)
    outer = tuple(name.removeprefix("module.") for name in bare)  # of those that are wrapped, where not all are
    bare = outer if len(set(outer)) == len(names) else bare
    return bare if len(set(bare)) == len(names) else names


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, dict | list | tuple):
        return any(map(_holds_tensors, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Tensor)


AVERAGED_COUNT = "n_averaged"  # of torch.optim.swa_utils.AveragedModel, beside its weights
PLAIN = ("", "state_dict", "model")  # where the weights of a file are looked for, in turn
AVERAGED = re.compile(r"(^|[\W_])(ema|swa|averaged?|shadow)([\W_]|$)", re.IGNORECASE)  # as training scripts call them
# Parts of names that torch.compile, FSDP and checkpointing of activations put in, wherever a wrapped part stands.
WITHIN = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Names under which wrappers, Lightning's, Hugging Face's and one's own among them, keep the whole network.
BEFORE = frozenset(("module", "_forward_module", "model", "net", "network", "backbone", "encoder", "_net", "_model"))
CONVERSION = (
    "python -c \"import sys, torch; from safetensors.torch import save_file; read = torch.load(sys.argv[1], 'cpu', "
    "weights_only=False); save_file(read.get('state_dict', read), sys.argv[2])\" FILE NEW.safetensors"
)
COUNTER = "num_batches_tracked"  # of batch normalisation; files from before 2018 lack it, and nothing reads it here
READERS: Mapping[str, tuple[str, Callable[[Path], Any]]] = {
    ".safetensors": ("safetensors", load_file),
    ".npz": (".npz", _npz),
    **dict.fromkeys((".pth", ".pt", ".bin", ".tar"), ("PyTorch", _pth)),
}
# Times that a compressed .npz may unpack to at most: trained weights shrink by a tenth, rounded ones by half.
DENSER = 16

PRE_LOGITS = "pre_logits."  # the hidden layer of the original ViT's classifier; goes with it


@dataclass(frozen=True)
class Head:
    """The classifier's tensors: which they are, and what a checkpoint's must look like."""

    shapes: Mapping[str, tuple[int | None, ...]]  # by name; None where the number of classes stands
    classes: int | None = None  # there must be, 0 for none; None: any
    hidden: bool = False  # whether the original ViT's hidden layer before it may be there

    def of(self, state: State) -> set[str]:
        """Return the names of the classifier's tensors in ``state``, a hidden layer's among them."""
        return {name for name in state if name in self.shapes or (self.hidden and name.startswith(PRE_LOGITS))}

    def rows(self, state: State) -> int:
        """Return how many classes the classifier in ``state`` tells apart; 0 where there is none."""
        counts = (
            state[name].shape[shape.index(None)]
            for name, shape in self.shapes.items()
            if name in state and None in shape and len(shape) > 1 and state[name].ndim > shape.index(None)
        )
        return next(counts, 0)

    def problem(self, state: State) -> str | None:
        """Return what is wrong with the classifier in ``state``, in words."""
        rows = self.rows(state)
        for name, shape in self.shapes.items():
            expected = tuple(rows if length is None else length for length in shape)
            # A 1 x 1 convolution and a matrix are the same classifier.
            if name in state and _matrix(state[name].shape) != _matrix(expected):
                return f"its classifier has {name} {list(state[name].shape)}, not {list(expected)}"
        if self.classes is not None and rows != self.classes:
            return f"its classifier tells {rows:,} classes apart, not {self.classes:,}: other weights than these"
        return None


def _matrix(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(shape[:2]) if len(shape) == 4 and tuple(shape[2:]) == (1, 1) else tuple(shape)  # noqa: PLR2004


def named_alike(state: State, expected: Mapping[str, Tensor]) -> tuple[State, bool]:
    """Return ``state`` under the names of ``expected``, and whether they had to be taken by order.

    A file from another library names nothing alike. Where it has the same tensors in the same order (each with the
    same kind of name, such as "running_mean", and the same shape, and numbers in names that ascend), their places tell
    which is which.
    """
    if state.keys() & expected.keys() or len(state) != len(expected) or not _ascend(state):
        return state, False
    alike = (
        tensor.shape == ours.shape and name.rpartition(".")[2] == our_name.rpartition(".")[2]
        for (name, tensor), (our_name, ours) in zip(state.items(), expected.items(), strict=True)
    )
    return (dict(zip(expected, state.values(), strict=True)), True) if all(alike) else (state, False)


def _ascend(names: Iterable[str]) -> bool:
    """Return whether the first number in names that begin alike never falls: 0, 1, 10, 2 were sorted as text."""
    last: dict[str, int] = {}
    for match in filter(None, (re.match(r"(\D*)(\d+)", name) for name in names)):
        if int(match[2]) < last.get(match[1], 0):
            return False
        last[match[1]] = int(match[2])
    return True


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
    dropped = head.of(state) - expected.keys()
    body = {name: tensor for name, tensor in state.items() if name not in dropped}
    pairs = {name: (tensor, expected[name]) for name, tensor in body.items() if name in expected}
    faults = {
        "tensors are missing": {name for name in expected.keys() - body.keys() if not name.endswith(COUNTER)},
        "belong to no part of the network": body.keys() - expected.keys(),
        "have another shape": {
            f"{name}: {list(tensor.shape)} in the file, {list(ours.shape)} in the network"
            for name, (tensor, ours) in pairs.items()
            if tensor.shape != ours.shape
        },
        "are of another kind of number": {
            name for name, (tensor, ours) in pairs.items() if tensor.is_floating_point() != ours.is_floating_point()
        },
        "hold infinite or undefined values": {name for name, tensor in body.items() if not tensor.isfinite().all()},
    }
    problems = [f"{len(names)} {words} ({google_npz.shortened(names)})" for words, names in faults.items() if names]
    if (of_head := head.problem(state)) is not None:
        problems.append(of_head)
    if problems:
        raise WeightsError(f"{source} does not fit the network it is meant for: {'; '.join(problems)}")
    network.load_state_dict(expected | body)
