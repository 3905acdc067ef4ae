"""Embedded sets: list and archive are read together or refused."""

import csv
import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixer_bench.data.examples import Examples
from mixer_bench.data.readers import embedded
from mixer_bench.data.rows import Read
from mixer_bench.errors import Absent, DataError
from mixer_bench.task.sources import EmbeddedSource

ROWS = [("b.png", "train", "dog"), ("a.png", "train", "cat"), ("c.png", "test", "cat"), ("d.png", "test", "owl")]
COLOURS = {"a.png": (250, 0, 0), "b.png": (0, 250, 0), "c.png": (0, 0, 250), "d.png": (9, 9, 9)}


def png(colour: tuple[int, int, int]) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (3, 2), colour).save(content, "PNG")
    return content.getvalue()


PNGS = {name: png(colour) for name, colour in COLOURS.items()}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(embedded, "EMBEDDED", tmp_path)
    write(tmp_path, PNGS)
    return tmp_path


def read() -> Read:
    return embedded.read(EmbeddedSource(kind="embedded", folder="toy"), Path("unused"))


def write(root: Path, contents: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    (root / "toy").mkdir(exist_ok=True)
    with (root / "toy" / "images.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "split", "class"), *ROWS])
    with zipfile.ZipFile(root / "toy" / "images.zip", "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def test_images_labels_and_names_go_together_in_the_lists_order(root: Path) -> None:
    found = read()
    splits = {name: Examples.of(rows, upright=False) for name, rows in found.splits.items()}
    assert found.class_names == ("cat", "dog", "owl")
    assert {name: part.names for name, part in splits.items()} == {
        "train": ("b.png", "a.png"),
        "test": ("c.png", "d.png"),
    }
    assert [splits[name].labels.tolist() for name in ("train", "test")] == [[1, 0], [0, 2]]
    for examples in splits.values():
        for index, name in enumerate(examples.names):
            assert np.array_equal(examples.images[index], np.full((2, 3, 3), COLOURS[name], dtype=np.uint8))
            assert examples.images[index] is examples.images[index], "an image is decoded once"
    assert found.description == "embedded in the package: toy"


def test_a_set_that_is_not_there_is_absent(root: Path) -> None:
    (root / "toy/images.csv").unlink()
    with pytest.raises(Absent):
        read()


def truncated(root: Path, share: float) -> None:
    file = root / "toy/images.zip"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def with_a_damaged_byte(root: Path, compression: int) -> None:
    write(root, {name: bytes(range(256)) * 8 for name in COLOURS}, compression)
    file = root / "toy/images.zip"
    content = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        content[archive.getinfo("a.png").header_offset + 30 + len("a.png")] ^= 0xFF
    file.write_bytes(content)


def without_a_column(root: Path) -> None:
    table = root / "toy/images.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("class", "klass", 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda root: truncated(root, 0), ""),
        (lambda root: truncated(root, 0.3), ""),
        (lambda root: truncated(root, 0.9), ""),
        (lambda root: with_a_damaged_byte(root, zipfile.ZIP_STORED), ""),
        (lambda root: with_a_damaged_byte(root, zipfile.ZIP_DEFLATED), ""),
        (without_a_column, ""),
        (lambda root: write(root, {name: PNGS[name] for name in PNGS if name != "c.png"}), r"c\.png"),
    ],
)
def test_a_damaged_list_or_archive_is_a_data_error_that_names_the_set(root: Path, damage, said: str) -> None:
    damage(root)
    with pytest.raises(DataError, match=re.escape(str(root / "toy")) + f".*{said}"):
        read()


def test_a_member_that_is_no_image_is_named_when_it_is_asked_for(root: Path) -> None:
    write(root, PNGS | {"c.png": b"not an image"})
    images = Examples.of(read().splits["test"], upright=False).images
    assert images[1].shape == (2, 3, 3)
    with pytest.raises(DataError, match=r"c\.png: cannot be decoded"):
        images[0]
