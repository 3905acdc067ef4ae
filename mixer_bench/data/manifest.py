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

HOW = {"skip_bad", "follow_links"}  # how a source is read, not which it is
COLUMNS = ("split", "name", "label", "sha256")


def place(task: str, source: Source, data_dir: Path) -> Path:
    """Return where the manifest of a task's source in a data folder lies: ``COLUMNS`` of each image, CSV."""
    anywhere = source.kind == "embedded" or (source.kind == "hub" and not (data_dir / source.repo).is_dir())
    where = "" if anywhere else str(data_dir.resolve())
    identity = hashlib.sha256(f"{where}\n{source.model_dump_json(exclude=HOW)}".encode()).hexdigest()[:12]
    return paths.cache_dir() / "manifests" / task / f"{source.kind}-{identity}.csv"


def write(task: str, source: Source, data: TaskData, data_dir: Path) -> Path:
    """Note every image of ``data`` and return where.

    Raises:
        DataError: the cache folder cannot be written.
    """
    file = place(task, source, data_dir)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *_rows(data)])
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
        heading, *then = map(tuple, csv.reader(io.StringIO(file.read_text(encoding="utf-8"))))
        if heading != COLUMNS:
            raise ValueError(f"its columns are {', '.join(heading)}")
        before = {(split, name): (label, digest) for split, name, label, digest in then}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{file}: is no whole manifest; prepare the task again ({error})") from None
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


def _rows(data: TaskData) -> list[tuple[str, ...]]:
    return [
        (split, name, str(label), digest)
        for split, examples in data.splits.items()
        for name, label, digest in zip(examples.names, examples.labels.tolist(), examples.digests, strict=True)
    ]
