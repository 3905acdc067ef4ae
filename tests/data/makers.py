"""VTAB's tasks with their makers' archives alone, scaled down to what a test can hold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from mixer_bench.data.examples import TaskData
from mixer_bench.task.sources import Source
from mixer_bench.task.task import TASKS, Task, load_tasks

ALL = load_tasks(TASKS)


def small(name: str, splits: Mapping[str, str], sizes: Mapping[str, int], classes: int) -> Task:
    """A task of VTAB with its makers' archives alone, scaled down: slices, sizes, classes, and images of any size."""
    task = ALL[f"vtab/{name}"]

    def shrunk(source: Source) -> Source:
        return source.model_copy(update={"rows": {}, "sizes": {}, "begins": ""})

    return task.model_copy(
        update={
            "splits": task.splits.model_copy(update=splits),
            "sizes": task.sizes and task.sizes.model_copy(update=sizes),
            "num_classes": classes,
            "pixels": None,
            "source": tuple(shrunk(source) for source in task.source if source.originals),
        }
    )


def by_hand(salt: str, keys: list[str]) -> list[str]:
    return sorted(keys, key=lambda key: int(hashlib.md5(f"{salt}{key}".encode()).hexdigest(), 16))


def shown(data: TaskData, split: str) -> list[np.ndarray]:
    examples = data.splits[split]
    return [np.asarray(examples.images[index]) for index in range(len(examples))]
