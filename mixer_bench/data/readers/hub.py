"""Data sets of the Hugging Face hub, or folders of that layout, read with ``datasets``: parquet and webdataset files.

``datasets`` keeps what it fetched, honours the HF_* variables, and gives memory-mapped tables: rows are read when asked
for, however many there are.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixer_bench.data.readers import hub_files
from mixer_bench.data.readers.drawn import completed
from mixer_bench.data.readers.folder import inside
from mixer_bench.data.rows import Read, Rows, Stored
from mixer_bench.errors import DataError
from mixer_bench.system import network
from mixer_bench.task.sources import HubSource
from mixer_bench.task.task import Task, of_ones_own

PREFIX = "hf:"
TAR_END = 1024  # bytes of zeros after the last member


class Table(Stored):
    """The images of one split of a loaded data set."""

    def __init__(self, table: Any, image: str, split: str, root: Path) -> None:
        """Take a ``datasets.Dataset``, its image column, undecoded, the split's name, and the data set's folder."""
        self._table, self._split, self._root = table, split, root
        self._images = table.data.column(image)
        files = [Path(entry["filename"]) for entry in table.cache_files]
        changed = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        # Where rows only name files, the table stays as it is when one of them changes.
        whole = all(chunk.field("bytes").null_count == 0 for chunk in self._images.chunks)
        self.stamp = f"{image} {changed}" if changed and whole else ""

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._images)

    def name(self, position: int) -> str:
        """Split and row, and the file's name where the row keeps it."""
        file = self._images[position]["path"].as_py()
        return f"{self._split}/{position}" + (f" ({Path(file).name})" if file else "")

    def content(self, position: int) -> bytes:
        """The encoded image."""
        content = self._images[position]["bytes"].as_py()
        if content is not None:
            return bytes(content)
        named = self._images[position]["path"].as_py()
        if not named:
            raise DataError(f"{self.name(position)}: holds no image")
        try:
            file = self._root / str(named)
            inside(file, self._root)
            return file.read_bytes()
        except (OSError, ValueError) as error:
            raise DataError(f"{self.name(position)}: {named} cannot be read ({error})") from None

    def field(self, name: str, positions: np.ndarray) -> Sequence[object]:
        """A column."""
        if name not in self._table.column_names:
            raise KeyError(f"no column {name!r}; there are {', '.join(self._table.column_names)}")
        values: list[object] = self._table.data.column(name).take(positions).to_pylist()
        return values


def task_of(address: str, image: str | None, label: str | None) -> Task:
    """A task made of ``hf:owner/name[:config]`` or ``hf:./folder``; its name carries no path.

    Raises:
        DataError: not such an address.
    """
    repo, _, config = address.removeprefix(PREFIX).partition(":")
    local = repo.startswith((".", os.sep))
    if not local and repo.count("/") != 1:
        raise DataError(f"{address}: not of the form hf:owner/name or hf:owner/name:config, or hf:./folder")
    columns = {key: value for key, value in (("image", image), ("label", label)) if value}
    name = (Path(repo).resolve().name if local else repo) + (f"/{config}" if config else "")
    repo = str(Path(repo).resolve()) if local else repo
    source = HubSource(kind="hub", repo=repo, config=config or None, complete=True, **columns)
    return of_ones_own(f"hf/{name}", "a data set of the Hugging Face hub", source)


def read(source: HubSource, data_dir: Path) -> Read:
    """All splits of ``source``, from ``<data_dir>/<owner>/<name>`` where that is a folder, else from the hub.

    Raises:
        Absent: the hub has no such data set, gives it only to those who accepted its terms, or cannot be
            reached while nothing is kept here.
        DataError: fetching broke off, files are damaged, or a column is not what it should be.
    """
    hub_files.quiet()
    place = data_dir / source.repo  # an absolute repo stays what it is
    root = place.resolve()
    if place.is_dir():
        what = f"hub layout, {place.name}"
    else:
        found = hub_files.listing(source)
        place = hub_files.folder(source, found)
        root = place.parent.parent  # of the hub library's cache, where a snapshot's files are links to blobs
        what = f"hub {source.repo}" + (f", {source.config}" if source.config else "") + f" at {found.commit}"
    tables = _tables(source, place)
    names = _class_names(tables, source.label)
    splits = {
        split: Rows.all(Table(table, source.image, split, root), _labels(table, source.label, names, split))
        for split, table in tables.items()
    }
    if not source.complete:
        return Read(splits, names, what)
    if names is None:  # bare numbers of one's own need not begin at 0 or be without gaps
        numbers = np.unique(np.concatenate([rows.labels for rows in splits.values()]))
        names = tuple(map(str, numbers))
        splits = {
            split: Rows(rows.stored, rows.positions, np.searchsorted(numbers, rows.labels))
            for split, rows in splits.items()
        }
    return completed(splits, names, what)


