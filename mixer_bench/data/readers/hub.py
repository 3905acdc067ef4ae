"""Data sets of the Hugging Face hub, or folders of that layout, read with ``datasets``: parquet and webdataset files.

``datasets`` keeps what it fetched, honours the HF_* variables, and gives memory-mapped tables: rows are read when asked
for, however many there are.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mixer_bench.data.readers import hub_files
from mixer_bench.data.readers.drawn import completed
from mixer_bench.data.readers.files import inside
from mixer_bench.data.readers.sound import sound
from mixer_bench.data.rows import Field, Read, Rows, Stored, is_blank
from mixer_bench.errors import DataError
from mixer_bench.system import network
from mixer_bench.system.files import read as read_bytes
from mixer_bench.system.files import state
from mixer_bench.system.paths import begins_as_path, expanded, real
from mixer_bench.task.sources import HubSource
from mixer_bench.task.task import Task, of_ones_own

PREFIX = "hf:"
TEXTS = ("string", "large_string")
TAR_END = 1024  # bytes of zeros after the last member
SAID = re.compile(r"hub ([\w.-]+/[\w.-]+)(?:, (.+?))? at ([0-9a-f]{40})\b")


class Repository(NamedTuple):
    """Where on the hub images are from; ``str`` says it as records do."""

    repo: str
    config: str | None
    commit: str

    def __str__(self) -> str:
        """Return it in words."""
        return f"hub {self.repo}" + (f", {self.config}" if self.config else "") + f" at {self.commit}"


def repository(words: str) -> Repository | None:
    """Return what a record says of its images' source; None where they are from elsewhere."""
    said = SAID.match(words)
    return Repository(said[1], said[2], said[3]) if said else None


def task_of(address: str, columns: Mapping[str, str]) -> Task:
    """Return a task made of ``hf:owner/name[:config]`` or ``hf:./folder``; its name carries no path.

    Raises:
        DataError: not such an address.
    """
    drive, rest = os.path.splitdrive(address.removeprefix(PREFIX))  # of Windows, C:
    repo, _, config = rest.partition(":")
    repo, local = drive + repo, begins_as_path(drive + repo)
    if not local and repo.count("/") != 1:
        raise DataError(f"{address}: not of the form hf:owner/name or hf:owner/name:config, or hf:./folder")
    name = (real(expanded(repo)).name if local else repo) + (f"/{config}" if config else "")
    place = str(real(expanded(repo))) if local else repo
    source = {"kind": "hub", "repo": place, "config": config or None, "complete": True, **columns}
    return of_ones_own(f"hf/{name}", "a data set of the Hugging Face hub", HubSource.model_validate(source))


def read(source: HubSource, data_dir: Path) -> Read:
    """Return all splits of ``source``, from the folder ``<data_dir>/<owner>/<name>`` if there is one, else the hub.

    Raises:
        Absent: the hub has no such data set, gives it only to those who accepted its terms, or cannot be
            reached while nothing is kept here.
        DataError: fetching broke off, files are damaged, or a column is not what it should be.
    """
    place = data_dir / source.repo  # an absolute repo stays what it is
    root = real(place)
    listing = None if place.is_dir() else hub_files.listing(source)
    hub_files.quiet()  # not before: what is not here costs no import of the hub's libraries
    if listing is None:
        what = f"hub layout, {place.name}"
    else:
        place = hub_files.folder(source, listing)
        root = place.parent.parent  # of the hub library's cache, where a snapshot's files are links to blobs
        what = str(Repository(source.repo, source.config, listing.commit))
    tables = _tables(source, place)
    names = _class_names(tables, source.label)
    splits = {
        split: Rows.all(_stored(table, source.image, split, root, what), _labels(table, source.label, names, split))
        for split, table in tables.items()
    }
    if not source.complete:
        return Read(splits, names, what)
    if names is None:  # bare numbers of one's own need not begin at 0 or be without gaps
        numbers = np.unique(np.concatenate([rows.labels[rows.labels >= 0] for rows in splits.values()]))
        names = tuple(map(str, numbers))
        for split, rows in splits.items():
            rows.check_told(f"{what}, split {split!r}")
            splits[split] = replace(rows, labels=np.searchsorted(numbers, rows.labels))
    splits, what = sound(splits, what, source.skip_bad)
    return completed(splits, names, what)


def _stored(table: Any, column: str, split: str, root: Path, what: str) -> Stored:
    """Return the images of a loaded ``datasets.Dataset``, whose column is undecoded; it may name files in ``root``.

    ``what`` is the source in words, for errors.
    """
    images = table.data.column(column)

    def file_of(position: int) -> str:
        return str(images[position]["path"].as_py() or "")

    def name(position: int) -> str:
        file = file_of(position)
        return f"{split}/{position}" + (f" ({Path(file).name})" if file else "")

    def content(position: int) -> bytes:
        if (stored := images[position]["bytes"].as_py()) is not None:
            return bytes(stored)
        if not (named := file_of(position)):
            raise DataError(f"{what}: {name(position)}: holds no image")
        try:
            inside(root / named, root)
            return read_bytes(root / named)
        except (OSError, ValueError) as error:
            raise DataError(f"{what}: {name(position)}: {named} cannot be read ({error})") from None

    files = [Path(entry["filename"]) for entry in table.cache_files]
    changed = [(str(file), state(file.stat())) for file in files]
    # Where rows only name files, the table stays as it is when one of them changes.
    whole = all(chunk.field("bytes").null_count == 0 for chunk in images.chunks)
    fields: dict[str, Field] = {key: functools.partial(_values, table.data.column(key)) for key in table.column_names}
    fields[f"{column}/path"] = lambda positions: [file_of(position) for position in positions.tolist()]
    stamp = f"{column} {changed}" if changed and whole else ""
    return Stored(name, content, stamp, lambda position: f"{what}: {name(position)}", fields)


