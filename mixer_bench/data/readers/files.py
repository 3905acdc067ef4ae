"""Images in files below a folder: found, proved to lie inside it, and read when asked for."""

from __future__ import annotations

import functools
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mixer_bench.data.readers.sound import refuse
from mixer_bench.data.rows import Field, Stored
from mixer_bench.errors import DataError
from mixer_bench.system.console import printable
from mixer_bench.system.files import read, state
from mixer_bench.system.paths import leads_out, real


def stored(
    root: Path, names: Sequence[str], listing: str = "", *, enclosed: bool = True, lenient: bool = False
) -> Stored:
    """Return the files ``names``, places below ``root``, as images.

    Args:
        root: the folder.
        names: of the files.
        listing: the list that names them and its unit, such as "images.csv, row", for errors.
        enclosed: refuse links that lead out of ``root``.
        lenient: let what cannot be read be refused when it is asked for, not now.

    Raises:
        DataError: files cannot be read, or one is or lies behind a link out of ``root``.
    """

    def unreadable(position: int, error: OSError | ValueError) -> str:  # the latter for a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        name = printable(names[position])
        what = f"{listing} {position + 1}: {name}" if listing else f"{root}/{name}:"
        return f"{what} cannot be read ({reason})"

    def content(position: int) -> bytes:
        file = f"{root}/{names[position]}"
        try:
            return read(file)
        except (OSError, ValueError) as error:
            raise DataError(unreadable(position, error)) from None

    stamp, problems = _stamp(root, names, unreadable, enclosed=enclosed)
    if not lenient:
        refuse(problems)
    return Stored(names.__getitem__, content, stamp, lambda position: f"{root}/{names[position]}", fields(names))


def _stamp(
    root: Path, names: Sequence[str], unreadable: Callable[[int, OSError | ValueError], str], *, enclosed: bool
) -> tuple[str, list[str]]:
    """Return the hash of all files' sizes and times, and what is wrong with those that cannot be asked for these."""
    stamp, problems = hashlib.sha256(str(root).encode()), []
    for position, name in enumerate(names):
        file = f"{root}/{name}"  # 400,000 of these in all: a Path each would take longer than asking the disk
        try:
            status = os.lstat(file)
            if stat.S_ISLNK(status.st_mode):
                if enclosed:
                    inside(Path(file), root)
                status = os.stat(file)  # noqa: PTH116
            told = state(status)
        except (OSError, ValueError) as error:
            problems.append(unreadable(position, error))
            told = problems[-1]
        stamp.update(os.fsencode(name) + f"\n{told}\n".encode())
    if enclosed:
        for folder in {name.rpartition("/")[0] for name in names}:
            inside(root / folder, root)
    return stamp.hexdigest(), problems


def fields(names: Sequence[str]) -> dict[str, Field]:
    """Return what keys can be made of places below a folder: the file's name, its stem, and its folder's name."""
    return {field: functools.partial(_parts, names, field) for field in ("file", "stem", "folder")}


def _parts(names: Sequence[str], field: str, positions: np.ndarray) -> list[str]:
    """Return what keys can be made of: a file's name, with and without its suffix, or the folder it lies in."""
    paths = (names[position].rsplit("/", 2) for position in positions.tolist())
    if field == "folder":
        return [path[-2] if len(path) > 1 else "" for path in paths]
    return [path[-1] if field == "file" else path[-1].rsplit(".", 1)[0] for path in paths]


def check_listed(names: Sequence[str], listing: str) -> None:
    """Refuse a list that names a place outside its folder, or one twice; ``listing`` as in ``stored``.

    Raises:
        DataError: names the list and the row.
    """
    first: dict[str, int] = {}
    for row, name in enumerate(names, 1):
        if "\0" in name:
            raise DataError(f"{listing} {row}: {name!r} is no name of a file")
        if leads_out(name):
            raise DataError(f"{listing} {row}: {name} leads out of the list's folder; put the list above its images")
        if first.setdefault(name, row) != row:
            raise DataError(f"{listing} {row}: {name} is in {listing.rpartition(' ')[2]} {first[name]} already")


def inside(file: Path, root: Path) -> None:
    """Refuse what leads out of ``root``: a record's images must lie in the folder it names.

    Raises:
        DataError: ``file`` is, or lies behind, a link out of ``root``.
    """
    if not real(file).is_relative_to(real(root)):
        raise DataError(f"{file}: leads out of {root}; put the image itself there")
