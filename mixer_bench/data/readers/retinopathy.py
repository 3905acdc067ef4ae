"""Kaggle's images of retinas as TFDS's config ``btgraham-300`` stores them (diabetic_retinopathy_detection.py, 4.9.9).

Each is scaled to an eye of 300 pixels' radius, its local average subtracted, cut to a disc and saved anew.
"""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np

from mixer_bench.data import archives
from mixer_bench.data.decoding import decode
from mixer_bench.data.readers import files, opencv
from mixer_bench.data.rows import Rows
from mixer_bench.errors import DataError
from mixer_bench.system.files import read as read_file

FOLDER = "diabetic_retinopathy"
RADIUS = 300  # pixels, of an eye
SHOWN = int(0.9 * RADIUS)  # of it
GREY = 128
QUALITY = 72
LARGEST = 1 << 26  # pixels of a scaled image: an eye's has half a million
SPLITS = {"train": "", "validation": "Public", "test": "Private"}  # which of the leaderboards


def read(data_dir: Path) -> dict[str, Rows]:
    """Return the splits of trainLabels.csv and of retinopathy_solution.csv; the key of an image is its stem.

    Raises:
        DataError: a list is another one, or an image it names is not there.
    """
    root = data_dir / FOLDER
    (solution,) = archives.of(FOLDER).archive
    given = _listed(root / "trainLabels.csv")
    tested = _listed(archives.check(solution, data_dir))
    splits = {}
    for split, usage in SPLITS.items():
        listed = [row for row in tested if row.get("Usage") == usage] if usage else given
        names = [f"{'test' if usage else 'train'}/{row['image']}.jpeg" for row in listed]
        listing = f"{usage.lower()} images of retinopathy_solution.csv, image" if usage else "trainLabels.csv, row"
        files.check_listed(names, listing)
        stored = files.stored(root, names, listing)
        splits[split] = Rows.all(replace(stored, decode=as_stored), [int(row["level"]) for row in listed])
    return splits


def _listed(file: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader(io.StringIO(read_file(file).decode("utf-8-sig", errors="replace"))))
    for number, row in enumerate(rows, 1):
        if not row.get("image") or row.get("level") not in tuple("01234"):
            raise DataError(f"{file}, row {number}: is not of the form 'image,level', such as '10_left,0'")
    return rows


def as_stored(content: bytes, name: str, _upright: bool) -> np.ndarray:
    """Return an image as TFDS stores it, uint8 [h, w, 3], at most 540 pixels a side.

    Equal to what the builder's own function makes with OpenCV 4.5.5 and 5.0.

    Raises:
        DataError: it cannot be decoded, or shows so small an eye that scaled up it would fill the memory.
    """
    image = decode(content, name, True)
    factor = RADIUS / _radius(image)
    if image.shape[0] * image.shape[1] * factor**2 > LARGEST:
        raise DataError(f"{name}: shows no eye that could be scaled to {RADIUS} pixels' radius; fetch it again")
    image = opencv.resized(image, factor)
    contrast = 4 * (image.astype(np.int16) - opencv.blurred(image, RADIUS / 30))
    image = (contrast + GREY).clip(0, 255).astype(np.uint8)
    rows, columns = (np.arange(side) - side // 2 for side in image.shape[:2])
    image[rows[:, None] ** 2 + columns**2 > SHOWN**2] = GREY
    seen = (slice(max(side // 2 - SHOWN, 0), side // 2 + SHOWN) for side in image.shape[:2])
    return opencv.saved(image[tuple(seen)], QUALITY)


def _radius(image: np.ndarray) -> float:
    """Return an eye's radius, pixels: half of what of the middle row is brighter than a tenth of its mean."""
    brightness = image[len(image) // 2].sum(axis=1)
    radius = float((brightness > brightness.mean() / 10).sum() / 2)
    return radius if radius >= 1 else len(image) / 2
