"""SUN397's images as TFDS's config ``tfds`` stores them: shrunk by OpenCV to 120,000 pixels at most, and saved anew.

Of the builder's own lists of splits (sun397_dataset_builder.py, 4.9.10).
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np

from mixer_bench.data import archives
from mixer_bench.data.decoding import decode
from mixer_bench.data.readers import files, opencv
from mixer_bench.data.rows import Field, Rows
from mixer_bench.system.files import read as read_file

LISTS = {"train": "tfds_tr", "validation": "tfds_va", "test": "tfds_te"}
UNDECODABLE = "/t/track/outdoor/sun_aophkoiosslinihb.jpg"  # the builder leaves it out
LARGEST = 120_000  # pixels
QUALITY = 95  # OpenCV's, where none is said: the config's description says 72, its code does not


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

    Equal to what the builder's code makes with OpenCV 4.5.5 and 5.0 (``readers/opencv.py``).
    """
    image = decode(content, name, True)
    if content.startswith(b"GIF8"):  # which OpenCV cannot read: TensorFlow's RGB is then saved as if it were BGR
        image = image[:, :, ::-1]
    height, width, _ = image.shape
    if height * width > LARGEST:
        image = opencv.resized(image, (LARGEST / (height * width)) ** 0.5)
    return opencv.saved(image, QUALITY)
