"""Pictures that ship with the package: ``pictures.zip`` holds them, ``pictures.csv`` lists split and class."""

from __future__ import annotations

import csv
import functools
import zipfile
import zlib
from pathlib import Path

import numpy as np

from mixer_bench.data.examples import Examples, sha256_of_each
from mixer_bench.data.pictures import decode
from mixer_bench.errors import DataError
from mixer_bench.zoo import EMBEDDED


class Encoded:
    """Encoded pictures in memory, each decoded the first time it is asked for and kept: they are small and few."""

    keeps_decoded = True

    def __init__(self, contents: list[bytes], names: tuple[str, ...]) -> None:
        """Take encoded pictures and the names that errors give them."""
        self._contents = contents
        self._names = names
        self._decoded = functools.cache(self._decode)

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._contents)

    def __getitem__(self, index: int, /) -> np.ndarray:
        """Picture ``index`` as uint8 [height, width, 3]."""
        return self._decoded(index)

    def _decode(self, index: int) -> np.ndarray:
        return decode(self._contents[index], self._names[index])


def read(folder: str, root: Path = EMBEDDED) -> tuple[dict[str, Examples], tuple[str, ...], str]:
    """The splits, class names and description of the embedded set ``folder``.

    Raises:
        FileNotFoundError: there is no such set.
        DataError: list and archive do not belong together.
    """
    table = root / folder / "pictures.csv"
    content = table.read_bytes()
    found = {}
    try:
        rows = list(csv.DictReader(content.decode().splitlines()))
        if not rows:
            raise ValueError("the list is empty")
        class_names = tuple(sorted({row["class"] for row in rows}))
        with zipfile.ZipFile(table.with_suffix(".zip")) as archive:
            for split in sorted({row["split"] for row in rows}):
                members = [row for row in rows if row["split"] == split]
                names = tuple(row["file"] for row in members)
                contents = [archive.read(name) for name in names]
                labels = np.array([class_names.index(row["class"]) for row in members], dtype=np.int64)
                found[split] = Examples(Encoded(contents, names), labels, names, sha256_of_each(contents))
    except (KeyError, TypeError, ValueError, csv.Error, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{table.parent}: list or archive is damaged ({reason}); install the package again") from None
    return found, class_names, f"embedded in the package: {folder}"
