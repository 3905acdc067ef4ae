"""Images that ship with the package: ``images.zip`` holds them, ``images.csv`` lists split and class."""

from __future__ import annotations

import csv
import zipfile
import zlib
from pathlib import Path

from mixer_bench.data.rows import Read, Rows, Stored
from mixer_bench.errors import Absent, DataError
from mixer_bench.system.paths import EMBEDDED


class Archived(Stored):
    """Encoded images in memory: they are small and few."""

    keeps_decoded = True

    def __init__(self, contents: list[bytes], names: tuple[str, ...]) -> None:
        """Take encoded images and the names that errors give them."""
        self._contents, self._names = contents, names

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._contents)

    def name(self, position: int) -> str:
        """The member of the archive."""
        return self._names[position]

    def content(self, position: int) -> bytes:
        """The image's file."""
        return self._contents[position]


def read(folder: str, root: Path = EMBEDDED) -> Read:
    """The embedded set ``folder``.

    Raises:
        Absent: there is no such set.
        DataError: list and archive do not belong together.
    """
    table = root / folder / "images.csv"
    if not table.is_file():
        raise Absent(f"no {table}")
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
                stored = Archived([archive.read(name) for name in names], names)
                found[split] = Rows.all(stored, [class_names.index(row["class"]) for row in members])
    except (KeyError, TypeError, ValueError, csv.Error, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{table.parent}: list or archive is damaged ({reason}); install the package again") from None
    return Read(found, class_names, f"embedded in the package: {folder}")
