"""A folder of images of one's own: its layouts, its faults, and what of it goes into a record."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from mixer_bench import data
from mixer_bench.cli import app
from mixer_bench.data import names
from mixer_bench.data.examples import Examples, TaskData
from mixer_bench.data.readers import folder, sound
from mixer_bench.errors import DataError, UsageError
from mixer_bench.results.store import Store

CLASSES = ("ants", "bees", "cats")
THREE = {"train": 5, "val": 3, "test": 3}


def fill(path: Path, count: int, shade: int = 0, suffix: str = ".png") -> None:
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


def load(root: Path, **how: bool) -> TaskData:
    (task,) = names.chosen_tasks([str(root)], reading=names.Reading(**how))
    return data.load(task)


def shades(examples: Examples) -> list[int]:
    return [int(examples.images[index][0, 0, 0]) for index in range(len(examples))]


def made(count: int, number: int) -> list[int]:
    """The greys that ``make`` puts into its split ``number``."""
    return [60 * label + 20 * number + index for label in range(3) for index in range(count)]


# --- layouts


def test_without_splits_all_three_are_drawn_by_class(tmp_path: Path) -> None:
    found = load(make(tmp_path, {"": 10}))
    assert [np.bincount(part.labels).tolist() for part in found.splits.values()] == [[6] * 3, [2] * 3, [2] * 3]
    names = [name for part in found.splits.values() for name in part.names]
    assert sorted(names) == [f"{c}/{i:03}.png" for c in CLASSES for i in range(10)]
    assert found.subset == "resampled"
    assert "60%/20%/20%" in found.source
    assert found.fingerprint == load(tmp_path).fingerprint


@pytest.mark.parametrize("held_out", ["test", "val", "valid", "validation"])
def test_val_is_drawn_from_train_where_one_other_split_is_given(tmp_path: Path, held_out: str) -> None:
    found = load(make(tmp_path, {"train": 10, held_out: 4}))
    assert [np.bincount(part.labels).tolist() for part in found.splits.values()] == [[8] * 3, [2] * 3, [4] * 3]
    assert sorted(shades(found.train) + shades(found.val)) == made(10, 0)
    assert sorted(shades(found.test)) == made(4, 1)
    assert found.subset == "resampled"
    assert f"{held_out} is test, val drawn 20% of train" in found.source


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_three_given_splits_are_used_as_they_are(tmp_path: Path, val: str) -> None:
    found = load(make(tmp_path, {"train": 5, val: 2, "test": 3}))
    assert [shades(part) for part in found.splits.values()] == [made(5, 0), made(2, 1), made(3, 2)]
    assert found.subset == "official"
    assert "as given" in found.source


def test_classes_are_numbered_in_the_order_of_their_names(tmp_path: Path) -> None:
    found = load(make(tmp_path, {"train": 3, "val": 1, "test": 1}, ("b", "a", "C")))
    assert found.class_names == ("C", "a", "b")
    assert (found.test.labels.tolist(), [shade // 60 for shade in shades(found.test)]) == ([0, 1, 2], [2, 1, 0])


@pytest.mark.posix
def test_names_with_blanks_and_any_letters_work(tmp_path: Path) -> None:
    names = ("Kätzchen & Hündchen", "猫 und 犬", "  blanks  ", "a=b%20#?")
    root = make(tmp_path / "Meine Bilder 写真", {"": 5}, names)
    (root / names[0] / "000.png").rename(root / names[0] / "ein Bild (é).png")
    found = load(root)
    assert set(found.class_names) == set(names)
    assert folder.task_of(root).name == "folder/Meine Bilder 写真"
    assert sum(len(shades(part)) for part in found.splits.values()) == 20


@pytest.mark.parametrize(
    "suffix", [".png", ".PNG", ".bmp", ".gif", ".tiff", ".ppm", ".webp", ".jpeg", ".JPG", ".jfif", ".jp2"]
)
def test_every_usual_suffix_is_read_in_upper_and_lower_case(tmp_path: Path, suffix: str) -> None:
    for label, name in enumerate(("a", "b")):
        fill(tmp_path / name, 4, 60 * label, suffix)
    found = load(tmp_path)
    assert sum(len(part) for part in found.splits.values()) == 8
    assert abs(max(shades(found.test)) - 60) <= 6


@pytest.mark.parametrize("place", ["", "ants"])
def test_what_file_managers_leave_behind_and_hidden_folders_are_ignored(tmp_path: Path, place: str) -> None:
    before = load(make(tmp_path, {"": 5})).fingerprint
    for name in (".DS_Store", ".hidden.png", "Thumbs.db", "thumbs.db", "desktop.ini", "._000.png"):
        (tmp_path / place / name).write_bytes(b"litter")
    for name in (".thumbnails", "__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN"):
        fill(tmp_path / place / name / "ants", 3)
    after = load(tmp_path)
    assert after.fingerprint == before
    assert "left out" not in after.source


@pytest.mark.parametrize("stray", ["notes.txt", "labels.csv", "image", "000.png.part", "film.mp4", "tmp"])
@pytest.mark.parametrize("place", ["", "bees"])
def test_files_that_are_no_images_by_name_are_left_out_counted_and_named(
    tmp_path: Path, place: str, stray: str
) -> None:
    before = load(make(tmp_path, {"": 5})).fingerprint
    (tmp_path / place / stray).touch()
    after = load(tmp_path)
    assert after.fingerprint == before
    named = f"{place}/{stray}".lstrip("/")
    assert after.source.startswith(f"folder; 1 files left out that are no images by name: {named}; train, val")


def test_an_image_that_is_there_twice_in_a_split_is_noted(tmp_path: Path) -> None:
    make(tmp_path, THREE)
    shutil.copy(tmp_path / "train/ants/000.png", tmp_path / "train/ants/copy.png")
    assert load(tmp_path).source.endswith("; 1 images are there more than once in their split")


# --- faults


def litter_alone(root: Path) -> None:
    (root / "dogs").mkdir()
    (root / "dogs/.DS_Store").write_bytes(b"litter")


def unnamed(root: Path) -> None:
    (root / "dogs").mkdir()
    for name in "ab":
        (root / "dogs" / name).write_bytes(b"an image, perhaps")


def too_small(root: Path, name: str, left: int) -> None:
    for file in sorted((root / name).iterdir())[left:]:
        file.unlink()


FAULTS: list[tuple[dict[str, int], Callable[[Path], object], str]] = [
    ({"": 5}, lambda root: (root / "dogs").mkdir(), "{root}/dogs: class folder without images"),
    ({"": 5}, unnamed, "{root}/dogs: class folder without images: a, b end in none of .*; fill"),
    ({"": 5}, litter_alone, "{root}/dogs: class folder without images"),
    ({"": 5}, lambda root: [shutil.rmtree(root / name) for name in CLASSES], "{root}: 0 class folders found; a task"),
    (
        {"": 5},
        lambda root: [shutil.rmtree(root / name) for name in CLASSES[1:]],
        "{root}: 1 class folder found; a task",
    ),
    *[
        ({"": 5}, lambda root, name=name: fill(root / "bees" / name, 2), f"{{root}}/bees/{name}: a folder in a class")
        for name in ("more", "more.png")
    ],
    ({"Training": 5, "Testing": 3}, id, "{root}: Testing, Training look like splits; name them train and test"),
    ({"Train": 5, "valid": 3}, id, "{root}: Train, valid look like splits"),
    ({"Test": 5}, id, "{root}: has Test and none of the other splits; add them, or name {root}/Test$"),
    ({"photos": 5}, id, "{root}: holds one folder, photos, with folders in it; name {root}/photos$"),
    (THREE, lambda root: shutil.rmtree(root / "test/bees"), "{root}/test: its class folders .* differ in bees"),
    (THREE, lambda root: shutil.rmtree(root / "val/bees"), "{root}/val: its class folders .* differ in bees"),
    (THREE, lambda root: fill(root / "test/dogs", 2), "differ in dogs"),
    ({"": 5}, lambda root: too_small(root, "cats", 2), "class 'cats' has 2 images"),
    ({"train": 5, "test": 3}, lambda root: too_small(root, "train/cats", 1), "class 'cats' has 1 image;"),
    ({"train": 5}, id, "{root}: has train but neither test nor val; .* name the folder {root}/train alone"),
    ({**THREE, "dev": 3}, id, "split 'dev' is none of train, val, valid, validation, test"),
    pytest.param(
        {"": 5},
        lambda root: (root / "ants/001.png").rename(os.fsdecode(bytes(root / "ants") + b"/b\xff.png")),
        "is not UTF-8; rename it",
        marks=pytest.mark.posix,
    ),
]


@pytest.mark.parametrize(("sizes", "damage", "said"), FAULTS)
def test_a_fault_of_a_folder_is_named(tmp_path: Path, sizes: dict[str, int], damage, said: str) -> None:
    damage(make(tmp_path, sizes))
    with pytest.raises(DataError, match=said.replace("{root}", re.escape(str(tmp_path)))):
        load(tmp_path)


def test_a_train_folder_alone_can_be_named_itself(tmp_path: Path) -> None:
    assert len(load(make(tmp_path, {"train": 5}) / "train").train) == 9


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'gone'}: there is no such folder")):
        folder.task_of(tmp_path / "gone")


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_a_broken_image_is_named_before_anything_is_computed(tmp_path: Path, content: bytes) -> None:
    broken = make(tmp_path, {"": 5}) / "bees" / "002.png"
    broken.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{broken}: cannot be decoded")):
        load(tmp_path)


def damaged(root: Path) -> list[Path]:
    """Damage a folder in ways of all kinds that can be left out, and return which images that hit."""
    bad = [root / "ants/001.png", root / "bees/003.png", root / "cats/004.png"]
    bad[0].write_bytes(b"")
    bad[1].write_bytes(bad[1].read_bytes()[:40])
    bad[2].unlink()
    bad[2].symlink_to("nowhere.png")
    return bad


def test_all_problems_of_a_folder_are_listed_at_once(tmp_path: Path) -> None:
    bad = damaged(make(tmp_path, {"": 5}))
    (tmp_path / "dogs").mkdir()
    fill(tmp_path / "cats/more", 2)
    with pytest.raises(DataError, match=r"^5 problems") as raised:
        load(tmp_path)
    _, *lines, advice = str(raised.value).splitlines()
    assert sorted(line.split(": ")[0].strip() for line in lines) == sorted(
        map(str, [*bad, tmp_path / "dogs", tmp_path / "cats/more"])
    )
    assert advice == "replace what cannot be decoded, or leave it out: --skip-bad"


def test_what_is_bad_is_left_out_on_request_and_named(tmp_path: Path) -> None:
    bad = damaged(make(tmp_path, {"": 5}))
    kept = load(tmp_path, skip_bad=True)
    names_left_out = ", ".join(file.relative_to(tmp_path).as_posix() for file in bad)
    assert f"; 3 images left out that cannot be decoded: {names_left_out}; " in kept.source
    for file in bad:
        file.unlink()
    sound = load(tmp_path)
    assert kept.fingerprint == sound.fingerprint
    assert "left out" not in sound.source


@pytest.mark.parametrize("damage", ["", "[]", '{"a": 1}', "null"])
def test_a_damaged_note_of_what_is_bad_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path / "cache"))
    root = make(tmp_path / "mine", {"": 5})
    before = load(root)
    (note,) = (tmp_path / "cache/faults").iterdir()
    text = note.read_text()
    note.write_text(damage)
    assert load(root).fingerprint == before.fingerprint
    assert note.read_text() == text


def test_another_pillow_looks_at_the_images_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path / "cache"))
    root = make(tmp_path / "mine", {"": 5})
    load(root)
    for version, looked_at in ((PIL.__version__, False), ("99.0", True)):
        monkeypatch.setattr(PIL, "__version__", version)
        with monkeypatch.context() as patch:
            patch.setattr(sound, "_undecodable", lambda _rows, _start: [(0, "it is no image to that one")])
            if looked_at:
                with pytest.raises(DataError, match="it is no image to that one"):
                    load(root)
            else:
                load(root)


def test_a_class_that_lost_all_its_images_is_refused_even_then(tmp_path: Path) -> None:
    for file in (make(tmp_path, {"": 5}) / "bees").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="class 'bees' has 0 images"):
        load(tmp_path, skip_bad=True)


def test_a_way_of_reading_is_refused_where_nothing_is_of_ones_own() -> None:
    with pytest.raises(UsageError, match="--skip-bad: only for images of your own"):
        names.chosen_tasks(["digits"], reading=names.Reading(skip_bad=True))


@pytest.mark.parametrize("what", ["image", "class"])
def test_a_link_out_of_the_folder_is_refused_and_one_within_is_not(tmp_path: Path, what: str) -> None:
    root = make(tmp_path / "mine", {"": 5})
    fill(tmp_path / "outside", 5, 200)
    (root / ".kept").mkdir()
    (root / "ants/001.png").rename(root / ".kept/001.png")
    (root / "ants/001.png").symlink_to(root / ".kept/001.png")
    assert len(load(root).train.names) > 0
    link, target = ("ants/010.png", "outside/001.png") if what == "image" else ("dogs", "outside")
    (root / link).symlink_to(tmp_path / target)
    with pytest.raises(DataError, match=f"{link}: leads out of "):
        load(root)
    assert 201 in [shade for part in load(root, follow_links=True).splits.values() for shade in shades(part)]


# --- identity


def test_the_same_folder_elsewhere_is_the_same_data(tmp_path: Path) -> None:
    make(tmp_path / "here", {"train": 5, "test": 3})
    shutil.copytree(tmp_path / "here", tmp_path / "far away" / "there")
    here, there = load(tmp_path / "here"), load(tmp_path / "far away" / "there")
    assert (here.fingerprint, here.source) == (there.fingerprint, there.source)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_one_changed_byte_is_other_data(tmp_path: Path, split: str) -> None:
    before = load(make(tmp_path, THREE))
    shown = [shades(part) for part in before.splits.values()]
    with (tmp_path / split / "bees" / "001.png").open("ab") as file:
        file.write(b"\0")  # after the image's end: the pixels stay
    after = load(tmp_path)
    assert [shades(part) for part in after.splits.values()] == shown
    assert after.fingerprint != before.fingerprint
    with pytest.raises(DataError, match=r"001\.png has changed since this run began"):
        shades(getattr(before, split))


def test_a_file_that_was_changed_and_given_its_old_size_and_time_is_other_data(tmp_path: Path) -> None:
    before = load(make(tmp_path, {"": 5}))
    file = tmp_path / "ants/001.png"
    status, content = file.stat(), file.read_bytes()
    Image.new("RGB", (5, 4), (77, 78, 79)).save(file)
    assert len(file.read_bytes()) == len(content), "the two images differ in size: this test shows nothing"
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert load(tmp_path).fingerprint != before.fingerprint


def test_an_image_in_another_class_is_other_data(tmp_path: Path) -> None:
    before = load(make(tmp_path, THREE)).fingerprint
    (tmp_path / "train" / "ants" / "004.png").rename(tmp_path / "train" / "bees" / "000a.png")
    assert load(tmp_path).fingerprint != before


@pytest.mark.parametrize("sizes", [{"": 10}, {"train": 8, "test": 4}, {"train": 8, "val": 3, "test": 4}], ids=str)
def test_no_file_of_the_results_carries_the_folders_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: dict[str, int]
) -> None:
    root = make(tmp_path / "secret place" / "pets", sizes)
    monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path / "cache"))
    command = [
        "run",
        "--task",
        str(root),
        "--model",
        "pixels",
        "--protocol",
        "fewshot",
        "--shots",
        "1,2",
        "--seeds",
        "2",
    ]
    assert app.main([*command, "--output-dir", str(tmp_path / "results")]) == 0
    files = [file for place in ("results", "cache") for file in (tmp_path / place).rglob("*") if file.is_file()]
    assert len([file for file in files if file.suffix == ".npy" or "runs" in file.parts]) >= 4 * 2
    for file in files:
        assert b"secret place" not in file.read_bytes()
        assert "secret place" not in str(file)
    records, problems = Store(tmp_path / "results").records()
    assert (len(records), problems) == (4, [])
    assert {record.run.task for record in records} == {"folder/pets"}
    assert all(record.source for record in records)


def test_a_class_that_train_lacks_is_refused_by_name(tmp_path: Path) -> None:
    root = make(tmp_path / "mine", THREE)
    fill(root / "val/dogs", 3, 200)
    fill(root / "test/dogs", 3, 210)
    (root / "train/dogs").mkdir()
    lines = [
        f"{file.relative_to(root)},{file.parent.name},{file.parents[1].name}" for file in sorted(root.rglob("*.png"))
    ]
    (root / "list.csv").write_text("\n".join(["path,label,split", *lines]))
    with pytest.raises(DataError, match=r"class 'dogs' has images in (val|test) and none in train"):
        load(root / "list.csv")
