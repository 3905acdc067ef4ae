"""The VTAB-1k folder of NOAH's script (get_vtab1k.py), as SSF, FacT and RepAdapter use it, or its zip.

``vtab-1k/<task>/{train800,val200,train800val200,test}.txt`` with lines ``images/train800/000000.jpg 307``. Nothing is
unpacked: images are read from the zip.
"""

from __future__ import annotations

from pathlib import Path

from mixer_bench.data.readers import files, zipped
from mixer_bench.data.rows import Read, Rows
from mixer_bench.errors import Absent, DataError
from mixer_bench.system.files import read as read_file
from mixer_bench.system.schema import brief
from mixer_bench.task.sources import Vtab1kFolderSource

FOLDER, ARCHIVE = "vtab-1k", "vtab-1k.zip"
DIGITS = 9  # of a label at most
LISTS = ("train800", "val200", "test")


def read(source: Vtab1kFolderSource, data_dir: Path) -> Read:
    """Return the three lists of the task ``source.folder`` in ``vtab-1k/`` or ``vtab-1k.zip`` below ``data_dir``.

    Raises:
        Absent: neither is there, or it lacks this task.
        DataError: a list or an image is missing, twice, damaged, or leads out of the folder.
    """
    task, root, archive = source.folder, data_dir / FOLDER / source.folder, data_dir / ARCHIVE
    if root.is_dir():
        return Read({name: _from_folder(root, name) for name in LISTS}, None, f"VTAB-1k folder, {task}")
    if archive.is_file():
        return Read(_from_zip(archive, task), None, f"{ARCHIVE}, {task}")
    raise Absent(f"neither {root} nor {archive}")


def _from_folder(root: Path, name: str) -> Rows:
    file = root / f"{name}.txt"
    try:
        text = read_file(file).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{file}: cannot be read ({reason})") from None
    names, labels = _parsed(text, str(file))
    return Rows.all(files.stored(root, names, f"{file}, line"), labels)


def _from_zip(file: Path, task: str) -> dict[str, Rows]:
    archive = zipped.opened(file)
    members = archive.NameToInfo
    top = next((prefix for prefix in (f"{FOLDER}/{task}/", f"{task}/") if f"{prefix}test.txt" in members), None)
    if top is None:
        raise Absent(f"{file} has no {task}/test.txt")
    splits = {}
    for name in LISTS:
        listing = f"{top}{name}.txt"
        text = zipped.member(archive, listing).decode("utf-8", errors="replace")
        below, labels = _parsed(text, f"{file}, {listing}")
        names = [top + place for place in below]
        for line, place in enumerate(names, 1):
            if place not in members:
                raise DataError(f"{file}, {listing}, line {line}: there is no {place}")
        splits[name] = Rows.all(zipped.stored(archive, names, f"{listing}\n{text}"), labels)
    return splits


def _parsed(text: str, file: str) -> tuple[list[str], list[int]]:
    """Return the places and labels of a list."""
    rows = [line.rpartition(" ") for line in text.splitlines()]
    for number, (place, blank, label) in enumerate(rows, 1):
        if not place or not label.isdecimal() or len(label) > DIGITS:
            line = brief(place + blank + label)
            raise DataError(f"{file}, line {number}: {line} is not of the form 'images/test/000000.jpg 7'")
    if not rows:
        raise DataError(f"{file}: the list is empty")
    names = [place for place, _, _ in rows]
    files.check_listed(names, f"{file}, line")
    return names, [int(label) for _, _, label in rows]
