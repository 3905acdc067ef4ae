"""Images that ship with the package: ``images.zip`` holds them, ``images.csv`` lists split and class."""

from __future__ import annotations

import csv
import zipfile
import zlib
from pathlib import Path

from mixer_bench.data.rows import Read, Rows, Stored
from mixer_bench.errors import Absent, DataError
from mixer_bench.system.paths import EMBEDDED
from mixer_bench.task.sources import EmbeddedSource


def read(source: EmbeddedSource, _data_dir: Path) -> Read:
    """Return the embedded set ``source.folder``, its images in memory: they are small and few.

    Raises:
        Absent: there is no such set.
        DataError: list and archive do not belong together.
    """
    table = EMBEDDED / source.folder / "images.csv"
    if not table.is_file():
        raise Absent(f"no {table}")
    content = table.read_bytes()
    splits = {}
    try:
        rows = list(csv.DictReader(content.decode().splitlines()))
        if not rows:
            raise ValueError("the list is empty")
        class_names = tuple(sorted({row["class"] for row in rows}))
        with zipfile.ZipFile(table.with_suffix(".zip")) as archive:
            for split in sorted({row["split"] for row in rows}):
                members = [row for row in rows if row["split"] == split]
                names = [row["file"] for row in members]
                contents = [archive.read(name) for name in names]
                stored = Stored(names.__getitem__, contents.__getitem__, keeps_decoded=True)
                splits[split] = Rows.all(stored, [class_names.index(row["class"]) for row in members])
    except (KeyError, TypeError, ValueError, csv.Error, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{table.parent}: list or archive is damaged ({reason}); install the package again") from None
    return Read(splits, class_names, f"embedded in the package: {source.folder}")
