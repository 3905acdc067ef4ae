"""Folders of images: class folders, or split folders of class folders. Listed without opening an image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from mixer_bench.data.decoding import SUFFIXES
from mixer_bench.data.readers.drawn import completed
from mixer_bench.data.rows import Read, Rows, Stored
from mixer_bench.errors import Absent, DataError
from mixer_bench.task.sources import FolderSource
from mixer_bench.task.task import Task, of_ones_own

LITTER = ("thumbs.db", "desktop.ini")  # what file managers leave behind, beside hidden files
FIELDS = ("file", "stem", "folder")

Layout = Literal["drawn", "splits", "flat"]


class Files(Stored):
    """Images in files below a folder."""

    def __init__(self, root: Path, names: Sequence[str], stamp: str = "") -> None:
        """Take the folder, the files' places below it, and what changes when one of them does."""
        self._root, self._names, self.stamp = root, names, stamp

    def __len__(self) -> int:
        """How many there are."""
        return len(self._names)

    def name(self, position: int) -> str:
        """The file's place below the folder."""
        return self._names[position]

    def place(self, position: int) -> str:
        """The file's whole path."""
        return str(self._root / self._names[position])

    def content(self, position: int) -> bytes:
        """The file's bytes."""
        file = f"{self._root}/{self._names[position]}"
        try:
            with open(file, "rb", buffering=0) as opened:  # noqa: PTH123  a Path would take as long as the reading
                return opened.readall()
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror})") from None

    def field(self, name: str, positions: np.ndarray) -> Sequence[object]:
        """``file`` and ``stem`` of the file's name, and the ``folder`` it lies in."""
        if name not in FIELDS:
            raise KeyError(f"no field {name!r}; a file has {', '.join(FIELDS)}")
        chosen = (self._names[int(position)].rsplit("/", 2) for position in positions)
        if name == "folder":
            return [parts[-2] if len(parts) > 1 else "" for parts in chosen]
        files = [parts[-1] for parts in chosen]
        return files if name == "file" else [file.rsplit(".", 1)[0] for file in files]


def task_of(path: Path) -> Task:
    """A task made of a folder of one's own; its name is the folder's, so that no record carries a path.

    Raises:
        DataError: nothing usable there.
    """
    path = path.resolve()
    classes(_layout(path).get("train", path))
    source = FolderSource(kind="folder", folder=str(path))
    return of_ones_own(f"folder/{path.name}", "a folder of images", source)


def read(path: Path, layout: Layout = "drawn", only: Sequence[str] = ()) -> Read:
    """The folder ``path``; see ``FolderSource`` for the layouts and ``only``, its split folders.

    Raises:
        Absent: there is no such folder.
        DataError: a class without images, one class only, a file that is no image, classes that differ by split.
    """
    if not path.is_dir():
        raise Absent(f"no folder {path}")
    if layout == "flat":
        names = classes(path)
        return Read({"train": _rows(path, names)}, names, "folder")
    if layout == "splits":
        folders = {child.name: child for child in sorted(_visible(path)) if child.is_dir()}
        folders = {name: folders[name] for name in only or folders if name in folders}
        if not folders:
            raise Absent(f"no split folders in {path}")
        names = classes(next(iter(folders.values())))
        return Read({name: _rows(folder, names) for name, folder in folders.items()}, names, "folder")
    found = _layout(path) or {"train": path}
    names = classes(found["train"])
    return completed({name: _rows(folder, names) for name, folder in found.items()}, names, "folder")


def has_splits(path: Path) -> bool:
    """Whether ``path`` holds a train folder of class folders."""
    return path.is_dir() and bool(_layout(path))


def classes(path: Path) -> tuple[str, ...]:
    """The class folders' names, in the order of the labels: of letters, or of numbers where all names are numbers.

    Raises:
        DataError: fewer than two.
    """
    names = sorted(child.name for child in _visible(path) if child.is_dir())
    if len(names) < 2:  # noqa: PLR2004
        raise DataError(f"{path}: {len(names)} class folders found; a task needs two or more")
    # ImageNet-V2 names its folders 0 .. 999; as letters, 10 would come before 2.
    return tuple(sorted(names, key=int) if all(name.isdecimal() for name in names) else names)


def _layout(path: Path) -> dict[str, Path]:
    """The split folders that are given: none, or train and one or two others."""
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder")
    train = path / "train"
    if not (train.is_dir() and any(child.is_dir() for child in _visible(train))):
        return {}
    others = {child.name: child for child in sorted(_visible(path)) if child.is_dir() and child != train}
    if not others:
        raise DataError(f"{path}: has train but neither test nor val; add one, or name the folder {train} alone")
    return {"train": train, **others}


def _visible(folder: Path) -> list[Path]:
    try:
        children = list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None
    return [c for c in children if not c.name.startswith(".") and c.name.lower() not in LITTER]


def _rows(path: Path, names: tuple[str, ...]) -> Rows:
    found = classes(path)
    if found != names:
        differing = ", ".join(sorted(set(found) ^ set(names)))
        raise DataError(f"{path}: its class folders are not those of train; they differ in {differing}")
    if strays := sorted(child.name for child in _visible(path) if not child.is_dir()):
        raise DataError(f"{path}: {strays[0]!r} lies beside the class folders; move it into one or away")
    files: list[str] = []
    labels: list[np.ndarray] = []
    stamp = hashlib.sha256(str(path).encode())
    for label, name in enumerate(names):
        before = len(files)
        for file, size, changed in sorted(_images(path, path / name)):
            files.append(f"{name}/{file}")
            stamp.update(f"{name}/{file}\n{size} {changed}\n".encode())
        if len(files) == before:
            raise DataError(f"{path / name}: class folder without images; fill or remove it")
        labels.append(np.full(len(files) - before, label, dtype=np.int64))
    return Rows.all(Files(path, files, stamp.hexdigest()), np.concatenate(labels))


def _images(root: Path, folder: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of change of each image file in ``folder``."""
    inside(folder, root)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower() in LITTER:
                    continue
                if not entry.name.isprintable() and not _is_utf8(entry.name):
                    raise DataError(f"{folder}: the name {entry.name!r} is not UTF-8; rename it")
                if not entry.is_file() or not entry.name.lower().endswith(SUFFIXES):
                    raise DataError(f"{entry.path}: not an image file ({', '.join(SUFFIXES)}); move it away")
                if entry.is_symlink():
                    inside(Path(entry.path), root)
                status = entry.stat()
                yield entry.name, status.st_size, status.st_mtime_ns
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None


def _is_utf8(name: str) -> bool:
    return not any("\udc80" <= letter <= "\udcff" for letter in name)


def stamp_of(root: Path, names: Sequence[str]) -> str:
    """What changes when one of the files ``names`` below ``root`` does: places, sizes and times of change.

    Raises:
        DataError: one is missing.
    """
    stamp = hashlib.sha256(str(root).encode())
    for name in names:
        try:
            status = os.stat(f"{root}/{name}")  # noqa: PTH116
        except OSError as error:
            raise DataError(f"{root / name}: cannot be read ({error.strerror})") from None
        stamp.update(os.fsencode(name) + f"\n{status.st_size} {status.st_mtime_ns}\n".encode())
    return stamp.hexdigest()


def inside(file: Path, root: Path) -> None:
    """Refuse what leads out of ``root``: a record's images must lie in the folder it names.

    Raises:
        DataError: ``file`` is, or lies behind, a link out of ``root``.
    """
    if not file.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{file}: leads out of {root}; put the image itself there")
