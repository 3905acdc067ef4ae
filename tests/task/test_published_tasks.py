"""What task files declare, against the code that was published with the papers' numbers.

SC is scenic's vtab_plainvit_config.py, BV big_vision's configs/transfer.py, TA task_adaptation's data/, whose tests
have the numbers of images.
"""

import csv
from pathlib import Path

import pytest

from mixer_bench.task.task import TASKS, load_tasks

ALL = load_tasks(TASKS)
CELLS = [*csv.DictReader(Path(__file__).with_name("task_cells.csv").read_text(encoding="utf-8").splitlines())]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell["task"])
def test_splits_classes_and_views_are_those_of_public_code(cell: dict[str, str]) -> None:
    task = ALL[cell["task"]]
    assert (f"{task.splits.train}+{task.splits.val}", task.splits.test) == (cell["learned from"], cell["test"])
    assert (task.num_classes, task.sizes.test) == (int(cell["classes"]), int(cell["images"]))
    assert task.augment == tuple(view for view in ("crop", "flip") if cell[view] == "yes")
    vtab = "vtab" in {tag.partition("/")[0] for tag in task.tags}
    assert (task.metric, task.resize) == ("top1", "squash" if vtab else "crop")
    assert not vtab or (task.sizes.train, task.sizes.val) == (800, 200)


def test_every_task_of_the_papers_has_a_cell() -> None:
    """But for two: ImageNet-V2 has no training images of its own, and Flowers with 2,040 is in no public code."""
    papers = {name for name, task in ALL.items() if "paper" in task.tags}
    assert {cell["task"] for cell in CELLS} == papers - {"imagenet_v2", "flowers102_2040"}
