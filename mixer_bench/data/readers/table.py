"""A CSV or parquet file that lists images: a path below the file's own folder, a class, and perhaps a split."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from mixer_bench.data.readers.drawn import completed
from mixer_bench.data.readers.folder import Files, inside
from mixer_bench.data.rows import Read, Rows
from mixer_bench.errors import Absent, DataError
from mixer_bench.task.sources import TableSource
from mixer_bench.task.task import Task, of_ones_own

SUFFIXES = (".csv", ".parquet")


def task_of(file: Path, image: str | None, label: str | None) -> Task:
    """A task made of a list of one's own; its name is the file's, so that no record carries a path."""
    columns = {key: value for key, value in (("image", image), ("label", label)) if value}
    source = TableSource(kind="table", file=str(file.resolve()), **columns)
    return of_ones_own(f"table/{file.stem}", "a list of images", source)


def read(file: Path, image: str, label: str, split: str) -> Read:
    """The images that ``file`` lists; without a column ``split`` all three splits are drawn.

    Raises:
        Absent: there is no such file.
        DataError: no such column, an empty value, an image that is missing, listed twice or outside the folder.
    """
    if not file.is_file():
        raise Absent(f"no file {file}")
    columns = _columns(file)
    for name in (image, label):
        if name not in columns:
            raise DataError(f"{file}: no column {name!r}; it has {', '.join(columns)}; name it with --image or --label")
    paths, classes = columns[image], columns[label]
    given = columns.get(split, ["train"] * len(paths))
    stamp = _checked(file, paths, classes, given)
    names = tuple(sorted(set(classes), key=int) if all(name.isdecimal() for name in classes) else sorted(set(classes)))
    if len(names) < 2:  # noqa: PLR2004
        raise DataError(f"{file}: {len(names)} classes in column {label!r}; a task needs two or more")
    number = {name: index for index, name in enumerate(names)}
    whole = Rows.all(Files(file.parent, paths, stamp), [number[name] for name in classes])
    member = np.array(given)
    splits = {name: whole.take(np.flatnonzero(member == name)) for name in dict.fromkeys(given)}
    return completed(splits, names, f"list {file.name}")


def _columns(file: Path) -> dict[str, list[str]]:
    """All columns as text."""
    try:
        if file.suffix == ".parquet":
            import pyarrow.parquet

            columns = pyarrow.parquet.read_table(file).to_pydict()
            return {name: ["" if v is None else str(v) for v in values] for name, values in columns.items()}
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = list(csv.reader(opened, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{file}: not a CSV or parquet file ({error})") from None
    if not rows:
        raise DataError(f"{file}: is empty")
    if twice := [name for place, name in enumerate(rows[0]) if name in rows[0][:place]]:
        raise DataError(f"{file}: has two columns {twice[0]!r}")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise DataError(f"{file}, line {number}: {len(row)} values for {len(rows[0])} columns")
    return {name: [row[place] for row in rows[1:]] for place, name in enumerate(rows[0])}


def _checked(file: Path, paths: Sequence[str], classes: Sequence[str], splits: Sequence[str]) -> str:
    """The list's stamp, if every row names an image below the list's folder, once, with class and split."""
    stamp = hashlib.sha256(str(file).encode())
    rows: dict[str, int] = {}
    for row, (path, class_, split) in enumerate(zip(paths, classes, splits, strict=True), 1):
        where = f"{file}, row {row}"
        if not (path and class_ and split):
            raise DataError(f"{where}: a value is missing")
        place = PurePosixPath(path)
        if place.is_absolute() or ".." in place.parts:
            raise DataError(f"{where}: {path} leads out of the list's folder; put the list above its images")
        if path in rows:
            raise DataError(f"{where}: {path} is in row {rows[path]} already")
        rows[path] = row
        image = file.parent / path
        try:
            status = image.stat()
        except (OSError, ValueError) as error:  # the latter for a NUL in the name
            reason = error.strerror if isinstance(error, OSError) else error
            raise DataError(f"{where}: {path} cannot be read ({reason})") from None
        inside(image, file.parent)
        stamp.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    if not rows:
        raise DataError(f"{file}: lists no image")
    return stamp.hexdigest()
