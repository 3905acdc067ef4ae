"""The list of a prepared task's images with the SHA-256 of each, so that a change is found and named."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path

from mixer_bench.data.examples import TaskData
from mixer_bench.errors import DataError
from mixer_bench.system import files, paths
from mixer_bench.task.sources import Source

COLUMNS = ("split", "name", "label", "sha256")


def place(task: str, source: Source, data_dir: Path) -> Path:
    """Where the manifest of a task's source in a data folder lies: split, name, label, SHA-256 of each image, CSV."""
    anywhere = source.kind == "embedded" or (source.kind == "hub" and not (data_dir / source.repo).is_dir())
    where = "" if anywhere else str(data_dir.resolve())
    identity = hashlib.sha256(f"{where}\n{source.model_dump_json()}".encode()).hexdigest()[:12]
    return paths.cache_dir() / "manifests" / task / f"{source.kind}-{identity}.csv"


def write(task: str, source: Source, data: TaskData, data_dir: Path) -> Path:
    """Note every image of ``data``.

    Raises:
        DataError: the cache folder cannot be written.
    """
    file = place(task, source, data_dir)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_rows(data))
    try:
        files.write(file, text.getvalue())
    except OSError as error:
        raise DataError(f"cannot write {file}: {error.strerror}") from None
    return file


def differences(task: str, source: Source, data: TaskData, data_dir: Path) -> list[str] | None:
    """What is not as it was prepared, a line an image; None where it was not prepared.

    Raises:
        DataError: the manifest is damaged.
    """
    file = place(task, source, data_dir)
    try:
        rows = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read ({error}); prepare the task again") from None
    if not rows or tuple(rows[0]) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        raise DataError(f"{file}: is no whole manifest; prepare the task again")
    then, now = [tuple(row) for row in rows[1:]], _rows(data)
    if then == now:
        return []
    was = {(split, name): (label, digest) for split, name, label, digest in then}
    here = {(split, name): (label, digest) for split, name, label, digest in now}
    lines = [f"{split} {name} is missing" for split, name in was.keys() - here.keys()]
    lines += [f"{split} {name} is new" for split, name in here.keys() - was.keys()]
    for split, name in was.keys() & here.keys():
        for what, before, after in zip(("label", "image"), was[split, name], here[split, name], strict=True):
            if before != after:
                lines.append(f"{split} {name}: its {what} has changed")
    return sorted(lines) or ["the order of the images has changed"]


def _rows(data: TaskData) -> list[tuple[str, str, str, str]]:
    return [
        (split, name, str(label), digest)
        for split, examples in data.splits.items()
        for name, label, digest in zip(examples.names, examples.labels.tolist(), examples.digests, strict=True)
    ]
