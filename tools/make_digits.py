"""Makes ``mixer_bench/embedded/digits``: scikit-learn's handwritten digits in the package's own layout.

    python tools/make_digits.py

The images are those of ``sklearn.datasets.load_digits`` (UCI "Optical Recognition of Handwritten Digits", its test
part: 1,797 digits of 8 x 8 grey values 0..16), scaled to 0..255 and stored losslessly. The splits are drawn by class
with a fixed seed, since the original has none.
"""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from mixer_bench.task import splits

OUTPUT = Path(__file__).parent.parent / "mixer_bench" / "embedded" / "digits"
SHARES = {"train": 0.3, "val": 0.1, "test": 0.6}  # a large test split makes narrow intervals
SEED = 0
EPOCH = (1980, 1, 1, 0, 0, 0)  # a fixed time makes the archive the same byte for byte


def main() -> None:
    """Write ``images.zip`` and ``images.csv``."""
    digits = load_digits()
    names = tuple(str(number) for number in range(10))
    parts = splits.stratified(digits.target, tuple(SHARES.values()), names, SEED)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    rows = []
    with zipfile.ZipFile(OUTPUT / "images.zip", "w", zipfile.ZIP_STORED) as archive:
        for split, indices in zip(SHARES, parts, strict=True):
            for index in sorted(indices, key=lambda i: (digits.target[i], i)):
                name = f"{digits.target[index]}/{index:04d}.png"
                archive.writestr(zipfile.ZipInfo(name, EPOCH), _png(digits.images[index]))
                rows.append((split, str(digits.target[index]), name, f"load_digits()[{index}]"))
    with (OUTPUT / "images.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("split", "class", "file", "source"), *rows])


def _png(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.round(values * 255 / 16).astype(np.uint8)).save(content, "png", optimize=True)
    return content.getvalue()


if __name__ == "__main__":
    main()
