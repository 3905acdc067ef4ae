"""The order of TensorFlow Datasets: published ids, and each builder's key on files in its maker's layout."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mixer_bench import data
from mixer_bench.data import assemble, loading
from mixer_bench.data.readers import caltech101
from mixer_bench.errors import DataError
from mixer_bench.task import splits
from mixer_bench.task.sources import FolderSource, Listing, Source
from mixer_bench.task.task import TASKS, load_tasks
from tests import hub_repositories, original_files
from tests.hub_repositories import Repository

ALL = load_tasks(TASKS)


# --- the order itself


def test_cifars_first_ids_are_those_of_the_public_dump() -> None:
    published = [16399, 1680, 47917, 17307, 27051, 48736, 26263, 1456, 19135, 31598]  # protocol of VTAB-1k: train[:800]
    assert splits.tfds_order("train", range(50_000))[:10].tolist() == published


def test_cifars_slices_have_the_digests_worked_out_by_hand() -> None:
    order = splits.tfds_order("train", range(50_000))
    assert order[45_000:45_005].tolist() == [13431, 9237, 17462, 32685, 9518]
    for part, digest in ((order[:800], "0d6ce9d3d66b8268"), (order[45_000:45_200], "fe133e83b7c46378")):
        joined = ",".join(map(str, part.tolist()))
        assert hashlib.sha256(joined.encode()).hexdigest()[:16] == digest


HEADS = Path(__file__).with_name("heads.csv")
LAND_USE = {"AnnualCrop": 3000, "Forest": 3000, "HerbaceousVegetation": 3000, "Highway": 2500, "Industrial": 2500}
LAND_USE |= {"Pasture": 2000, "PermanentCrop": 2500, "Residential": 3000, "River": 2500, "SeaLake": 3000}
CALTECH: dict[str, Listing] = {"caltech101 ascii": "ascii", "caltech101 case-insensitive": "case-insensitive"}
NUMBERS = "{row}"
CLEVR = {"train": ("CLEVR_train_{row:06}.png", 70_000), "validation": ("CLEVR_val_{row:06}.png", 15_000)}
CAMELYON = {"train": ("train_{row}", 262_144), "validation": ("valid_{row}", 32_768), "test": ("test_{row}", 32_768)}
KEYS: dict[str, dict[str, tuple[str, int]]] = {
    "cifar100": {"train": (NUMBERS, 50_000), "test": (NUMBERS, 10_000)},
    "svhn": {"train": (NUMBERS, 73_257), "test": (NUMBERS, 26_032)},
    "dsprites_location": {"train": (NUMBERS, 737_280)},
    "smallnorb_azimuth": {"train": (NUMBERS, 24_300), "test": (NUMBERS, 24_300)},
    "clevr_count": CLEVR,
    "patch_camelyon": CAMELYON,
}


@pytest.mark.parametrize("name", [*KEYS, "eurosat", *CALTECH])
def test_heads_and_digests_of_every_part_are_those_of_the_table(name: str) -> None:
    """The table was worked out elsewhere from the builders' code; its source is in its first lines."""
    keys = (
        _caltech(name)
        or {
            split: [template.format(row=row) for row in range(count)]
            for split, (template, count) in KEYS.get(name, {}).items()
        }
        or {"train": [f"{kind}_{kind}_{n}.jpg" for kind, count in LAND_USE.items() for n in range(1, count + 1)]}
    )
    ordered = {split: [of[place] for place in splits.tfds_order(split, of)] for split, of in keys.items()}
    told = [row for row in csv.DictReader(_without_comments(HEADS)) if row["task"] == name]
    assert [row["part"] for row in told] == ["train", "val", "test"]
    for row in told:
        ((split, places),) = splits.resolve(
            getattr(ALL[f"vtab/{name.partition(' ')[0]}"].splits, row["part"]),
            {split: len(of) for split, of in ordered.items()},
        )
        part = [ordered[split][place] for place in places]
        assert part[:10] == row["keys"].split(), row["part"]
        assert hashlib.sha256(",".join(part).encode()).hexdigest()[:16] == row["digest"]


