"""Arrays in .npz files: written whole, read without pickled code, and damage is one kind of error."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from mixer_bench import atomic

# What numpy and zipfile raise for a file of which any byte may be wrong.
_RAISED = (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


class DamagedFile(Exception):
    """The file is not there or not whole."""


def save(file: Path, *, compressed: bool = True, **arrays: np.ndarray) -> None:
    """Write the named arrays; compressing floats costs time and gains little.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    content = io.BytesIO()
    write = np.savez_compressed if compressed else np.savez
    write(content, allow_pickle=False, **arrays)
    atomic.write(file, content.getvalue())


def load(file: Path, *names: str) -> list[np.ndarray]:
    """The arrays of those names.

    Raises:
        DamagedFile: the file or one of the arrays is missing or damaged.
    """
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as found:
            return [found[name] for name in names]
    except _RAISED as error:
        raise DamagedFile(f"{type(error).__name__}: {error}") from None
