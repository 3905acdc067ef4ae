"""Train and val together, as few-shot draws from them: in the order of the split that they were cut from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mixer_bench.data import assemble, loading
from mixer_bench.data.examples import TaskData
from mixer_bench.data.rows import Read, Rows, Stored
from mixer_bench.task import splits
from mixer_bench.task.sources import SplitTable
from mixer_bench.task.task import TASKS, load_tasks
from tests import original_files
from tests.data.test_order import by_hand, source_of

ALL = load_tasks(TASKS)
TOY = ALL["cifar10"].model_copy(update={"num_classes": 2, "sizes": None, "pixels": None, "duplicates": "allowed"})


def toy(train: str, val: str) -> TaskData:
    """Ten images of TFDS's train and six of its validation, cut as asked; an image's name is its place there."""

    def rows(split: str, count: int) -> Rows:
        stored = Stored(lambda position: f"{split} {position}", lambda position: f"{split} {position}".encode())
        return Rows.all(stored, np.arange(count) % 2)

    read = Read(
        {"train": rows("train", 10), "validation": rows("validation", 6), "test": rows("test", 4)}, ("a", "b"), "toy"
    )
    table = SplitTable(train=train, val=val, test="test")
    source = ALL["digits"].source[0].model_copy(update={"splits": table})
    return assemble.assembled(TOY, source, read)


@pytest.mark.parametrize(
    ("train", "val", "pool"),
    [
        ("train[:80%]", "train[80%:]", [f"train {n}" for n in range(10)]),
        ("train[20%:]", "train[:20%]", [f"train {n}" for n in range(10)]),
        ("train[:4]+train[6:]", "train[4:6]", [f"train {n}" for n in range(10)]),
        ("train[:3]", "train[7:9]", ["train 0", "train 1", "train 2", "train 7", "train 8"]),
        (
            "train[:2]+validation[:2]",
            "train[2:3]+validation[2:3]",
            ["train 0", "train 1", "train 2", "validation 0", "validation 1", "validation 2"],
        ),
        ("validation[3:]", "train[:2]", ["validation 3", "validation 4", "validation 5", "train 0", "train 1"]),
    ],
)
def test_train_and_val_together_are_in_the_order_of_the_split_they_were_cut_from(
    train: str, val: str, pool: list[str]
) -> None:
    made = toy(train, val)
    both = [*made.train.names, *made.val.names]
    assert [both[position] for position in made.development.pool] == pool
    few = made.limited(2)
    left = [name for name in pool if name in {*few.train.names, *few.val.names}]
    assert [[*few.train.names, *few.val.names][position] for position in few.development.pool] == left
    labels = made.development.of_pool(made.train.labels, made.val.labels, made.development.pool)
    assert labels.tolist() == [int(name[-1]) % 2 for name in pool]


def test_an_order_that_is_not_trains_then_vals_is_identity() -> None:
    """Draws differ by it; where train comes first nothing is added, so that known fingerprints stay."""
    swapped = toy("train[20%:]", "train[:20%]")
    assert swapped.order is not None
    assert swapped.fingerprint != replace(swapped, order=None).fingerprint
    assert toy("train[:80%]", "train[80%:]").order is None


def test_few_shot_draws_of_cifars_whole_train_as_big_vision_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import cifar

    monkeypatch.setattr(cifar, "check_integrity", lambda *_: True)
    classes = np.arange(60) % 10
    original_files.cifar10(tmp_path, classes, np.arange(20) % 10)
    source = source_of("cifar10").model_copy(update={"rows": {}, "sizes": {}})
    task = ALL["cifar10"].model_copy(update={"sizes": None, "duplicates": "allowed"})
    made = assemble.assembled(task, source, loading.read(source, tmp_path)).development
    assert (len(made.train), len(made.val)) == (59, 1), "98 %"
    ordered = [int(row) for row in by_hand("train", [str(row) for row in range(60)])]
    generator = np.random.default_rng(2)
    expected = [
        ordered[place]
        for number in range(10)
        for place in generator.permutation([i for i, row in enumerate(ordered) if classes[row] == number])[:3]
    ]
    drawn = splits.few_shot(made.of_pool(made.train.labels, made.val.labels, made.pool), 10, 3, 2)
    names = [*made.train.names, *made.val.names]
    assert [names[place] for place in made.pool[drawn]] == [f"train/{row}" for row in expected]
