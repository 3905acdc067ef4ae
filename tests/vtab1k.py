"""The VTAB-1k folder as NOAH's script writes it, of tiny images: every list whole, images as hard links."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from mixer_bench.data import resized
from mixer_bench.task.sources import Vtab1kFolderSource
from mixer_bench.task.task import TASKS, Task, load_tasks
from tests.hub_repositories import A_CLASS, POOL, cycled, image, pixels_of

VTAB = [task for task in load_tasks(TASKS).values() if "vtab" in task.tags]
LISTS = {"train": "train800", "val": "val200", "test": "test"}


def source_of(task: Task) -> Vtab1kFolderSource:
    """What the task file says of the folder."""
    return next(source for source in task.source if isinstance(source, Vtab1kFolderSource))


def make(root: Path, tasks: Iterable[Task] = VTAB) -> Path:
    """``root/vtab-1k/<task>/{train800,val200,train800val200,test}.txt`` and ``images/<list>/000000.jpg``."""
    pool = root / "pool"
    pool.mkdir(parents=True)
    for colour in range(POOL):
        for variant in range(A_CLASS):
            (pool / f"{colour}_{variant}").write_bytes(image(colour, variant, "jpg"))
    for task in tasks:
        source = source_of(task)
        place = root / "vtab-1k" / source.folder
        labels = {
            LISTS[split]: cycled(task.num_classes, source.sizes.get(split, (size,))[-1], row)
            for row, (split, size) in enumerate(task.sizes)
        }
        labels["train800val200"] = np.concatenate([labels["train800"], labels["val200"]])
        for name, of_list in labels.items():
            (place / "images" / name).mkdir(parents=True)
            large = resized.looked_at(len(of_list))
            for row, label in enumerate(of_list.tolist()):
                if row in large:
                    file = place / f"images/{name}/{row:06d}.jpg"
                    file.write_bytes(image(label % POOL, 0, "jpg", pixels_of(task.name)))
                    continue
                os.link(pool / f"{label % POOL}_{row % A_CLASS}", place / f"images/{name}/{row:06d}.jpg")
            lines = [f"images/{name}/{row:06d}.jpg {label}\n" for row, label in enumerate(of_list)]
            (place / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
    return root


def rewrite(file: Path, change: Callable[[list[str]], Iterable[str]]) -> None:
    """Change the lines of a list."""
    lines = change(file.read_text(encoding="utf-8").splitlines())
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