def _values(column: Any, positions: np.ndarray) -> list[object]:
    values: list[object] = column.take(positions).to_pylist()
    return values


def _tables(source: HubSource, place: Path) -> dict[str, Any]:
    """Return the table of each split, images undecoded."""
    # Imported here: `datasets` takes seconds to load and only this kind of source needs it.
    import datasets

    for file in place.rglob("*.tar"):
        _check_end(file, file.relative_to(place).as_posix())
    try:
        builder = datasets.load_dataset_builder(str(place), **hub_files.chosen(source))
        used = [Path(file) for files in (builder.config.data_files or {}).values() for file in files]
        if source.complete and not _says_its_files(place):
            _check_whole(place, used)
        # `datasets` keeps what it made under names and times alone: files of another day would pass for these.
        stamps = [f"{file} {state(file.stat())}" for file in used]
        digest = hashlib.sha256("\n".join(stamps).encode()).hexdigest()
        kept = Path(datasets.config.HF_DATASETS_CACHE) / f"by-files-{digest[:32]}"
        builder = datasets.load_dataset_builder(str(place), cache_dir=str(kept), **hub_files.chosen(source))
        builder.download_and_prepare()
        loaded = builder.as_dataset()
    except DataError:
        raise
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
            reason = network.first_line(error)
            raise DataError(f"column {source.image!r} of split {split!r} holds no images ({reason})") from None
    return tables


def _says_its_files(place: Path) -> bool:
    """Return whether a README says which files make up each configuration."""
    from huggingface_hub import DatasetCard

    card = place / "README.md"
    return bool(card.is_file() and DatasetCard.load(card).data.get("configs"))


def _check_whole(place: Path, used: Sequence[Path]) -> None:
    """Refuse a folder of which ``datasets`` would use a part without having been told so."""
    root = real(place)
    there = [file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()]
    hub_files.check_whole([file.relative_to(root).as_posix() for file in used], there, f"hub layout, {place.name}")


def _check_end(file: Path, name: str) -> None:
    """Refuse a tar without the zeros that end it: read as a stream, a broken one only seems shorter."""
    if not file.is_file():
        raise DataError(f"{file}: is no file")
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - TAR_END))
        if opened.read() != bytes(TAR_END):
            raise DataError(f"{name}: breaks off before the archive's end; fetch it again")


def _reason(error: Exception) -> str:
    """Return an error of ``datasets`` and its cause, a line each; of columns that differ, which."""
    causes = [error, *([error.__cause__] if error.__cause__ else [])]
    # Of several lines the later ones are the way out, such as the configurations there are.
    words = [f"{type(cause).__name__}: {' '.join(str(cause).split())[: network.LONGEST]}" for cause in causes]
    words += [f"files differ: {cause.details()}" for cause in causes if hasattr(cause, "details")]
    return "; ".join(words)


def _damaged_file(place: Path) -> str:
    """Return the first file in ``place`` that is not whole, and how far it goes, which `datasets` does not say."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in sorted(place.rglob("*")):
        if file.suffix not in (".parquet", ".tar"):
            continue
        name, read = file.relative_to(place).as_posix(), 0
        if not file.is_file():  # to open a pipe would take for ever
            return f"{name} is no file; fetch it again"
        try:
            if file.suffix == ".parquet":
                for batch in pq.ParquetFile(file).iter_batches():
                    read += len(batch)
            else:
                with tarfile.open(file) as archive:
                    for member in archive:
                        if member.isfile() and (opened := archive.extractfile(member)):
                            opened.read()
                        read += 1
        except (OSError, ValueError, tarfile.TarError, pa.ArrowException) as error:
            unit = "rows" if file.suffix == ".parquet" else "members"
            return f"{name} is damaged after {read} {unit} ({network.first_line(error)}); fetch it again"
    return ""


def _class_names(tables: Mapping[str, Any], label: str) -> tuple[str, ...] | None:
    """Return the names of the classes in the order of their numbers; None where labels are bare numbers."""
    features = [table.features[label] for table in tables.values()]
    named = [tuple(feature.names) for feature in features if hasattr(feature, "names")]
    if named:
        if len(set(named)) > 1 or len(named) < len(features):
            raise DataError(f"column {label!r} has other classes in one split than in another")
        return named[0]
    if all(getattr(feature, "dtype", "") in TEXTS for feature in features):
        unique = {name for table in tables.values() for name in table.unique(label)}
        return tuple(sorted(name for name in unique if not is_blank(name)))
    return None


def _labels(table: Any, label: str, names: tuple[str, ...] | None, split: str) -> Sequence[object] | np.ndarray:
    """Return the number of each row's class, None where it has none."""
    import pyarrow as pa

    column = table.data.column(label)
    if getattr(table.features[label], "dtype", "") in TEXTS:
        number = {name: index for index, name in enumerate(names or ())}
        return [number.get(value) for value in column.to_pylist()]
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise DataError(f"split {split!r}: column {label!r} holds no classes but {table.features[label]}")
    values: list[object] | np.ndarray = column.to_pylist() if column.null_count else column.to_numpy()
    return values
