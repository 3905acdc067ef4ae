"""A task's sources, tried in turn; the first that is there is put in order, cut, checked and fingerprinted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mixer_bench.data import manifest
from mixer_bench.data.assemble import assembled, check_rows, in_order
from mixer_bench.data.examples import TaskData
from mixer_bench.data.readers import embedded, folder, hub, table, tfds, torchvision, vtab1k_folder
from mixer_bench.data.rows import Read, Rows
from mixer_bench.errors import Absent, DataError, UsageError
from mixer_bench.system import paths
from mixer_bench.task.sources import JoinedSource, Source, places
from mixer_bench.task.task import Task

SHOWN = 3  # changed images that an error names
Made = TypeVar("Made")


def load(task: Task, data_dir: Path | None = None) -> TaskData:
    """Return the task's examples, from the first of its sources that is there.

    Args:
        task: what to load.
        data_dir: root of what one has on disk; ``paths.data_dir()`` if not given.

    Raises:
        DataError: no source is there, or what is there is not what the task file says.
    """
    root = data_dir or paths.data_dir()
    _, data = first(task, lambda source: load_from(source, task, root))
    return data


def first(task: Task, attempt: Callable[[Source], Made]) -> tuple[Source, Made]:
    """Return the first source that is there, and what ``attempt`` makes of it; ``Absent`` says that one is not.

    Raises:
        DataError: none is there; says what each lacks and how it can be had.
    """
    missing = []
    for source in task.source:
        try:
            return source, attempt(source)
        except Absent as absent:
            missing.append(f"{source.kind}: {absent}" + (f" ({source.access})" if source.access else ""))
    raise DataError(f"task {task.name!r}: no source is there; " + "; ".join(missing))


def load_from(source: Source, task: Task, data_dir: Path, *, against_manifest: bool = True) -> TaskData:
    """Return the task's examples from this very source.

    Raises:
        Absent: it is not there.
        DataError: it is not what the task file says, or, with ``against_manifest``, not what was prepared.
        UsageError: the task's slices do not fit it.
    """
    with named(task, source):
        data = assembled(task, source, read(source, data_dir))
        changed = manifest.differences(task.name, source, data, data_dir) if against_manifest else None
        if changed:
            raise DataError(
                f"not as it was prepared: {'; '.join(changed[:SHOWN])}{', ...' * (len(changed) > SHOWN)} "
                f"({len(changed)} in all); restore it, or prepare it again"
            )
        return data


@contextlib.contextmanager
def named(task: Task, source: Source) -> Iterator[None]:
    """Let errors about a task's source say which task and source, an unreadable file among them."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"task {task.name!r}: {source.kind}: {error.filename or 'a file'}: {reason}") from None
    except (DataError, UsageError) as error:
        if task.sizes is None and places(source)[0] in str(error):
            raise
        what = places(source)[0] if task.sizes is None else f"task {task.name!r}: {source.kind}"
        raise type(error)(f"{what}: {error}") from None


def read(source: Source, data_dir: Path) -> Read:
    """Return what the source holds, before anything is cut.

    Raises:
        Absent: it is not there.
        DataError: it is damaged.
    """
    return READERS[source.kind](source, data_dir)


def _joined(source: JoinedSource, data_dir: Path) -> Read:
    """Return the splits of all parts, each part's in its own order."""
    # What lies on disk first: nothing is fetched for a whole that cannot be had.
    splits: dict[str, Rows] = {}
    parts = []
    for source_part in sorted(source.part, key=lambda part: part.kind == "hub"):
        held = read(source_part, data_dir)
        check_rows(source_part, held)
        part = in_order(source_part, held)
        if twice := sorted(splits.keys() & part.splits.keys()):
            raise DataError(f"two of its parts have a split {twice[0]!r}; rename one")
        splits.update(part.splits)
        parts.append((source_part, part))
    class_names = next(part.class_names for source_part, part in parts if source_part == source.part[0])
    words = "; ".join(part.description for _, part in parts)
    return Read(splits, class_names, words, drawn=any(part.drawn for _, part in parts))


READERS: Mapping[str, Callable[[Any, Path], Read]] = {
    "embedded": embedded.read,
    "folder": folder.read,
    "hub": hub.read,
    "joined": _joined,
    "table": table.read,
    "tfds": tfds.read,
    "torchvision": torchvision.read,
    "vtab1k_folder": vtab1k_folder.read,
}
