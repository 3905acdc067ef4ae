"""Where things are kept on this machine: an environment variable of ours, else the user's own folders."""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath

import platformdirs

from mixer_bench.errors import UsageError


def expanded(place: Path | str) -> Path:
    """Return a path with a leading ``~`` resolved: shells leave that of --data-dir=~/data, and of variables, as it is.

    Raises:
        UsageError: there is no such user.
    """
    if not str(place).startswith("~"):  # as text: of ./~x a path is ~x
        return Path(place)
    try:
        return Path(place).expanduser()
    except RuntimeError:
        raise UsageError(f"{place}: there is no such user; write ./{place} for a folder of that name") from None


def real(path: Path) -> Path:
    """Return a path without links and "..", as far as there is such a place; links in a circle stay as they are."""
    return Path(os.path.realpath(path))


def data_dir() -> Path:
    """Return the root of the images one has on disk: MIXER_BENCH_DATA, else ``data`` in the working directory."""
    return expanded(os.environ.get("MIXER_BENCH_DATA") or "data")


def cache_dir() -> Path:
    """Return where what can be made again is kept: MIXER_BENCH_CACHE, else the user's cache folder."""
    named = os.environ.get("MIXER_BENCH_CACHE")
    return expanded(named) if named else Path(platformdirs.user_cache_dir("mixer-bench"))


def leads_out(place: str) -> bool:
    """Return whether a place is absolute or goes up, with separators and drives of any system."""
    parts = PureWindowsPath(place)  # knows the others' as well
    return not place or bool(parts.anchor) or ".." in parts.parts


def separated(place: str) -> bool:
    """Return whether a text has a separator of folders; Windows takes two."""
    return "/" in place or os.sep in place


def begins_as_path(place: str) -> bool:
    """Return whether a text begins as no name of a task or model does: with ``.``, ``~``, a root or a drive."""
    return place.startswith((".", "~")) or bool(Path(place).anchor)


PACKAGE = Path(__file__).parent.parent
EMBEDDED = PACKAGE / "embedded"  # small real data and checkpoints that come with the package
