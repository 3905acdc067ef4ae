"""What installed packages add by entry points: protocols, metrics, ..., each loaded when it is asked for by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from mixer_bench.errors import UsageError

FOREIGN = (Exception, SystemExit)  # what code of others may raise: anything, and a script may end itself


def names(group: str) -> set[str]:
    """Return the names that installed packages add to an entry-point group; nothing is imported for it."""
    return {point.name for point in entry_points(group=group)}


def load(
    kind: str,
    group: str,
    name: str,
    ours: Collection[str] = (),
    parts: Sequence[str] = (),
    fault: Callable[[Any], str] = lambda _loaded: "",
) -> Any:
    """Return what a package adds under ``name``; a broken plug-in is refused alone, other names still work.

    Args:
        kind: what it is, for errors: "protocol".
        group: the entry-point group: "mixer_bench.protocols".
        name: one of ``names(group)``.
        ours: names that mixer-bench itself has.
        parts: attributes that the contract asks for.
        fault: says what else is wrong with it; empty where nothing is.

    Raises:
        UsageError: the name is taken, the plug-in cannot be imported or breaks the contract; names the package.
    """
    first, *others = entry_points(group=group, name=name)
    if name in ours or others:
        packages = " and ".join(_package(point) for point in (first, *others))
        other = "mixer-bench has one of that name" if name in ours else "only one of that name can be used"
        raise UsageError(f"{kind} {name!r} of {packages}: {other}; uninstall or rename it")
    try:
        loaded = first.load()
    except FOREIGN as error:
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"{kind} {name!r} of {_package(first)} cannot be imported ({reason})") from error
    if missing := [part for part in parts if not hasattr(loaded, part)]:
        raise UsageError(f"{kind} {name!r} of {_package(first)} has no {', '.join(missing)}")
    if wrong := fault(loaded):
        raise UsageError(f"{kind} {name!r} of {_package(first)}: {wrong}")
    return loaded


def path_of(kind: str, group: str, name: str) -> Path:
    """Return the path that a package's function gives under ``name``; arguments are those of ``load``.

    Raises:
        UsageError: as ``load``, or it gives none; names the package.
    """
    function = load(kind, group, name)
    try:
        return Path(function())
    except FOREIGN as error:
        (point,) = entry_points(group=group, name=name)
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"{kind} {name!r} of {_package(point)}: gives no path ({reason})") from error


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name} {point.dist.version}" if point.dist else f"an unknown package ({point.value})"
