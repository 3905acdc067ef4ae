"""A folder of images of one's own: its layouts, its faults, and what of it goes into a record."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixer_bench import data
from mixer_bench.data.examples import Examples, TaskData
from mixer_bench.data.readers import folder
from mixer_bench.errors import DataError
from mixer_bench.models import names as names_module
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.results.store import Store
from mixer_bench.runs import machine as machine_module
from mixer_bench.runs import plan, runner
from mixer_bench.runs import request as request_module
from mixer_bench.system.progress import ProgressLog

CLASSES = ("ants", "bees", "cats")


def fill(path: Path, count: int, shade: int, suffix: str = ".png") -> None:
    """``count`` images, each of a grey of its own."""
    path.mkdir(parents=True, exist_ok=True)
    options = {"lossless": True} if suffix == ".webp" else {}  # two greys must not become the same file
    for index in range(count):
        Image.new("RGB", (5, 4), (shade + index,) * 3).save(path / f"{index:03}{suffix}", **options)


def make(root: Path, sizes: dict[str, int], classes: tuple[str, ...] = CLASSES) -> Path:
    """Splits of class folders; the split ``""`` puts the class folders into ``root`` itself."""
    for number, (split, count) in enumerate(sizes.items()):
        for label, name in enumerate(classes):
            fill(root / split / name, count, 60 * label + 20 * number)
    return root


def load(root: Path) -> TaskData:
    return data.load(folder.task_of(root))


def shades(examples: Examples) -> list[int]:
    return [int(examples.images[index][0, 0, 0]) for index in range(len(examples))]


# --- layouts


def test_without_splits_all_three_are_drawn_by_class(tmp_path: Path) -> None:
    found = load(make(tmp_path, {"": 10}))
    assert {name: np.bincount(part.labels).tolist() for name, part in found.splits.items()} == {
        "train": [6] * 3,
        "val": [2] * 3,
        "test": [2] * 3,
    }
    names = [name for part in found.splits.values() for name in part.names]
    assert sorted(names) == [f"{c}/{i:03}.png" for c in CLASSES for i in range(10)]
    assert found.subset == "resampled"
    assert "60%/20%/20%" in found.source
    assert found.fingerprint == load(tmp_path).fingerprint


def test_train_and_test_draw_val_from_train(tmp_path: Path) -> None:
    found = load(make(tmp_path, {"train": 10, "test": 4}))
    assert [len(part) for part in found.splits.values()] == [24, 6, 12]
    assert np.bincount(found.val.labels).tolist() == [2] * 3
    assert sorted(shades(found.train) + shades(found.val)) == [60 * c + i for c in range(3) for i in range(10)]
    assert sorted(shades(found.test)) == [60 * c + 20 + i for c in range(3) for i in range(4)]
    assert found.subset == "resampled"
    assert "test is test, val drawn 20% of train" in found.source


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_train_and_val_make_val_the_test_split(tmp_path: Path, val: str) -> None:
    found = load(make(tmp_path, {"train": 10, val: 4}))
    assert [len(part) for part in found.splits.values()] == [24, 6, 12]
    assert sorted(shades(found.test)) == [60 * c + 20 + i for c in range(3) for i in range(4)]
    assert f"{val} is test" in found.source
    assert found.subset == "resampled"


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_three_given_splits_are_used_as_they_are(tmp_path: Path, val: str) -> None:
    found = load(make(tmp_path, {"train": 5, val: 2, "test": 3}))
    assert [shades(part) for part in found.splits.values()] == [
        [60 * c + 20 * number + i for c in range(3) for i in range(count)] for number, count in enumerate((5, 2, 3))
    ]
    assert found.subset == "official"
    assert "as given" in found.source


def test_classes_are_numbered_in_the_order_of_their_names(tmp_path: Path) -> None:
    found = load(make(tmp_path, {"train": 3, "val": 1, "test": 1}, ("b", "a", "C")))
    assert found.class_names == ("C", "a", "b")
    assert [(int(label), shade // 60) for label, shade in zip(found.test.labels, shades(found.test), strict=True)] == [
        (0, 2),
        (1, 1),
        (2, 0),
    ]


@pytest.mark.parametrize("names", [("Kätzchen & Hündchen", "猫 und 犬", "  blanks  ", "a=b%20#?")])
def test_names_with_blanks_and_any_letters_work(tmp_path: Path, names: tuple[str, ...]) -> None:
    root = make(tmp_path / "Meine Bilder 写真", {"": 5}, names)
    (root / names[0] / "000.png").rename(root / names[0] / "ein Bild (é).png")
    found = load(root)
    assert set(found.class_names) == set(names)
    assert folder.task_of(root).name == "folder/Meine Bilder 写真"
    assert sum(len(shades(part)) for part in found.splits.values()) == 20


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".gif", ".tiff", ".ppm", ".webp", ".jpeg", ".JPG"])
def test_every_usual_suffix_is_read_in_upper_and_lower_case(tmp_path: Path, suffix: str) -> None:
    for label, name in enumerate(("a", "b")):
        fill(tmp_path / name, 4, 60 * label, suffix)
    found = load(tmp_path)
    assert sum(len(part) for part in found.splits.values()) == 8
    assert abs(max(shades(found.test)) - 60) <= 6


LITTER = [".DS_Store", ".hidden.png", "Thumbs.db", "thumbs.db", "desktop.ini", "._000.png"]


@pytest.mark.parametrize("place", ["", "ants"])
@pytest.mark.parametrize("name", LITTER)
def test_what_file_managers_leave_behind_is_ignored(tmp_path: Path, name: str, place: str) -> None:
    before = load(make(tmp_path, {"": 5})).fingerprint
    (tmp_path / place / name).write_bytes(b"litter")
    assert load(tmp_path).fingerprint == before


@pytest.mark.parametrize("place", ["", "ants"])
def test_hidden_folders_are_ignored(tmp_path: Path, place: str) -> None:
    before = load(make(tmp_path, {"": 5})).fingerprint
    fill(tmp_path / place / ".thumbnails", 3, 0)
    assert load(tmp_path).fingerprint == before


# --- faults


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(root)
    return str(caught.value)


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    (make(tmp_path, {"": 5}) / "dogs").mkdir()
    assert refused(tmp_path).startswith(f"{tmp_path / 'dogs'}: class folder without images")


def test_a_class_folder_with_nothing_but_litter_is_empty(tmp_path: Path) -> None:
    (make(tmp_path, {"": 5}) / "dogs").mkdir()
    (tmp_path / "dogs" / ".DS_Store").write_bytes(b"litter")
    assert refused(tmp_path).startswith(f"{tmp_path / 'dogs'}: class folder without images")


@pytest.mark.parametrize("classes", [(), ("ants",)])
def test_fewer_than_two_classes_are_no_task(tmp_path: Path, classes: tuple[str, ...]) -> None:
    make(tmp_path, {"": 5}, classes)
    assert refused(tmp_path) == f"{tmp_path}: {len(classes)} class folders found; a task needs two or more"


@pytest.mark.parametrize("split", ["", "train", "test"])
def test_a_file_beside_the_class_folders_is_named(tmp_path: Path, split: str) -> None:
    make(tmp_path, {"": 5} if not split else {"train": 5, "test": 5})
    (tmp_path / split / "labels.csv").write_text("", encoding="utf-8")
    assert f"{tmp_path / split}: 'labels.csv' lies beside the class folders" in refused(tmp_path)


@pytest.mark.parametrize("name", ["notes.txt", "image", "000.png.part", "film.mp4"])
def test_a_file_in_a_class_folder_that_is_no_image_is_named(tmp_path: Path, name: str) -> None:
    (make(tmp_path, {"": 5}) / "bees" / name).write_bytes(b"?")
    assert refused(tmp_path).startswith(f"{tmp_path / 'bees' / name}: not an image file")


@pytest.mark.parametrize("name", ["more", "more.png"])
def test_a_folder_in_a_class_folder_is_named(tmp_path: Path, name: str) -> None:
    fill(make(tmp_path, {"": 5}) / "bees" / name, 2, 0)
    assert refused(tmp_path).startswith(f"{tmp_path / 'bees' / name}: not an image file")


@pytest.mark.parametrize("split", ["test", "val"])
def test_a_class_that_a_split_lacks_is_named(tmp_path: Path, split: str) -> None:
    shutil.rmtree(make(tmp_path, {"train": 5, "val": 2, "test": 2}) / split / "bees")
    message = refused(tmp_path)
    assert message.startswith(f"{tmp_path / split}: ")
    assert message.endswith("differ in bees")


def test_a_class_that_only_test_has_is_named(tmp_path: Path) -> None:
    fill(make(tmp_path, {"train": 5, "test": 2}) / "test" / "dogs", 2, 0)
    assert refused(tmp_path).endswith("differ in dogs")


@pytest.mark.parametrize(("sizes", "few"), [({"": 2}, 2), ({"train": 1, "test": 3}, 1)])
def test_a_class_too_small_to_draw_from_is_named(tmp_path: Path, sizes: dict[str, int], few: int) -> None:
    make(tmp_path, dict.fromkeys(sizes, 5), ("ants", "bees"))
    make(tmp_path, sizes, ("cats",))
    assert f"class 'cats' has {few} images" in refused(tmp_path)


def test_a_train_folder_alone_is_refused_with_the_way_out(tmp_path: Path) -> None:
    make(tmp_path, {"train": 5})
    message = refused(tmp_path)
    assert message.startswith(f"{tmp_path}: has train but neither test nor val")
    assert str(tmp_path / "train") in message
    assert len(load(tmp_path / "train").train) == 9


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'gone'}: there is no such folder")):
        folder.task_of(tmp_path / "gone")


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_a_broken_image_is_named_when_it_is_decoded(tmp_path: Path, content: bytes) -> None:
    broken = make(tmp_path, {"": 5}) / "bees" / "002.png"
    broken.write_bytes(content)
    found = load(tmp_path)
    with pytest.raises(DataError, match=re.escape(f"{broken}: cannot be decoded")):
        [shades(part) for part in found.splits.values()]


# --- identity


def test_the_same_folder_elsewhere_is_the_same_data(tmp_path: Path) -> None:
    make(tmp_path / "here", {"train": 5, "test": 3})
    shutil.copytree(tmp_path / "here", tmp_path / "far away" / "there")
    here, there = load(tmp_path / "here"), load(tmp_path / "far away" / "there")
    assert here.fingerprint == there.fingerprint
    assert here.source == there.source


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_one_changed_byte_is_other_data(tmp_path: Path, split: str) -> None:
    make(tmp_path, {"train": 5, "val": 3, "test": 3})
    before = load(tmp_path)
    shown = [shades(part) for part in before.splits.values()]
    with (tmp_path / split / "bees" / "001.png").open("ab") as file:
        file.write(b"\0")  # after the image's end: the pixels stay
    after = load(tmp_path)
    assert [shades(part) for part in after.splits.values()] == shown
    assert after.fingerprint != before.fingerprint
    with pytest.raises(DataError, match=r"001\.png has changed since this run began"):
        shades(getattr(before, split))


def test_a_image_in_another_class_is_other_data(tmp_path: Path) -> None:
    make(tmp_path, {"train": 5, "val": 3, "test": 3})
    before = load(tmp_path).fingerprint
    (tmp_path / "train" / "ants" / "004.png").rename(tmp_path / "train" / "bees" / "000a.png")
    assert load(tmp_path).fingerprint != before


class Corner:
    """A backbone: the colour of the first pixel."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        self.overlaps = False
        self.notes: tuple[str, ...] = ()
        self.deviation: float | None = None

    def features(self, squares: np.ndarray) -> np.ndarray:
        return squares[:, 0, 0, :].astype(np.float32)


