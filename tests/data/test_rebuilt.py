"""Caltech101, whose order is drawn, and Retinopathy, whose images are made anew, from their makers' files."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mixer_bench.data import loading
from mixer_bench.data.readers import opencv, retinopathy
from mixer_bench.errors import DataError
from mixer_bench.task.task import Task
from tests import maker_archives
from tests.data.makers import by_hand, small

# --- Caltech101

CLASSES = ("BACKGROUND_Google", "Faces", "accordion", "ant")
LABELS = {"accordion": 0, "ant": 1, "BACKGROUND_Google": 2, "Faces": 3}
FILES = {name: [f"image_{number:04}.jpg" for number in range(1, 41)] for name in CLASSES}
KEYED = {
    f"{name}/{file}": maker_archives.image(LABELS[name], row % 5, "jpg")
    for name in CLASSES
    for row, file in enumerate(FILES[name])
}
CUT = {"train": "train[:80]", "val": "train[80:90]", "test": "test[:30]"}
CALTECH = small("caltech101", CUT, {"train": 80, "val": 10, "test": 30}, 4)


def drawn(folders: list[str]) -> dict[str, list[str]]:
    """The keys of CUT, drawn along ``folders`` in the builder's own way: with the generator that the process shares."""
    np.random.seed(1234)
    train: list[str] = []
    every: list[str] = []
    for folder in folders:
        listed = [*FILES[folder], *(["tmp"] if folder == "BACKGROUND_Google" else [])]
        train += [f"{folder}/{name}" for name in np.random.choice(listed, 30, replace=False)]
        every += [f"{folder}/{name}" for name in listed]
    parts = {"train": train, "test": set(every) - set(train)}
    order = {split: by_hand(split, [key for key in keys if key.endswith(".jpg")]) for split, keys in parts.items()}
    return {"train": order["train"][:80], "val": order["train"][80:90], "test": order["test"][:30]}


ORDERS = {"ASCII": drawn(sorted(CLASSES)), "case-insensitive": drawn(sorted(CLASSES, key=str.lower))}


def unpacked(root: Path, spelled: Callable[[str], str] = str) -> Path:
    """The archive as it lies unpacked."""
    folder = root / "caltech101/101_ObjectCategories"
    for key, content in {**KEYED, "BACKGROUND_Google/tmp": b""}.items():
        place = folder / spelled(key)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return folder


def vtab1k(root: Path, labels: dict[str, list[int]]) -> None:
    """A VTAB-1k folder with these labels; of test in another order, as from several shards."""
    for name, of in zip(("train800", "val200", "test"), labels.values(), strict=True):
        place = root / "vtab-1k/caltech101/images" / name
        place.mkdir(parents=True)
        for row, _ in enumerate(of):
            (place / f"{row:06}.jpg").write_bytes(b"")
        lines = (
            f"images/{name}/{row:06}.jpg {label}\n" for row, label in enumerate(sorted(of) if name == "test" else of)
        )
        (root / f"vtab-1k/caltech101/{name}.txt").write_text("".join(lines), encoding="utf-8")


def labels_of(order: dict[str, list[str]]) -> dict[str, list[int]]:
    return {split: [LABELS[key.partition("/")[0]] for key in keys] for split, keys in order.items()}


def loaded(root: Path, task: Task = CALTECH) -> tuple[str, str, dict[str, list[str]]]:
    """Subset, description, and the places of each split's images."""
    data = loading.load(task, root)
    return data.subset, data.source, {split: list(examples.names) for split, examples in data.splits.items()}


def test_the_two_orders_are_different_ones() -> None:
    assert labels_of(ORDERS["ASCII"]) != labels_of(ORDERS["case-insensitive"])


def test_caltech101_without_a_proof_is_in_an_order_that_is_assumed_and_says_so(tmp_path: Path, offered: Any) -> None:
    folders = {name: {file: KEYED[f"{name}/{file}"] for file in FILES[name]} for name in CLASSES}
    with maker_archives.serving(maker_archives.caltech101(folders)) as server:
        offered("caltech101", server)
        subset, source, names = loaded(tmp_path)
        assert len(server.requests) == 1
    assert (subset, names) == ("resampled", ORDERS["ASCII"])
    assert "(drawn along folders in ASCII order, which is assumed: nothing here proves it)" in source


