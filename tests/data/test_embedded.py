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


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, {name: png(colour) for name, colour in COLOURS.items()})
    return tmp_path


def read(root: Path) -> Read:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "EMBEDDED", root)
        return embedded.read(EmbeddedSource(kind="embedded", folder="toy"), root)


def write(root: Path, contents: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    (root / "toy").mkdir(exist_ok=True)
    with (root / "toy" / "images.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "split", "class"), *ROWS])
    with zipfile.ZipFile(root / "toy" / "images.zip", "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def test_images_labels_and_names_go_together_in_the_lists_order(root: Path) -> None:
    found = read(root)
    splits = {name: Examples.of(rows) for name, rows in found.splits.items()}
    class_names, description = found.class_names, found.description
    assert class_names == ("cat", "dog", "owl")
    assert sorted(splits) == ["test", "train"]
    assert splits["train"].names == ("b.png", "a.png")
    assert splits["train"].labels.tolist() == [1, 0]
    assert splits["test"].labels.tolist() == [0, 2]
    for examples in splits.values():
        for index, name in enumerate(examples.names):
            assert np.array_equal(examples.images[index], np.full((2, 3, 3), COLOURS[name], dtype=np.uint8))
    assert "toy" in description
    assert str(root) not in description


def test_a_image_is_decoded_once(root: Path) -> None:
    images = Examples.of(read(root).splits["train"]).images
    assert images[0] is images[0]
    assert len(images) == 2


def test_a_set_that_is_not_there_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(Absent):
        read(tmp_path)


def test_a_image_of_the_list_that_the_archive_lacks_is_named(root: Path) -> None:
    write(root, {name: png(colour) for name, colour in COLOURS.items() if name != "c.png"})
    with pytest.raises(DataError, match=re.escape(str(root / "toy")) + r".*c\.png"):
        read(root)


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_truncated_archive_is_a_data_error_that_names_the_set(root: Path, share: float) -> None:
    file = root / "toy" / "images.zip"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(DataError, match=re.escape(str(root / "toy"))):
        read(root)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_a_damaged_byte_in_the_archive_is_a_data_error_that_names_the_set(root: Path, compression: int) -> None:
    write(root, {name: bytes(range(256)) * 8 for name in COLOURS}, compression)
    file = root / "toy" / "images.zip"
    content = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        info = archive.getinfo("a.png")
    content[info.header_offset + 30 + len("a.png")] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(root / "toy"))):
        read(root)


def test_a_list_without_a_needed_column_is_a_data_error_that_names_the_set(root: Path) -> None:
    table = root / "toy" / "images.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("class", "klass", 1), encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(str(root / "toy"))):
        read(root)


def test_a_member_that_is_no_image_is_named_when_it_is_asked_for(root: Path) -> None:
    write(root, {name: png(colour) for name, colour in COLOURS.items()} | {"c.png": b"not an image"})
    images = Examples.of(read(root).splits["test"]).images
    assert images[1].shape == (2, 3, 3)
    with pytest.raises(DataError, match=r"c\.png: cannot be decoded"):
        images[0]