def test_the_first_keys_that_task_files_name_are_those_of_the_table() -> None:
    first = {
        row["task"]: row["keys"].split()[0]
        for row in csv.DictReader(_without_comments(HEADS))
        if row["part"] == "train"
    }
    named = {name: source.begins for name, task in ALL.items() for source in task.source if source.begins}
    assert named == {f"vtab/{name}": first[name] for name in ("eurosat", "resisc45")}


@pytest.mark.parametrize("name", ["dtd", "pets", "dmlab"])
def test_the_first_keys_of_a_public_list_stand_in_tfds_order(name: str) -> None:
    """Of sets whose whole lists are not at hand: a part's first keys ascend, and lie where its slice begins."""
    table = ALL[f"vtab/{name}"].splits
    rows = {(source.rows or {}).get("train") for source in ALL[f"vtab/{name}"].source}
    (count,) = rows - {None}
    for row in csv.DictReader(_without_comments(HEADS)):
        if row["task"] == name:
            ((split, places),) = splits.resolve(getattr(table, row["part"]), {"train": count, "validation": count})
            keys = row["keys"].split()
            assert splits.tfds_order(split, keys).tolist() == list(range(10))
            share = int(hashlib.md5(f"{split}{keys[9]}".encode()).hexdigest(), 16) / 2**128
            assert abs(share - places[9] / count) < 0.02, "hashes spread evenly"


def _caltech(name: str) -> dict[str, list[str]]:
    """The keys of Caltech101 along a listing of its archive; none of another data set."""
    counts = csv.DictReader(_without_comments(HEADS.with_name("caltech101.csv")))
    held = {row["folder"]: [f"image_{n:04}.jpg" for n in range(1, int(row["images"]) + 1)] for row in counts}
    return caltech101.parted(held, CALTECH[name]) if name in CALTECH else {}


