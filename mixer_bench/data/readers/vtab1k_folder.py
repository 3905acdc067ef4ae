"""The VTAB-1k folder of NOAH's script (get_vtab1k.py), as SSF, FacT and RepAdapter use it, or its zip.

``vtab-1k/<task>/{train800,val200,train800val200,test}.txt`` with lines ``images/train800/000000.jpg 307``. Nothing is
unpacked: images are read from the zip.
"""

from __future__ import annotations

import functools
import hashlib
import lzma
import os
import stat
import zipfile
import zlib
from pathlib import Path

from mixer_bench.data.readers.folder import Files, inside
from mixer_bench.data.rows import Read, Rows, Stored
from mixer_bench.errors import Absent, DataError

_DAMAGED = (zlib.error, lzma.LZMAError, zipfile.BadZipFile)
FOLDER, ARCHIVE = "vtab-1k", "vtab-1k.zip"
LISTS = ("train800", "val200", "test")


class Members(Stored):
    """Images in a zip."""

    def __init__(self, archive: zipfile.ZipFile, names: list[str], stamp: str) -> None:
        """Take the open archive, its members, and what changes when the archive does."""
        self._archive, self._names, self.stamp = archive, names, stamp

    def __len__(self) -> int:
        """How many there are."""
        return len(self._names)

    def name(self, position: int) -> str:
        """The member's name."""
        return self._names[position]

    def content(self, position: int) -> bytes:
        """The member's bytes."""
        return _member(self._archive, self._names[position])


def read(data_dir: Path, task: str) -> Read:
    """The three lists of ``task``.

    Args:
        data_dir: holds ``vtab-1k/`` or ``vtab-1k.zip``.
        task: the folder's name, e.g. ``oxford_iiit_pet``.

    Raises:
        Absent: neither is there, or it lacks this task.
        DataError: a list or an image is missing, twice, damaged, or leads out of the folder.
    """
    root = data_dir / FOLDER / task
    if root.is_dir():
        splits = {name: _from_folder(root, name) for name in LISTS}
        return Read(splits, None, f"VTAB-1k folder, {task}")
    if (data_dir / ARCHIVE).is_file():
        return Read(_from_zip(data_dir / ARCHIVE, task), None, f"{ARCHIVE}, {task}")
    raise Absent(f"neither {root} nor {data_dir / ARCHIVE}")


def _from_folder(root: Path, name: str) -> Rows:
    file = root / f"{name}.txt"
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from None
    paths, labels = _parsed(text, str(file))
    for folder in {path.rpartition("/")[0] for path in paths}:
        inside(root / folder, root)
    stamp = hashlib.sha256(f"{root}\n{text}".encode())
    for line, path in enumerate(paths, 1):
        image = f"{root}/{path}"  # 400,000 of these in all: a Path each would take longer than asking the disk
        try:
            status = os.lstat(image)
            if stat.S_ISLNK(status.st_mode):
                inside(Path(image), root)
                status = os.stat(image)  # noqa: PTH116
        except (OSError, ValueError) as error:  # the latter for a NUL in the name
            reason = error.strerror if isinstance(error, OSError) else error
            raise DataError(f"{file}, line {line}: {path} cannot be read ({reason})") from None
        stamp.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
    return Rows.all(Files(root, paths, stamp.hexdigest()), labels)


def _from_zip(file: Path, task: str) -> dict[str, Rows]:
    status = file.stat()
    archive = _opened(file, status.st_size, status.st_mtime_ns)
    members = archive.NameToInfo
    top = next((prefix for prefix in (f"{FOLDER}/{task}/", f"{task}/") if f"{prefix}test.txt" in members), None)
    if top is None:
        raise Absent(f"{file} has no {task}/test.txt")
    splits = {}
    for name in LISTS:
        if f"{top}{name}.txt" not in members:
            raise DataError(f"{file} has no {top}{name}.txt")
        text = _member(archive, f"{top}{name}.txt").decode("utf-8", errors="replace")
        paths, labels = _parsed(text, f"{file}, {top}{name}.txt")
        full = [top + path for path in paths]
        for line, path in enumerate(full, 1):
            if path not in members:
                raise DataError(f"{file}, {top}{name}.txt, line {line}: there is no {path}")
        stamp = hashlib.sha256(
            f"{file} {status.st_size} {status.st_mtime_ns}\n{top}{name}\n{text}".encode()
        ).hexdigest()
        splits[name] = Rows.all(Members(archive, full, stamp), labels)
    return splits


@functools.lru_cache(maxsize=1)
def _opened(file: Path, size: int, changed: int) -> zipfile.ZipFile:
    """The archive, its directory read and checked once for all tasks."""
    del size, changed  # they tell one state of the file from another
    try:
        archive = zipfile.ZipFile(file)
    except (OSError, NotImplementedError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: not a whole zip ({error}); fetch it again") from None
    for info in archive.infolist():
        _check_place(info.filename, f"{file}, member {info.filename!r}")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DataError(f"{file}, member {info.filename!r}: a link; this zip holds images and lists only")
    return archive


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, *_DAMAGED) as error:  # RuntimeError: encrypted
        raise DataError(f"{archive.filename}, member {name!r}: damaged ({error}); fetch it again") from None


def _parsed(text: str, where: str) -> tuple[list[str], list[int]]:
    """Paths and labels of a list; a path that leaves the folder or comes twice is refused by line."""
    paths: list[str] = []
    labels: list[int] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        path, _, label = line.rpartition(" ")
        if not path or not label.isdecimal():
            raise DataError(f"{where}, line {number}: {line!r} is not of the form 'images/test/000000.jpg 7'")
        _check_place(path, f"{where}, line {number}")
        if path in seen:
            raise DataError(f"{where}, line {number}: {path} is in line {seen[path]} already")
        seen[path] = number
        paths.append(path)
        labels.append(int(label))
    if not paths:
        raise DataError(f"{where}: the list is empty")
    return paths, labels


def _check_place(path: str, where: str) -> None:
    parts = path.replace("\\", "/").split("/")
    if not parts[0] or ".." in parts:
        raise DataError(f"{where}: {path} leads out of the folder")
