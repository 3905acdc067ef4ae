"""Files that are there whole or not at all: temporary file, fsync, rename."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from mixer_bench.errors import ResultsError


def write(path: Path, content: str | bytes | Callable[[IO[bytes]], Any]) -> None:
    """Put ``content`` at ``path`` so that a reader, or a kill at any moment, never meets half of it.

    Args:
        path: where; missing parent folders are made.
        content: text (UTF-8), bytes, or a function that writes to an open binary file.

    Raises:
        OSError: the disk is full or the folder cannot be written; ``path`` is then as it was before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The dot keeps a leftover of a killed process out of every glob for records.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for the owner alone; a results folder is meant to be shared.
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def deliver(file: Path, text: str, way_out: str = "name another file") -> None:
    """Put ``text`` where a user said: a file whole or not at all, a link's target, a device or pipe as it is.

    Raises:
        ResultsError: it cannot be written; with the way out.
    """
    try:
        if file.exists() and not file.is_file():
            file.write_text(text, encoding="utf-8")
        else:
            write(Path(os.path.realpath(file)), text)
    except OSError as error:
        raise ResultsError(f"cannot write {file}: {error.strerror}; {way_out}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; a no-op where folders cannot be opened (Windows)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