def test_an_archive_that_no_address_gives_is_asked_for_once_for_all_sources_of_it(tmp_path: Path, offered: Any) -> None:
    with maker_archives.serving(maker_archives.caltech101({})) as server:
        offered("caltech101", server, addresses=(f"{server.address}dead",))
        with pytest.raises(DataError, match="dead answers 404"):
            loading.load(CALTECH, tmp_path)
        assert len(server.requests) == 1


@pytest.mark.parametrize("order", ORDERS)
def test_caltech101_is_official_in_the_order_that_the_vtab_1k_folder_proves(tmp_path: Path, order: str) -> None:
    unpacked(tmp_path)
    vtab1k(tmp_path, labels_of(ORDERS[order]))
    subset, source, names = loaded(tmp_path)
    assert (subset, names) == ("official", ORDERS[order])
    assert f"(drawn along folders in {order} order, as the VTAB-1k folder's labels prove)" in source


def test_a_vtab_1k_folder_of_neither_order_proves_nothing(tmp_path: Path) -> None:
    unpacked(tmp_path)
    labels = labels_of(ORDERS["ASCII"])
    vtab1k(tmp_path, {**labels, "train": labels["train"][::-1]})
    assert loaded(tmp_path)[0] == "resampled"
    official = CALTECH.model_copy(update={"source": CALTECH.source[:2]})
    with pytest.raises(
        DataError, match=r"its order is not that of the VTAB-1k folder, whose labels of train are others"
    ):
        loading.load(official, tmp_path)


@pytest.mark.parametrize("spelled", [str.lower, str.upper])
def test_names_that_another_system_spelled_otherwise_are_the_same_keys(
    tmp_path: Path, spelled: Callable[[str], str]
) -> None:
    folder = unpacked(tmp_path, spelled)
    for stray in (".DS_Store", "__MACOSX", spelled("ant/._image_0001.jpg"), spelled("ant/Thumbs.db")):
        (folder / stray).write_bytes(b"")
    assert loaded(tmp_path)[2] == {split: [spelled(key) for key in keys] for split, keys in ORDERS["ASCII"].items()}


def test_caltech101_without_its_background_class_is_refused(tmp_path: Path) -> None:
    folder = unpacked(tmp_path)
    (folder / "BACKGROUND_Google").rename(tmp_path / "background")
    with pytest.raises(DataError, match="has no BACKGROUND_Google, the background class"):
        loading.load(CALTECH, tmp_path)