@pytest.mark.parametrize("sizes", [{"": 10}, {"train": 8, "test": 4}, {"train": 8, "val": 3, "test": 4}], ids=str)
def test_no_file_of_the_results_carries_the_folders_path(tmp_path: Path, sizes: dict[str, int]) -> None:
    root = make(tmp_path / "secret place" / "pets", sizes)
    card = names_module.card("pixels")
    request = request_module.Request([folder.task_of(root)], [card], shots=(1, 2), seeds=2)
    store = Store(tmp_path / "results")
    machine = machine_module.Machine("cpu", "a cpu", 1, tmp_path / "cache", lambda _group: Corner(card.preprocessing))
    todo = plan.make(request, store)
    with ProgressLog(1) as log:
        outcome = runner.execute(todo, store, machine, log)
    assert (outcome.finished, outcome.exit_code) == (4, 0)
    files = [file for place in ("results", "cache") for file in (tmp_path / place).rglob("*") if file.is_file()]
    assert len(files) == 4 * 2 + 3
    for file in files:
        assert b"secret place" not in file.read_bytes()
        assert "secret place" not in str(file)
    records, problems = store.records()
    assert problems == []
    assert {record.run.task for record in records} == {"folder/pets"}
    assert all(json.loads(store.place(r.run, ".json").read_text(encoding="utf-8"))["source"] for r in records)


