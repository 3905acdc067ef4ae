"""From what a user types to tasks: names, groups, globs, folders, lists of images, hub addresses."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixer_bench.data.readers import folder, hub, table
from mixer_bench.errors import UsageError, unknown
from mixer_bench.task import task as task_module
from mixer_bench.task.sources import HubSource, TableSource
from mixer_bench.task.task import Task

Names = str | Sequence[str]


@dataclass(frozen=True)
class Columns:
    """Where a data set of one's own keeps images and classes; None for the usual names."""

    image: str | None = None
    label: str | None = None


def parts(names: Names) -> list[str]:
    """``"a,b"``, ``["a", "b"]`` and ``["a,b"]`` alike."""
    given = [names] if isinstance(names, str) else names
    return [part.strip() for name in given for part in name.split(",") if part.strip()]


def chosen_tasks(
    names: Sequence[str], include: Sequence[Path] = (), columns: Columns = Columns(), source: str | None = None
) -> list[Task]:
    """Tasks by name, each once; ``hf:owner/name``, a list of images or a folder is a task of one's own.

    Args:
        names: names, groups, globs, folders, lists, hub addresses.
        include: folders with task files beside the package's own.
        columns: of a list or a hub data set of one's own.
        source: the kind of source to use, if not all of a task's.

    Raises:
        UsageError: an unknown name or kind, or columns that nothing asked for has.
    """
    known = task_module.tasks(include)
    found: list[Task] = []
    for name in names:
        found += [task for task in _tasks_of(name, known, columns) if task not in found]
    if columns != Columns() and not any(isinstance(task.source[0], HubSource | TableSource) for task in found):
        raise UsageError("--image and --label name columns of hf:owner/name or of a list; neither is asked for")
    return _from(source, found) if source else found


def _tasks_of(name: str, known: Mapping[str, Task], columns: Columns) -> list[Task]:
    if name.startswith(hub.PREFIX):
        return [hub.task_of(name, columns.image, columns.label)]
    # A name with a path separator that is no task, or ``.``, is a folder of images.
    groups = {tag for task in known.values() for tag in task.tags}
    is_path = (os.sep in name or name == ".") and not set("*?[") & set(name)
    if name not in known and name not in groups:
        if name.endswith(table.SUFFIXES):
            return [table.task_of(Path(name), columns.image, columns.label)]
        if is_path and (Path(name).exists() or name.startswith((".", os.sep))):
            return [folder.task_of(Path(name))]
    return _known_tasks(name, known)


def _from(kind: str, tasks: Sequence[Task]) -> list[Task]:
    """The tasks with their sources of that kind only."""
    kinds = dict.fromkeys(source.kind for task in tasks for source in task.source)
    if kind not in kinds:
        raise unknown("kind of source of these tasks", kind, kinds)
    chosen = []
    for task in tasks:
        sources = tuple(source for source in task.source if source.kind == kind)
        if not sources:
            raise UsageError(f"task {task.name!r} has no source of kind {kind!r}")
        chosen.append(task.model_copy(update={"source": sources}))
    return chosen


def _known_tasks(name: str, known: Mapping[str, Task]) -> list[Task]:
    try:
        return task_module.select([name], known)
    except UsageError as error:
        hint = f"; for the folder of that name write ./{name}" if Path(name).is_dir() else ""
        raise UsageError(f"{error}{hint}") from None
