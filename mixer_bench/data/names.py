"""From what a user types to tasks: names, groups, globs, folders, lists of images, hub addresses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mixer_bench.data.readers import folder, hub, table
from mixer_bench.errors import UsageError, unknown
from mixer_bench.system.paths import begins_as_path, expanded, separated
from mixer_bench.task import task as task_module
from mixer_bench.task.sources import HubSource, Subset, TableSource, at_least
from mixer_bench.task.task import Task, is_of_ones_own


@dataclass(frozen=True)
class Reading:
    """How images of one's own are read, and from where."""

    image: str | None = None  # column of a list or a hub data set; None for the usual name
    label: str | None = None
    skip_bad: bool = False  # leave out images that cannot be decoded or are in test too
    follow_links: bool = False  # take images behind links out of their folder
    allow_outside: bool = False  # task files of one's own may lead out of the data folder


def chosen_tasks(
    names: Sequence[str],
    include: Sequence[Path] = (),
    reading: Reading = Reading(),
    source: str | None = None,
    subset: Subset | None = None,
) -> list[Task]:
    """Return tasks by name, each once; ``hf:owner/name``, a list of images or a folder is a task of one's own.

    Args:
        names: names, groups, globs, folders, lists, hub addresses.
        include: folders with task files beside the package's own.
        reading: how images of one's own are read.
        source: the kind of source to use, if not all of a task's.
        subset: the least that images may be.

    Raises:
        UsageError: an unknown name or kind, or a way of reading that nothing asked for can be read in.
    """
    known = task_module.tasks(include, reading.allow_outside)
    given = {key: value for key, value in asdict(reading).items() if value and key != "allow_outside"}
    columns: dict[str, str] = {key: given.pop(key) for key in [*given] if key in ("image", "label")}
    tasks: list[Task] = []
    for name in names:
        tasks += [task for task in _tasks_of(name, known, columns, given) if task not in tasks]
    if columns and not any(isinstance(task.source[0], HubSource | TableSource) for task in tasks):
        raise UsageError("--image and --label name columns of hf:owner/name or of a list; neither is asked for")
    if given and not any(is_of_ones_own(task) for task in tasks):
        flags = " and ".join(f"--{key.replace('_', '-')}" for key in given)
        raise UsageError(f"{flags}: only for images of your own; none are asked for")
    tasks = _from(source, tasks) if source else tasks
    return [_no_less(subset, task) for task in tasks] if subset else tasks


def _tasks_of(name: str, known: Mapping[str, Task], columns: Mapping[str, str], how: Mapping[str, bool]) -> list[Task]:
    if name.startswith(hub.PREFIX):
        return [_read_so(hub.task_of(name, columns), how)]
    if name not in known and name not in {tag for task in known.values() for tag in task.tags}:
        place = expanded(name)
        if name.lower().endswith(table.SUFFIXES):
            return [_read_so(table.task_of(place, columns), how)]
        # A name with a path separator that is no task, or ``.``, is a folder of images, unless it is a glob.
        named_so = begins_as_path(name) and not set("*?[") & set(name)
        if (separated(name) or name == ".") and (place.exists() or named_so):
            return [_read_so(folder.task_of(place), how)]
    try:
        return task_module.select([name], known)
    except UsageError as error:
        hint = f"; for the folder of that name write ./{name}" if Path(name).is_dir() else ""
        raise UsageError(f"{error}{hint}") from None


def _read_so(task: Task, how: Mapping[str, bool]) -> Task:
    return task.model_copy(update={"source": tuple(source.model_copy(update=how) for source in task.source)})


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


def _no_less(subset: Subset, task: Task) -> Task:
    """Return the task with its sources of that subset and of better ones.

    Where nothing but a copy on the hub is asked for, also one that may prove to be so by the keys that it carries.
    """
    only_hub = all(isinstance(source, HubSource) for source in task.source)
    fitting = tuple(
        source
        for source in task.source
        if at_least(source.subset, subset) or (only_hub and isinstance(source, HubSource) and source.carried)
    )
    if not fitting:
        raise UsageError(f"task {task.name!r} has no source that is {subset} or better (--subset)")
    return task.model_copy(update={"source": fitting})