def test_a_split_folder_of_an_unknown_name_is_refused_not_left_out(tmp_path: Path) -> None:
    root = make(tmp_path / "mine", {"train": 5, "test": 3, "dev": 3})
    with pytest.raises(DataError, match="split 'dev' is none of train, val, valid, validation, test"):
        load(root)


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "mine", {"": 5})
    (root / "ants/001.png").rename(os.fsdecode(bytes(root / "ants") + b"/b\xff.png"))
    with pytest.raises(DataError, match="is not UTF-8; rename it"):
        load(root)


@pytest.mark.parametrize("what", ["image", "class"])
def test_a_link_out_of_the_folder_is_refused_and_one_within_is_not(tmp_path: Path, what: str) -> None:
    root = make(tmp_path / "mine", {"": 5})
    fill(tmp_path / "outside", 5, 200)
    (root / ".kept").mkdir()
    (root / "ants/001.png").rename(root / ".kept/001.png")
    (root / "ants/001.png").symlink_to(root / ".kept/001.png")
    assert len(load(root).train.names) > 0
    if what == "image":
        (root / "ants/010.png").symlink_to(tmp_path / "outside/001.png")
    else:
        (root / "dogs").symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match=rf"{'010.png' if what == 'image' else 'dogs'}: leads out of "):
        load(root)