def _without_comments(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def test_two_rows_of_one_key_are_refused() -> None:
    with pytest.raises(DataError, match="rows 0 and 2 of 'train' have the same key 'a'"):
        splits.tfds_order("train", ["a", "b", "a"])


# --- each builder's key


def by_hand(split: str, keys: Sequence[str]) -> list[str]:
    """The keys in TFDS's order, said once more: the MD5 of salt and key as a number."""
    return sorted(keys, key=lambda key: int(hashlib.md5(f"{split}{key}".encode()).hexdigest(), 16))


def source_of(task: str, kind: str = "torchvision") -> Source:
    return next(source for source in ALL[task].source if source.kind == kind)


def in_order(source: Source, root: Path, split: str = "train", below: str = "") -> tuple[list[str], list[int]]:
    """Names, without the folder they are ``below``, and labels of a split of the source, as it would be cut."""
    ordered = assemble.in_order(source, loading.read(source, root)).splits[source.rename.get(split, split)]
    return [ordered.name(index).removeprefix(below) for index in range(len(ordered))], ordered.labels.tolist()


@pytest.mark.parametrize("task", ["pets", "vtab/pets"])
def test_pets_by_file_name(tmp_path: Path, task: str) -> None:
    rows = [("Abyssinian_1", 0), ("Abyssinian_100", 0), ("beagle_7", 1), ("pug_12", 2), ("pug_3", 2)]
    original_files.pets(tmp_path, rows, [("Abyssinian_2", 0), ("beagle_1", 1), ("pug_1", 2)])
    label = {f"{name}.jpg": number for name, number in rows}
    expected = by_hand("train", list(label))
    names, labels = in_order(source_of(task), tmp_path, "trainval", "oxford-iiit-pet/images/")
    assert (names, labels) == (expected, [label[name] for name in expected])


def test_pets_of_the_hub_by_image_id(tmp_path: Path) -> None:
    small = Repository({"train": 30, "test": 9}, 3, key="image_id", suffix="jpg")
    hub_repositories.make(tmp_path, "timm/oxford-iiit-pet", small)
    names, _ = in_order(source_of("vtab/pets", "hub"), tmp_path / "datasets", "train", "train/")
    expected = by_hand("train", [f"train_{row}.jpg" for row in range(30)])
    assert [f"train_{name}.jpg" for name in names] == expected


@pytest.mark.parametrize("task", ["flowers102", "flowers102_2040", "vtab/flowers102"])
def test_flowers_by_file_name_and_the_salt_is_tfds_name(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import Flowers102

    monkeypatch.setattr(Flowers102, "_check_integrity", lambda _: True)  # of the real files' checksums
    parts = {"train": [3, 1], "val": [2, 8, 5, 4], "test": [6, 7]}
    original_files.flowers(tmp_path, [0, 1, 2, 0, 1, 2, 0, 1], parts)
    names, _ = in_order(source_of(task), tmp_path, "val", "flowers-102/jpg/")
    assert names == by_hand("validation", [f"image_{number:05}.jpg" for number in parts["val"]])
    assert names != by_hand("val", names), "the salt decides"


def test_textures_by_folder_and_file(tmp_path: Path) -> None:
    train = ["banded/banded_0002.jpg", "zigzagged/zigzagged_0001.jpg", "dotted/dotted_0184.jpg"]
    original_files.textures(tmp_path, {"train": train, "val": train, "test": train})
    for split, salt in (("train", "train"), ("val", "validation")):
        assert in_order(source_of("vtab/dtd"), tmp_path, split, "dtd/dtd/images/")[0] == by_hand(salt, train)


LAND = ["AnnualCrop/AnnualCrop_1.jpg", "AnnualCrop/AnnualCrop_20.jpg", "River/River_5.jpg", "River/River_1.jpg"]


@pytest.mark.parametrize(
    ("source", "folder", "below"),
    [
        (source_of("vtab/eurosat"), "eurosat/2750", "eurosat/2750/"),
        (source_of("vtab/resisc45", "folder"), source_of("vtab/resisc45", "folder").folder, ""),
    ],
)
def test_land_use_by_class_and_file(tmp_path: Path, source: Source, folder: str, below: str) -> None:
    original_files.images(tmp_path / folder, LAND)
    names, _ = in_order(source, tmp_path, "train", below)
    assert [name.replace("/", "_") for name in names] == by_hand("train", [file.replace("/", "_") for file in LAND])


DEPTHS = {"train": [[8.0, 20.0, 9.0], [8.2, 9.0, 11.0], [30.0, 10.1, 12.0]], "val": [[9.9, 10.0, 11.0, 12.0]]}


def test_clevr_by_file_name_with_both_labels(tmp_path: Path) -> None:
    original_files.scenes(tmp_path, DEPTHS)
    expected = by_hand("train", [f"CLEVR_train_{number:06}.png" for number in range(3)])
    below = "clevr/CLEVR_v1.0/images/train/"
    counted = in_order(source_of("vtab/clevr_count"), tmp_path, "train", below)
    assert counted == (expected, [3, 3, 3]), "the number itself; the rule makes the class of it"
    _, distances = in_order(source_of("vtab/clevr_distance"), tmp_path)
    assert distances == [{0: 0, 1: 1, 2: 5}[int(key[12:18])] for key in expected]
    assert in_order(source_of("vtab/clevr_distance"), tmp_path, "val")[1] == [4]


def test_cifar_and_svhn_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import SVHN, cifar

    monkeypatch.setattr(cifar, "check_integrity", lambda *_: True)
    monkeypatch.setattr(SVHN, "_check_integrity", lambda _: True)
    train, test = np.arange(40) % 10, np.arange(20) % 10
    images = original_files.cifar10(tmp_path, train, test)
    original_files.street_numbers(tmp_path, train, test)
    expected = by_hand("train", [str(row) for row in range(40)])
    for task in ("cifar10", "vtab/svhn"):
        names, labels = in_order(source_of(task), tmp_path, "train", "train/")
        assert (names, labels) == (expected, train[[int(row) for row in expected]].tolist())
    shown = {}
    for task in ("cifar10", "vtab/svhn"):
        rows = loading.read(source_of(task), tmp_path).splits["test"]
        shown[task] = rows.stored.decode(rows.content(7), "it", True)
    assert np.array_equal(shown["cifar10"], images["test"][7]), "red, green and blue where they were"
    assert shown["vtab/svhn"].shape == (12, 12, 3)


def test_patch_camelyon_by_split_and_row_with_the_files_own_word_for_validation(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="torchvision reads PatchCamelyon with h5py, which is not installed")
    (tmp_path / "pcam").mkdir()
    for split, count in (("train", 6), ("valid", 5), ("test", 4)):
        for kind, array in (("x", np.zeros((count, 8, 8, 3), np.uint8)), ("y", np.ones((count, 1, 1, 1), np.uint8))):
            file = tmp_path / "pcam" / f"camelyonpatch_level_2_split_{split}_{kind}.h5"
            with h5py.File(file, "w") as opened:
                opened[kind] = array
    names, labels = in_order(source_of("vtab/patch_camelyon"), tmp_path, "valid")
    assert names == [key.replace("_", "/") for key in by_hand("validation", [f"valid_{row}" for row in range(5)])]
    assert labels == [1] * 5


# --- original files that are not as they should be


PARTS = {
    split: [f"banded/banded_000{row}.jpg", f"dotted/dotted_018{row}.jpg"]
    for row, split in enumerate(("train", "val", "test"))
}


@pytest.mark.parametrize(
    ("task", "damage", "said"),
    [
        (
            "vtab/dtd",
            lambda root: (root / "dtd/dtd/labels/val1.txt").unlink(),
            r"task 'vtab/dtd': torchvision: .*dtd is damaged or not whole .*val1\.txt",
        ),
        (
            "vtab/dtd",
            lambda root: (root / "dtd/dtd/images/banded/banded_0001.jpg").unlink(),
            r"banded_0001\.jpg: cannot be read",
        ),
        (
            "vtab/clevr_count",
            lambda root: (root / "clevr/CLEVR_v1.0/images/train/Thumbs.db").write_bytes(b"x"),
            r"clevr is damaged or not whole \(KeyError: 'Thumbs\.db'\)",
        ),
        ("vtab/clevr_count", id, "split 'train' holds 3 images, 70000 when whole"),
    ],
)
def test_damaged_originals_are_an_error_and_no_reason_to_take_another_source(
    tmp_path: Path, task: str, damage, said: str
) -> None:
    original_files.textures(tmp_path, PARTS)
    original_files.scenes(tmp_path, DEPTHS)
    damage(tmp_path)
    with pytest.raises(DataError, match=said):
        data.load(ALL[task], tmp_path)


@pytest.mark.parametrize("key", ["abc", "{}", "{index", "{0}", "{index.real}"])
def test_a_key_that_names_no_field_is_refused_with_the_task_file(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        FolderSource(kind="folder", folder="x", order="tfds", key=key)


def test_every_source_in_tfds_order_has_a_case_here() -> None:
    """A new builder's key must be worked out by hand above before it is believed."""
    cases = (
        Path(__file__).with_name(f"test_{name}.py").read_text()
        for name in ("order", "imagenet", "originals", "rebuilt")
    )
    here = "".join(cases)
    ordered = {task.name for task in ALL.values() for source in task.source if source.order == "tfds"}
    same_key = {"cifar100": "cifar10", "vtab/dsprites_location": "dsprites", "vtab/dsprites_orientation": "dsprites"}
    names = {name: (same_key.get(name, name), name.removeprefix("vtab/")) for name in ordered}
    assert [name for name, called in names.items() if not any(f'"{each}"' in here for each in called)] == []
