"""Folders of images: class folders, or split folders of class folders. Listed without opening an image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mixer_bench.data.decoding import SUFFIXES
from mixer_bench.data.readers import files
from mixer_bench.data.readers.drawn import completed
from mixer_bench.data.rows import Read, Rows
from mixer_bench.errors import Absent, DataError
from mixer_bench.task.sources import FolderSource
from mixer_bench.task.task import Task, of_ones_own

LITTER = ("thumbs.db", "desktop.ini")  # what file managers leave behind, beside hidden files


def task_of(path: Path) -> Task:
    """Return a task made of a folder of one's own; its name is the folder's, so that no record carries a path.

    Raises:
        DataError: nothing usable there.
    """
    path = path.resolve()
    classes(_given_splits(path).get("train", path))
    source = FolderSource(kind="folder", folder=str(path))
    return of_ones_own(f"folder/{path.name}", "a folder of images", source)


def read(source: FolderSource, data_dir: Path) -> Read:
    """Return the splits in ``data_dir / source.folder``; see ``FolderSource`` for the layouts.

    Raises:
        Absent: there is no such folder.
        DataError: a class without images, one class only, a file that is no image, classes that differ by split.
    """
    path = data_dir / source.folder
    if not path.is_dir():
        raise Absent(f"no folder {path}")
    if source.layout == "splits":
        folders = {child.name: child for child in _visible(path) if child.is_dir()}
        folders = {name: folders[name] for name in source.folders or folders if name in folders}
        if not folders:
            raise Absent(f"no split folders in {path}")
    else:
        folders = (_given_splits(path) if source.layout == "drawn" else {}) or {"train": path}
    names = classes(folders.get("train", next(iter(folders.values()))))
    splits = {name: _rows(folder, names) for name, folder in folders.items()}
    return completed(splits, names, "folder") if source.layout == "drawn" else Read(splits, names, "folder")


def has_splits(path: Path) -> bool:
    """Return whether ``path`` holds a train folder of class folders."""
    return path.is_dir() and bool(_given_splits(path))


def classes(path: Path) -> tuple[str, ...]:
    """Return the class folders' names in the labels' order: of letters, or of numbers where all names are numbers.

    Raises:
        DataError: fewer than two.
    """
    names = [child.name for child in _visible(path) if child.is_dir()]
    if len(names) < 2:  # noqa: PLR2004
        raise DataError(f"{path}: {len(names)} class folders found; a task needs two or more")
    return numbered(names)


def numbered(names: list[str]) -> tuple[str, ...]:
    """Return the names of classes in the labels' order.

    ImageNet-V2 calls its folders 0 .. 999: as letters, 10 would come before 2.
    """
    return tuple(sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names))


def _given_splits(path: Path) -> dict[str, Path]:
    """Return the split folders that are given: none, or train and one or two others."""
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder")
    train = path / "train"
    if not (train.is_dir() and any(child.is_dir() for child in _visible(train))):
        return {}
    others = {child.name: child for child in _visible(path) if child.is_dir() and child != train}
    if not others:
        raise DataError(f"{path}: has train but neither test nor val; add one, or name the folder {train} alone")
    return {"train": train, **others}


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if not _is_litter(child.name))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None


def _rows(path: Path, names: tuple[str, ...]) -> Rows:
    if (here := classes(path)) != names:
        differing = ", ".join(sorted(set(here) ^ set(names)))
        raise DataError(f"{path}: its class folders are not those of train; they differ in {differing}")
    if strays := [child.name for child in _visible(path) if not child.is_dir()]:
        raise DataError(f"{path}: {strays[0]!r} lies beside the class folders; move it into one or away")
    images = [sorted(_images(path / name)) for name in names]
    for name, of_class in zip(names, images, strict=True):
        if not of_class:
            raise DataError(f"{path / name}: class folder without images; fill or remove it")
    places = [f"{name}/{file}" for name, of_class in zip(names, images, strict=True) for file in of_class]
    return Rows.all(files.stored(path, places), np.repeat(np.arange(len(names)), [len(part) for part in images]))


def _images(folder: Path) -> Iterator[str]:
    """Yield the name of each image file in ``folder``."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_litter(entry.name):
                    continue
                # Bytes that are no UTF-8 arrive as lone surrogates, which no record could be written with.
                if not entry.name.isprintable() and any("\udc80" <= letter <= "\udcff" for letter in entry.name):
                    raise DataError(f"{folder}: the name {entry.name!r} is not UTF-8; rename it")
                if not entry.is_file() or not entry.name.lower().endswith(SUFFIXES):
                    raise DataError(f"{entry.path}: not an image file ({', '.join(SUFFIXES)}); move it away")
                yield entry.name
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None
