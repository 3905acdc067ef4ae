"""From a task to its pictures and labels: ``load(task)``. One module a kind of source."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixer_bench import splits
from mixer_bench.data import embedded, folder
from mixer_bench.data.examples import Chosen, Development, Examples, Pictures, TaskData
from mixer_bench.errors import DataError, UsageError
from mixer_bench.task import SPLITS, EmbeddedSource, Source, Task

__all__ = ["Chosen", "Development", "Examples", "Pictures", "TaskData", "default_data_dir", "load"]


@dataclass(frozen=True)
class _Read:
    """What a source gives: its own splits, before the task's expressions cut them."""

    splits: Mapping[str, Examples]
    class_names: tuple[str, ...]
    description: str


def default_data_dir() -> Path:
    """Where ``folder`` sources are looked for: MIXER_BENCH_DATA, else ``data`` in the working directory."""
    return Path(os.environ.get("MIXER_BENCH_DATA", "data"))


def load(task: Task, data_dir: Path | None = None) -> TaskData:
    """The task's examples, from the first of its sources that is there.

    Args:
        task: what to load.
        data_dir: root of ``folder`` sources; ``default_data_dir()`` if not given.

    Raises:
        DataError: no source is there, or what is there has other sizes or classes than the task file says.
    """
    missing = []
    for source in task.source:
        try:
            read = _read(source, data_dir or default_data_dir())
        except FileNotFoundError as error:
            missing.append(f"{source.kind}: {error}")
            continue
        return _checked(task, source, read)
    raise DataError(f"task {task.name!r}: no source is there ({'; '.join(missing)})")


def _read(source: Source, data_dir: Path) -> _Read:
    if isinstance(source, EmbeddedSource):
        return _Read(*embedded.read(source.folder))
    return _Read(*folder.read(data_dir / source.folder))


def _checked(task: Task, source: Source, read: _Read) -> TaskData:
    sizes = {name: len(examples) for name, examples in read.splits.items()}
    expressions = {name: getattr(task.splits, name) for name in SPLITS}
    try:
        parts = {name: splits.resolve(text, sizes) for name, text in expressions.items()}
        splits.check_disjoint(parts)
        cut = {name: _cut(part, read.splits) for name, part in parts.items()}
    except UsageError as error:
        raise UsageError(f"task {task.name!r}: {error}") from None
    if len(read.class_names) != task.num_classes:
        raise DataError(f"task {task.name!r}: {len(read.class_names)} classes found, {task.num_classes} declared")
    for name, examples in cut.items():
        if task.sizes is not None and len(examples) != getattr(task.sizes, name):
            declared = getattr(task.sizes, name)
            raise DataError(f"task {task.name!r}: split {name} has {len(examples)} examples, {declared} declared")
    return TaskData(
        train=cut["train"],
        val=cut["val"],
        test=cut["test"],
        class_names=read.class_names,
        metric=task.metric,
        source=read.description,
        subset=source.subset,
    )


def _cut(parts: list[tuple[str, np.ndarray]], available: Mapping[str, Examples]) -> Examples:
    if len(parts) == 1:
        name, indices = parts[0]
        whole = available[name]
        return whole if len(indices) == len(whole) else whole.take(indices)
    return Examples.joined([available[name].take(indices) for name, indices in parts])
