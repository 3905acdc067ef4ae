"""EXIF's orientation: left aside where published numbers are compared with, followed in images of one's own."""

from pathlib import Path

import datasets
import numpy as np
import pytest
import torchvision

from mixer_bench import data
from mixer_bench.data.decoding import decode
from mixer_bench.data.readers import folder
from mixer_bench.task import task as task_module
from mixer_bench.task.task import Task

CONTENT = (Path(__file__).parents[1] / "golden/encoded/orientation-6.jpg").read_bytes()
HEIGHT, WIDTH = 37, 53  # as stored: seen upright, it is a portrait
FILE = """
metric = "top1"
num_classes = 2
resize = "crop"
version = 1
splits = { train = "train", val = "validation", test = "test" }
sizes = { train = 2, val = 2, test = 2 }
source = [{ kind = "folder", folder = "shots", layout = "splits" }]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of six copies, each with a byte of its own behind the image's end."""
    for split, number in (("train", 0), ("validation", 1), ("test", 2)):
        for label, name in enumerate(("ants", "bees")):
            (tmp_path / "shots" / split / name).mkdir(parents=True)
            (tmp_path / "shots" / split / name / "a.jpg").write_bytes(CONTENT + bytes([2 * number + label]))
    return tmp_path


def declared(root: Path, more: str = "") -> Task:
    file = root / "tasks/shots.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(more + FILE, encoding="utf-8")
    return task_module.read_task(file, file.parent)


def test_a_task_file_takes_pixels_as_they_are_stored_and_a_folder_of_ones_own_upright(root: Path) -> None:
    published, turned = data.load(declared(root), root), data.load(declared(root, 'orientation = "upright"'), root)
    own = data.load(folder.task_of(root / "shots"))
    for part in ("train", "val", "test"):
        stored, upright = published.splits[part].images[1], own.splits[part].images[1]
        assert stored.shape == (HEIGHT, WIDTH, 3)
        assert np.array_equal(upright, np.rot90(stored, -1))
    assert own.train.digests == published.train.digests, "the files are the same"
    assert own.fingerprint == turned.fingerprint != published.fingerprint, "what a network sees is not"
    assert own.train.fingerprint != published.train.fingerprint, "features of one are never taken for the other's"
    assert own.limited(1).train.fingerprint != published.limited(1).train.fingerprint


def test_both_ways_are_those_of_the_libraries_that_go_them(root: Path) -> None:
    stored = decode(CONTENT, "it", upright=False)
    (root / "one/class").mkdir(parents=True)
    (root / "one/class/a.jpg").write_bytes(CONTENT)
    assert np.array_equal(stored, np.asarray(torchvision.datasets.ImageFolder(root / "one")[0][0]))
    shown = datasets.Image().decode_example({"bytes": CONTENT, "path": None})
    assert np.array_equal(decode(CONTENT, "it", upright=True), np.asarray(shown))


def test_every_task_of_the_package_takes_pixels_as_they_are_stored() -> None:
    assert {task.orientation for task in task_module.tasks().values()} == {"stored"}
