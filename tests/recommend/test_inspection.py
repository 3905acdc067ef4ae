"""What is wrong with a folder of images is told all at once, in words that say what to do."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixer_bench.recommend.inspection import inspect


def save(folder: Path, count: int, side: int = 9, first: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        noise = np.random.default_rng([*folder.name.encode(), number]).integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")


def test_all_problems_at_once(tmp_path: Path) -> None:
    save(tmp_path / "cats", 4)
    save(tmp_path / "dogs", 2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "cats" / "0.jpg").write_bytes(b"no image")
    (tmp_path / "dogs" / "copy.png").write_bytes((tmp_path / "cats" / "1.png").read_bytes())
    (tmp_path / "cats" / "inner").mkdir()
    save(tmp_path / "hens", 1)
    told = "\n".join(inspect(tmp_path).problems)
    for words in (
        "empty: class folder without images",
        "inner: a folder in a class folder",
        "0.jpg: cannot be decoded",
    ):
        assert words in told
    assert "hens: 1 image of class hens, 3 or more are needed: add some" in told
    assert f"keep one: {tmp_path}/cats/1.png, {tmp_path}/dogs/copy.png" in told
    assert len(inspect(tmp_path).problems) == 5 and inspect(tmp_path).avoidable
    assert len(inspect(tmp_path, skip_bad=True).problems) == 3  # those that cannot be left out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_named_and_not_waited_for(tmp_path: Path) -> None:
    save(tmp_path / "cats", 4)
    save(tmp_path / "dogs", 4)
    os.mkfifo(tmp_path / "cats" / "pipe.png")
    (problem,) = inspect(tmp_path).problems
    assert problem.startswith(f"{tmp_path}/cats/pipe.png: cannot be read (it is no file but a pipe")


def test_one_class_and_two_images_a_class_are_named(tmp_path: Path) -> None:
    save(tmp_path / "cats", 2)
    assert [problem.partition(": ")[2] for problem in inspect(tmp_path).problems] == [
        "one class alone, cats; add a folder with images of another",
        "2 images of class cats, 3 or more are needed: add some, or take the class out",
    ]


def test_images_of_several_sizes_and_rare_classes_are_remarks(tmp_path: Path) -> None:
    save(tmp_path / "cats", 34)
    save(tmp_path / "dogs", 3, side=20)
    problems, remarks, avoidable = inspect(tmp_path)
    assert not avoidable
    assert problems == ()
    assert "fewer than 10 images: dogs (3)" in remarks[0]
    assert "34 images of cats, 3 of dogs" in remarks[1]
    assert "images of 2 sizes, 9 x 9 to 20 x 20 px" in remarks[2]


def test_given_splits_are_compared(tmp_path: Path) -> None:
    for split, names in (("train", ("cats", "dogs")), ("test", ("cats", "hens"))):
        for name in names:
            save(tmp_path / split / name, 2)
    told = inspect(tmp_path).problems
    assert "they differ in dogs, hens" in told[0]
    assert f"two splits; keep one: {tmp_path}/train/cats/0.png, {tmp_path}/test/cats/0.png" in told[1]


@pytest.mark.parametrize("name", ["Training", "train"])
def test_of_a_layout_that_is_none_nothing_else_is_said(tmp_path: Path, name: str) -> None:
    save(tmp_path / name / "cats", 3)
    (problem,) = inspect(tmp_path).problems
    assert "has Training and none of the other splits" in problem or "has train but neither test" in problem
