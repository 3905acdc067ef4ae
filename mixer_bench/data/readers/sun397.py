"""SUN397's images as TFDS's config ``tfds`` stores them: shrunk by OpenCV to 120,000 pixels at most, and saved anew.

Of the builder's own lists of splits (sun397_dataset_builder.py, 4.9.10).
"""

from __future__ import annotations

import functools
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from mixer_bench.data import archives
from mixer_bench.data.decoding import decode
from mixer_bench.data.readers import files
from mixer_bench.data.rows import Field, Rows
from mixer_bench.system.files import read as read_file

LISTS = {"train": "tfds_tr", "validation": "tfds_va", "test": "tfds_te"}
UNDECODABLE = "/t/track/outdoor/sun_aophkoiosslinihb.jpg"  # the builder leaves it out
LARGEST = 120_000  # pixels
QUALITY = 95  # OpenCV's, where none is said: the config's description says 72, its code does not
FIXED_POINT = 11  # bits of OpenCV's coefficients


def read(data_dir: Path) -> dict[str, Rows]:
    """Return the splits, by the lists beside the images; the key of an image is its line.

    Raises:
        DataError: a list is another one, or an image it names is not there.
    """
    lists = {archive.there.rpartition("sun397_")[2]: archive for archive in archives.of("sun397").archive}
    tables = {
        name.removesuffix(".txt"): read_file(archives.check(archive, data_dir)).decode().split()
        for name, archive in lists.items()
        if name.endswith(".txt")
    }
    label_of = {name: label for label, name in enumerate(tables["labels"])}
    splits = {}
    for split, table in LISTS.items():
        listed = [line for line in tables[table] if line != UNDECODABLE]
        names = [line.removeprefix("/") for line in listed]
        stored = files.stored(data_dir / "sun397/SUN397", names, f"sun397_{table}.txt, line")
        fields: dict[str, Field] = {**stored.fields, "line": functools.partial(_taken, listed)}
        labels = [label_of[line.rpartition("/")[0]] for line in listed]
        splits[split] = Rows.all(replace(stored, fields=fields, decode=as_stored), labels)
    return splits


def _taken(listed: list[str], positions: np.ndarray) -> list[str]:
    return [listed[position] for position in positions.tolist()]


def as_stored(content: bytes, name: str, _upright: bool) -> np.ndarray:
    """Return an image as TFDS stores it: decoded upright by OpenCV, shrunk where it is large, through a JPEG.

    Held against OpenCV 5.0: the JPEG's pixels are equal; of the shrunken values 1 in 2,000 differs by one level.
    """
    image = decode(content, name, True)
    if content.startswith(b"GIF8"):  # which OpenCV cannot read: TensorFlow's RGB is then saved as if it were BGR
        image = image[:, :, ::-1]
    height, width, _ = image.shape
    if height * width > LARGEST:
        image = shrunk(image, (LARGEST / (height * width)) ** 0.5)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return decode(buffer.getvalue(), name, False)


def shrunk(image: np.ndarray, factor: float) -> np.ndarray:
    """Resize as ``cv2.resize(image, None, fx=factor, fy=factor)``: bilinear without antialiasing, in whole numbers.

    Args:
        image: uint8 [h, w, 3].
        factor: of both sides, below 1.
    """
    height, width, _ = image.shape
    values = image.astype(np.int64)
    left, right = _neighbours(width, factor)
    across = sum(values[:, place] * share[:, None] for place, share in (left, right))
    # Four bits are given up before the second product and sixteen after it, as in OpenCV's 32-bit registers.
    down = ((share[:, None, None] * (across[place] >> 4)) >> 16 for place, share in _neighbours(height, factor))
    return np.asarray(((sum(down) + 2) >> 2).clip(0, 255), dtype=np.uint8)


def _neighbours(length: int, factor: float) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return the two pixels of an axis that each new one lies between, each with its share in 1/2048."""
    place = ((np.arange(round(length * factor)) + 0.5) / factor - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    share = np.where((first < 0) | (first >= length - 1), np.float32(0), place - first.astype(np.float32))
    first = first.clip(0, length - 1)
    pixels = (first, np.minimum(first + 1, length - 1))
    shares = (np.rint(part * np.float32(1 << FIXED_POINT)).astype(np.int64) for part in (np.float32(1) - share, share))
    return tuple(zip(pixels, shares, strict=True))