def _tables(source: HubSource, place: Path) -> dict[str, Any]:
    """The table of each split, images undecoded."""
    # Imported here: `datasets` takes seconds to load and only this kind of source needs it.
    import datasets

    for file in place.rglob("*.tar"):
        _check_end(file, file.relative_to(place).as_posix())
    options: dict[str, Any] = {"data_files": source.files} if source.files else {"name": source.config}
    try:
        builder = datasets.load_dataset_builder(str(place), **options)
        builder.download_and_prepare()
        loaded = builder.as_dataset()
    except Exception as error:  # noqa: BLE001
        # `datasets` raises whatever its readers raise; all of it means that these files cannot be used.
        what = place.name if source.complete else source.repo
        raise DataError(f"{what}: {_damaged_file(place) or _reason(error)}") from None
    tables = {}
    for split, table in loaded.items():
        for column in (source.image, source.label):
            if column not in table.column_names:
                raise DataError(
                    f"no column {column!r} in split {split!r}; it has {', '.join(table.column_names)} "
                    "(for a data set of one's own name them with --image and --label)"
                )
        try:
            tables[str(split)] = table.cast_column(source.image, datasets.Image(decode=False))
        except (TypeError, ValueError, NotImplementedError) as error:
            raise DataError(
                f"column {source.image!r} of split {split!r} holds no images ({network.first_line(error)})"
            ) from None
    return tables


def _check_end(file: Path, name: str) -> None:
    """Refuse a tar without the zeros that end it: read as a stream, a broken one only seems shorter.

    Raises:
        DataError: names the file.
    """
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - TAR_END))
        if opened.read() != bytes(TAR_END):
            raise DataError(f"{name}: breaks off before the archive's end; fetch it again")


def _reason(error: Exception) -> str:
    """An error of ``datasets`` and its cause, a line each; of columns that differ, which."""
    causes = [error, *([error.__cause__] if error.__cause__ else [])]
    words = [f"{type(cause).__name__}: {network.first_line(cause)}" for cause in causes]
    words += [f"files differ: {cause.details()}" for cause in causes if hasattr(cause, "details")]
    return "; ".join(words)


def _damaged_file(place: Path) -> str:
    """The first file in ``place`` that is not whole, and how far it goes: `datasets` does not say. Empty if none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in sorted(place.rglob("*")):
        name, read = file.relative_to(place).as_posix(), 0
        try:
            if file.suffix == ".parquet":
                for batch in pq.ParquetFile(file).iter_batches():
                    read += len(batch)
            elif file.suffix == ".tar":
                with tarfile.open(file) as archive:
                    for member in archive:
                        if member.isfile() and (opened := archive.extractfile(member)):
                            opened.read()
                        read += 1
        except (OSError, tarfile.TarError, pa.ArrowException) as error:
            unit = "rows" if file.suffix == ".parquet" else "members"
            return f"{name} is damaged after {read} {unit} ({network.first_line(error)}); fetch it again"
    return ""


def _class_names(tables: Mapping[str, Any], label: str) -> tuple[str, ...] | None:
    """Names of the classes in the order of their numbers; None where labels are bare numbers."""
    features = [table.features[label] for table in tables.values()]
    named = [tuple(feature.names) for feature in features if hasattr(feature, "names")]
    if named:
        if len(set(named)) > 1 or len(named) < len(features):
            raise DataError(f"column {label!r} has other classes in one split than in another")
        return named[0]
    if all(getattr(feature, "dtype", "") in ("string", "large_string") for feature in features):
        return tuple(sorted({str(name) for table in tables.values() for name in table.unique(label)}))
    return None


def _labels(table: Any, label: str, names: tuple[str, ...] | None, split: str) -> np.ndarray:
    column = table.data.column(label)
    if column.null_count:
        raise DataError(f"split {split!r}: {column.null_count} rows have no {label!r}")
    values = column.to_numpy()
    if values.dtype == object and names is not None:
        number = {name: index for index, name in enumerate(names)}
        return np.array([number[str(value)] for value in values], dtype=np.int64)
    if values.dtype.kind not in "iub":
        raise DataError(f"split {split!r}: column {label!r} holds no classes but {table.features[label]}")
    return np.asarray(values, dtype=np.int64)
