"""A CSV or parquet file that lists images: a path below the file's own folder, a class, and perhaps a split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixer_bench.data.readers import files
from mixer_bench.data.readers.drawn import completed
from mixer_bench.data.readers.folder import numbered
from mixer_bench.data.readers.sound import sound
from mixer_bench.data.rows import UNKNOWN, Read, Rows, is_blank
from mixer_bench.errors import Absent, DataError
from mixer_bench.system.network import first_line
from mixer_bench.system.paths import real
from mixer_bench.task.sources import TableSource
from mixer_bench.task.task import Task, of_ones_own

if TYPE_CHECKING:
    import pandas

SUFFIXES = (".csv", ".parquet")


def task_of(file: Path, columns: Mapping[str, str]) -> Task:
    """Return a task made of a list of one's own; its name is the file's, so that no record carries a path."""
    place = real(file) if file.is_file() else file.absolute()  # the place of what a link leads to, if to anything
    source = TableSource.model_validate({"kind": "table", "file": str(place), **columns})
    return of_ones_own(f"table/{file.stem}", "a list of images", source)


def read(source: TableSource, data_dir: Path) -> Read:
    """Return the images that a file lists; without a column of splits all three are drawn.

    Raises:
        Absent: there is no such file.
        DataError: no such column, an empty value, an image that is missing, listed twice or outside the folder.
    """
    file = data_dir / source.file
    if not file.is_file():
        raise Absent(f"no file {file}")
    frame = _frame(file, source.image)
    for name in (source.image, source.label):
        if name not in frame:
            known = ", ".join(frame.columns)
            raise DataError(f"{file}: no column {name!r}; it has {known}; name it with --image or --label")
    paths, labels = frame[source.image].map(lambda path: _below(file.parent, path)), frame[source.label]
    member = frame[source.split] if source.split in frame else paths.map(lambda _: "train")
    if frame.empty:
        raise DataError(f"{file}: lists no image")
    if (missing := (paths == "") | (member == "")).any():
        raise DataError(f"{file}, row {int(np.flatnonzero(missing)[0]) + 1}: a value is missing")
    listing = f"{file}, row"
    files.check_listed(paths.tolist(), listing)
    names = numbered([label for label in labels.unique() if not is_blank(label)])
    if len(names) < 2:  # noqa: PLR2004
        raise DataError(f"{file}: {len(names)} classes in column {source.label!r}; a task needs two or more")
    number = {name: label for label, name in enumerate(names)}
    told = [number.get(label, UNKNOWN) for label in labels]
    stored = files.stored(file.parent, paths.tolist(), listing, enclosed=not source.follow_links, lenient=True)
    whole = Rows.all(stored, told)
    splits = {name: whole.take(np.flatnonzero(member == name)) for name in member.unique()}
    splits, words = sound(splits, f"list {file.name}", source.skip_bad)
    return completed(splits, names, words)


def _below(root: Path, path: str) -> str:
    """Return an absolute path within ``root`` as a place below it, and any other as it is; Windows' too."""
    if "\\" in path and not (root / path).exists():
        path = path.replace("\\", "/")
    if not Path(path).is_absolute():
        return path
    place = real(Path(path).parent) / Path(path).name  # the image itself may be a link
    return place.relative_to(root).as_posix() if place.is_relative_to(root) else path


def _frame(file: Path, image: str) -> pandas.DataFrame:
    """Return all columns as text, without a value where a row breaks off; ``image`` is the column of paths."""
    import pandas
    import pyarrow
    import pyarrow.parquet

    try:
        if file.suffix.lower() == ".parquet":
            read = pyarrow.parquet.read_table(file)
            kind = read.schema.field(image).type if image in read.column_names else pyarrow.string()
            if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
                raise DataError(
                    f"{file}: column {image!r} holds {kind}, not paths; if these are images, name the folder: "
                    f"hf:{file.parent}"
                )
            columns = read.to_pydict()
            return pandas.DataFrame(columns, dtype=object).map(lambda value: "" if value is None else str(value))
        # The heading is read as a row, since pandas would give the second of two equal names another.
        rows = pandas.read_csv(file, header=None, dtype=object, keep_default_na=False, encoding="utf-8-sig").fillna("")
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(f"{file}: not a CSV or parquet file ({first_line(error)})") from None
    heading = rows.iloc[0]
    if heading.duplicated().any():
        raise DataError(f"{file}: has two columns {heading[heading.duplicated()].iloc[0]!r}")
    return rows[1:].set_axis(heading.tolist(), axis="columns")
