"""A task's sources, tried in turn; the first that is there is put in order, cut, checked and fingerprinted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from mixer_bench.data import archives, manifest
from mixer_bench.data.assemble import assembled, check_rows, in_order
from mixer_bench.data.decoding import zero_one
from mixer_bench.data.examples import TaskData
from mixer_bench.data.readers import embedded, folder, hub, originals, table, tfds, torchvision, vtab1k_folder
from mixer_bench.data.rows import Read, Rows
from mixer_bench.errors import Absent, DataError, UsageError
from mixer_bench.system import network, paths
from mixer_bench.task.sources import JoinedSource, Source, Subset, places
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
    _, data = first(task, lambda source: load_from(source, task, root), fetching_into=root)
    return data


def first(task: Task, attempt: Callable[[Source], Made], fetching_into: Path | None = None) -> tuple[Source, Made]:
    """Return the best source that can be had, and what ``attempt`` makes of it; ``Absent`` says that one is not there.

    Official images go before lossy ones, and these before others, whatever is at hand; of equals the one declared
    first, and those whose makers' archives would have to be fetched last.

    Args:
        task: has the sources.
        attempt: reads one.
        fetching_into: the data folder that archives may be fetched into; None: they may not.

    Raises:
        DataError: none can be had; says what each lacks and what a person can do.
    """
    allowed = fetching_into is not None and not network.offline()
    missing, tried = [], set()
    for subset in get_args(Subset):
        of_subset = [source for source in task.source if source.subset == subset]
        incomplete = [source for source in of_subset if allowed and _lacks_archives(source, fetching_into)]
        for source in [*(each for each in of_subset if each not in incomplete), *incomplete]:
            try:
                if source in incomplete and fetching_into is not None and source.originals not in tried:
                    tried.add(source.originals)  # what no address gave a moment ago is not asked for again
                    with named(task, source):
                        archives.fetch(source.originals, fetching_into)
                return source, attempt(source)
            except Absent as absent:
                missing.append(f"{source.kind}: {absent}" + (f" ({source.access})" if source.access else ""))
    raise DataError(f"task {task.name!r}: no source is there; " + "; ".join(dict.fromkeys(missing)))


def _lacks_archives(source: Source, data_dir: Path | None) -> bool:
    return data_dir is not None and bool(source.originals) and bool(archives.missing(source.originals, data_dir))


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
    if source.originals:
        archives.refuse_misplaced(source.originals, data_dir)
        archives.refuse_unbrought(source.originals, data_dir)
        left = archives.missing(source.originals, data_dir)
        if len(left) == len(archives.of(source.originals).archive):  # a fetch that failed may leave an empty folder
            raise Absent(f"no {data_dir / left[0].there}; mixer-bench prepare --source {source.kind} fetches it")
    held = READERS[source.kind](source, data_dir)
    return held if source.zero_one == "kept" else _of_two_values(held, stretched=source.zero_one == "stretched")


def _of_two_values(held: Read, stretched: bool) -> Read:
    splits = {
        split: replace(rows, stored=replace(rows.stored, decode=zero_one(rows.stored.decode, stretched)))
        for split, rows in held.splits.items()
    }
    return replace(held, splits=splits)


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
    "originals": originals.read,
    "table": table.read,
    "tfds": tfds.read,
    "torchvision": torchvision.read,
    "vtab1k_folder": vtab1k_folder.read,
}
