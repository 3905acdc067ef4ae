"""The list of a prepared task's images with the SHA-256 of each, so that a change is found and named."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path

from mixer_bench.data.examples import TaskData
from mixer_bench.errors import DataError
from mixer_bench.system import files, paths
from mixer_bench.system.network import first_line
from mixer_bench.task.sources import Source

HOW = {"skip_bad", "follow_links"}  # how a source is read, not which it is
COLUMNS = ("split", "name", "label", "sha256")


def place(task: str, source: Source, data_dir: Path) -> Path:
    """Return where the manifest of a task's source in a data folder lies: ``COLUMNS`` of each image, CSV."""
    anywhere = source.kind == "embedded" or (source.kind == "hub" and not (data_dir / source.repo).is_dir())
    where = "" if anywhere else str(paths.real(data_dir))
    identity = hashlib.sha256(f"{where}\n{source.model_dump_json(exclude=HOW)}".encode()).hexdigest()[:12]
    return paths.cache_dir() / "manifests" / task / f"{source.kind}-{identity}.csv"


def write(task: str, source: Source, data: TaskData, data_dir: Path) -> Path:
    """Note every image of ``data`` and return where.

    Raises:
        DataError: the cache folder cannot be written.
    """
    file = place(task, source, data_dir)
    rows = _rows(data)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([(*COLUMNS, _digest(rows)), *rows])
    try:
        files.write(file, text.getvalue())
    except OSError as error:
        raise DataError(f"cannot write {file}: {error.strerror}") from None
    return file


def differences(task: str, source: Source, data: TaskData, data_dir: Path) -> list[str] | None:
    """Return what is not as it was prepared, a line an image; None where it was not prepared.

    Raises:
        DataError: the manifest is damaged.
    """
    file = place(task, source, data_dir)
    try:
        heading, *then = map(tuple, csv.reader(io.StringIO(files.read(file).decode(), newline="")))
        if heading not in (COLUMNS, (*COLUMNS, _digest(then))):  # earlier ones have no digest
            raise ValueError("it was changed since it was written, or has other columns")
        before = {(split, name): (label, digest) for split, name, label, digest in then}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        raise DataError(f"{file}: is no whole manifest; prepare the task again ({reason})") from None
    now = _rows(data)
    if then == now:
        return []
    after = {(split, name): (label, digest) for split, name, label, digest in now}
    lines = [f"{split} {name} is missing" for split, name in before.keys() - after.keys()]
    lines += [f"{split} {name} is new" for split, name in after.keys() - before.keys()]
    for key in before.keys() & after.keys():
        changed = zip(("label", "image"), before[key], after[key], strict=True)
        lines += [f"{' '.join(key)}: its {what} has changed" for what, was, is_now in changed if was != is_now]
    return sorted(lines) or ["the order of the images has changed"]


def _digest(rows: list[tuple[str, ...]]) -> str:
    """Return the hash of a manifest's rows, which stands at the end of its heading."""
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _rows(data: TaskData) -> list[tuple[str, ...]]:
    return [
        (split, name, str(label), digest)
        for split, examples in data.splits.items()
        for name, label, digest in zip(examples.names, examples.labels.tolist(), examples.digests, strict=True)
    ]
