"""From what a user types to tasks: names, groups, globs, folders, lists of images, hub addresses."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mixer_bench.data.readers import folder, hub, table
from mixer_bench.errors import UsageError, unknown
from mixer_bench.task import task as task_module
from mixer_bench.task.sources import HubSource, TableSource
from mixer_bench.task.task import Task


@dataclass(frozen=True)
class Columns:
    """Where a data set of one's own keeps images and classes; None for the usual names."""

    image: str | None = None
    label: str | None = None


def chosen_tasks(
    names: Sequence[str], include: Sequence[Path] = (), columns: Columns = Columns(), source: str | None = None
) -> list[Task]:
    """Return tasks by name, each once; ``hf:owner/name``, a list of images or a folder is a task of one's own.

    Args:
        names: names, groups, globs, folders, lists, hub addresses.
        include: folders with task files beside the package's own.
        columns: of a list or a hub data set of one's own.
        source: the kind of source to use, if not all of a task's.

    Raises:
        UsageError: an unknown name or kind, or columns that nothing asked for has.
    """
    known = task_module.tasks(include)
    given = {key: name for key, name in asdict(columns).items() if name}
    tasks: list[Task] = []
    for name in names:
        tasks += [task for task in _tasks_of(name, known, given) if task not in tasks]
    if given and not any(isinstance(task.source[0], HubSource | TableSource) for task in tasks):
        raise UsageError("--image and --label name columns of hf:owner/name or of a list; neither is asked for")
    return _from(source, tasks) if source else tasks


def _tasks_of(name: str, known: Mapping[str, Task], columns: dict[str, str]) -> list[Task]:
    if name.startswith(hub.PREFIX):
        return [hub.task_of(name, columns)]
    if name not in known and name not in {tag for task in known.values() for tag in task.tags}:
        if name.endswith(table.SUFFIXES):
            return [table.task_of(Path(name), columns)]
        # A name with a path separator that is no task, or ``.``, is a folder of images.
        is_path = (os.sep in name or name == ".") and not set("*?[") & set(name)
        if is_path and (Path(name).exists() or name.startswith((".", os.sep))):
            return [folder.task_of(Path(name))]
    try:
        return task_module.select([name], known)
    except UsageError as error:
        hint = f"; for the folder of that name write ./{name}" if Path(name).is_dir() else ""
        raise UsageError(f"{error}{hint}") from None


def _from(kind: str, tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks with their sources of that kind only."""
    kinds = {source.kind for task in tasks for source in task.source}
    if kind not in kinds:
        raise unknown("kind of source of these tasks", kind, kinds)
    chosen = []
    for task in tasks:
        sources = tuple(source for source in task.source if source.kind == kind)
        if not sources:
            raise UsageError(f"task {task.name!r} has no source of kind {kind!r}")
        chosen.append(task.model_copy(update={"source": sources}))
    return chosen