@pytest.mark.parametrize("place", ["caltech-101", "caltech101/caltech-101"])
def test_of_an_archive_in_an_archive_both_are_to_be_unpacked(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "101_ObjectCategories.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"101_ObjectCategories.tar.gz is an archive in itself; unpack it to "):
        loading.load(CALTECH, tmp_path)


# --- Retinopathy, and OpenCV's operations


def noise(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([(x * 7 + y * 3) % 251, x * y % 241, (x + y * 5) % 233], 2).astype(np.uint8)


def retina(height: int, width: int, radius: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return noise(height, width) * ((y - height // 2) ** 2 + (x - width // 2) ** 2 < radius**2)[:, :, None].astype(
        np.uint8
    )


def digest(image: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()[:16]


def stored(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def test_images_are_resized_and_blurred_to_the_last_level_as_by_opencv() -> None:
    """Digests of what cv2.resize and cv2.GaussianBlur gave of the same arrays, 4.5.5 and 5.0.0 alike."""
    digests = {0.31: "c4952ec1a0e71d5c", 0.99: "926d54d39d77e485", 1.7: "1e82ce45a689083c"}
    assert {factor: digest(opencv.resized(noise(60, 77), factor)) for factor in digests} == digests
    assert digest(opencv.blurred(noise(60, 77), 10.0)) == "ee43157e4d2c504c"


@pytest.mark.parametrize(
    ("image", "shape", "expected"),
    [
        (retina(150, 200, 70), (540, 540, 3), "064f740cf80a89c8"),
        (retina(60, 200, 90), (201, 540, 3), "56efb0a5ea263168"),
        (retina(400, 30, 0), (540, 45, 3), "7a516c08b37096bd"),  # black: the height is taken for the eye's
    ],
)
def test_retinas_are_those_that_the_builder_makes(image: np.ndarray, shape: tuple[int, ...], expected: str) -> None:
    """Digests of the builder's own _btgraham_processing (4.9.9) with OpenCV 4.5.5 and 5.0.0, decoded by Pillow."""
    made = retinopathy.as_stored(stored(image), "it", False)
    assert (made.shape, digest(made)) == (shape, expected)


def test_an_eye_of_one_pixel_does_not_fill_the_memory() -> None:
    image = np.zeros((400, 600, 3), np.uint8)
    image[200, :2] = 255
    with pytest.raises(DataError, match="it: shows no eye that could be scaled to 300 pixels' radius"):
        retinopathy.as_stored(stored(image), "it", False)


RETINAS = small(
    "retinopathy", {"train": "train[:6]", "val": "validation[:5]", "test": "test"}, {"train": 6, "val": 5, "test": 7}, 5
)


def kaggles(root: Path) -> dict[str, list[tuple[str, int, str]]]:
    """What a person unpacked of Kaggle's, 8 training images and 13 others; each's name, label and leaderboard."""
    rows = [(f"{number}_{side}", (number + len(side)) % 5) for number in range(1, 12) for side in ("left", "right")]
    rows = rows[:21]
    boards = [(name, label, "Public" if row < 6 else "Private") for row, (name, label) in enumerate(rows[8:])]
    given = {"train": [(*row, "") for row in rows[:8]], "test": boards}
    for split, of in given.items():
        (root / f"diabetic_retinopathy/{split}").mkdir(parents=True)
        for name, label, _ in of:
            image = retina(30 + label, 40, 15)
            (root / f"diabetic_retinopathy/{split}/{name}.jpeg").write_bytes(stored(image))
    lines = ["image,level", *(f"{name},{label}" for name, label, _ in given["train"])]
    (root / "diabetic_retinopathy/trainLabels.csv").write_text("\n".join(lines), encoding="utf-8")
    return given


def solution(given: dict[str, list[tuple[str, int, str]]]) -> dict[str, bytes]:
    lines = ["image,level,Usage", *(f"{name},{label},{usage}" for name, label, usage in given["test"])]
    return {"retinopathy_solution.csv": "\n".join(lines).encode()}


def test_retinopathy_by_kaggles_lists_is_official(tmp_path: Path, offered: Any) -> None:
    given = kaggles(tmp_path)
    with maker_archives.serving(solution(given)) as server:
        offered("diabetic_retinopathy", server)
        data = loading.load(RETINAS, tmp_path)
    assert data.subset == "official"
    labels = {name: label for rows in given.values() for name, label, _ in rows}
    for split, salt, usage, count in (
        ("train", "train", "", 6),
        ("val", "validation", "Public", 5),
        ("test", "test", "Private", 7),
    ):
        keys = by_hand(salt, [name for rows in given.values() for name, _, board in rows if board == usage])[:count]
        assert [Path(name).stem for name in data.splits[split].names] == keys
        assert data.splits[split].labels.tolist() == [labels[key] for key in keys]
    image = retina(30 + int(data.test.labels[0]), 40, 15)
    assert np.array_equal(data.test.images[0], retinopathy.as_stored(stored(image), "it", False))


def test_what_kaggle_alone_gives_is_named_before_anything_is_fetched(tmp_path: Path, offered: Any) -> None:
    given = kaggles(tmp_path / "elsewhere")
    with maker_archives.serving(solution(given)) as server:
        offered("diabetic_retinopathy", server)
        with pytest.raises(DataError, match=r"no .*diabetic_retinopathy/train \(Kaggle's .* terms must be accepted"):
            loading.load(RETINAS, tmp_path)
        assert server.requests == []


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda root: (root / "trainLabels.csv").write_text("image,level\n1_left,7\n"),
            "trainLabels.csv, row 1: is not of",
        ),
        (
            lambda root: (root / "trainLabels.csv").write_text("name,level\n1_left,1\n"),
            "trainLabels.csv, row 1: is not of",
        ),
        (lambda root: (root / "trainLabels.csv").write_text("image,level\n../../x,1\n"), "leads out of"),
        (
            lambda root: (root / "train/2_left.jpeg").unlink(),
            r"trainLabels.csv, row 3: train/2_left.jpeg cannot be read",
        ),
    ],
)
def test_damaged_lists_and_missing_images_are_named(
    tmp_path: Path, offered: Any, damage: Callable[[Path], object], words: str
) -> None:
    given = kaggles(tmp_path)
    damage(tmp_path / "diabetic_retinopathy")
    with maker_archives.serving(solution(given)) as server:
        offered("diabetic_retinopathy", server)
        with pytest.raises(DataError, match=words):
            loading.load(RETINAS, tmp_path)
