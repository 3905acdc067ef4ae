"""What a run learned, kept beside its record: tensors by name and a few words on them, no code."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, numpy

from mixer_bench.errors import ResultsError
from mixer_bench.system import files
from mixer_bench.system.schema import CANONICAL

SUFFIX = ".safetensors"
ABOUT = "mixer_bench"  # where a file's metadata has the words


@dataclass(frozen=True)
class Kept:
    """A fitted probe or a trained network."""

    about: dict[str, Any]  # of JSON: its kind, its classes and what else is needed to use it
    tensors: dict[str, np.ndarray]

    @property
    def content(self) -> bytes:
        """The bytes of its file, of the safetensors format."""
        tensors = {name: np.ascontiguousarray(values) for name, values in self.tensors.items()}
        content: bytes = numpy.save(tensors, {ABOUT: CANONICAL.encode(self.about)})
        return content


def digest(content: bytes) -> str:
    """Return what a record says of the file beside it: SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def check(file: Path, expected: str) -> None:
    """Refuse a file of what was learned whose SHA-256 is not ``expected``.

    Raises:
        ResultsError: so it is, or it cannot be read.
    """
    try:
        actual = files.sha256(file)
    except OSError as error:
        raise ResultsError(f"{file}: cannot be read ({error.strerror}); run again") from None
    if actual != expected:
        raise ResultsError(f"{file}: is not what its record was made with; run again")


def read(file: Path, expected: str) -> Kept:
    """Return what is kept in ``file``, whose SHA-256 is ``expected``.

    Raises:
        ResultsError: it is missing, changed, or not what a run keeps.
    """
    check(file, expected)
    try:
        content = files.read(file)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return Kept(json.loads(header["__metadata__"][ABOUT]), numpy.load(content))
    except OSError as error:
        raise ResultsError(f"{file}: cannot be read ({error.strerror}); run again") from None
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{file}: is nothing that a run keeps ({error})") from None
