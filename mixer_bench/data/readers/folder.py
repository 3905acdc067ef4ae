"""Folders of images: class folders, or split folders of class folders. Listed without opening an image."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mixer_bench.data.decoding import SUFFIXES
from mixer_bench.data.readers import files
from mixer_bench.data.readers.drawn import completed
from mixer_bench.data.readers.sound import refuse, shortened, sound
from mixer_bench.data.rows import Read, Rows
from mixer_bench.errors import Absent, DataError
from mixer_bench.system.paths import real
from mixer_bench.task.sources import FolderSource
from mixer_bench.task.task import Task, of_ones_own

# What file managers, archive tools, discs and Python leave behind, in small letters, beside hidden files.
LITTER = (
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "__pycache__",
)
LONG = 20  # characters that no number of a class has
SPLIT_WORDS = ("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval")


def task_of(path: Path) -> Task:
    """Return a task made of a folder of one's own; its name is the folder's, so that no record carries a path.

    Raises:
        DataError: nothing usable there.
    """
    path = real(path)
    classes(given_splits(path).get("train", path))
    source = FolderSource(kind="folder", folder=str(path))
    return of_ones_own(f"folder/{path.name}", "a folder of images", source)


def read(source: FolderSource, data_dir: Path) -> Read:
    """Return the splits in ``data_dir / source.folder``; see ``FolderSource`` for the layouts.

    Raises:
        Absent: there is no such folder.
        DataError: a class without images, one class only, classes that differ by split; and, of images of one's own,
            those that cannot be decoded.
    """
    path = data_dir / source.folder
    if not path.is_dir():
        raise Absent(f"no folder {path}")
    if source.layout == "splits":
        folders = {child.name: child for child in visible(path) if child.is_dir()}
        folders = {name: folders[name] for name in source.folders or folders if name in folders}
        if not folders:
            raise Absent(f"no split folders in {path}")
    else:
        folders = (given_splits(path) if source.layout == "drawn" else {}) or {"train": path}
    names = classes(folders.get("train", next(iter(folders.values()))))
    listings = {name: _listed(folder, names, source) for name, folder in folders.items()}
    splits = {name: listing.rows for name, listing in listings.items()}
    problems = [problem for listing in listings.values() for problem in listing.problems]
    strays = [stray for listing in listings.values() for stray in listing.strays]
    words = f"; {len(strays)} files left out that are no images by name: {shortened(strays)}" if strays else ""
    if source.layout == "drawn":
        splits, words = sound(splits, "folder" + words, source.skip_bad, problems)
        return completed(splits, names, words)
    refuse(problems)
    return Read(splits, names, "folder" + words)


def has_splits(path: Path) -> bool:
    """Return whether ``path`` holds a train folder of class folders."""
    return path.is_dir() and bool(given_splits(path))


def classes(path: Path) -> tuple[str, ...]:
    """Return the class folders' names in the labels' order: of letters, or of numbers where all names are numbers.

    Raises:
        DataError: fewer than two.
    """
    names = [child.name for child in visible(path) if child.is_dir()]
    if len(names) < 2:  # noqa: PLR2004
        raise DataError(f"{path}: {len(names)} class folder{'s' * (len(names) != 1)} found; a task needs two or more")
    return numbered(names)


def numbered(names: list[str]) -> tuple[str, ...]:
    """Return the names of classes in the labels' order.

    ImageNet-V2 calls its folders 0 .. 999: as letters, 10 would come before 2.
    """
    return tuple(
        sorted(names, key=int) if all(name.isdecimal() and len(name) < LONG for name in names) else sorted(names)
    )


def given_splits(path: Path) -> dict[str, Path]:
    """Return the split folders that are given: none, or train and one or two others; DataError for other layouts."""
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder")
    train = path / "train"
    if not (train.is_dir() and any(child.is_dir() for child in visible(train))):
        _refuse_other_layouts(path)
        return {}
    others = {child.name: child for child in visible(path) if child.is_dir() and child != train}
    if not others:
        raise DataError(f"{path}: has train but neither test nor val; add one, or name the folder {train} alone")
    return {"train": train, **others}


def _refuse_other_layouts(path: Path) -> None:
    """Refuse ``Training`` and ``Testing``, and one folder of class folders: as classes they would hold no images."""
    children = [child for child in visible(path) if child.is_dir()]
    of_folders = [child for child in children if any(grandchild.is_dir() for grandchild in visible(child))]
    splits = [child.name for child in of_folders if child.name.lower() in SPLIT_WORDS]
    if len(splits) > 1:
        raise DataError(f"{path}: {', '.join(splits)} look like splits; name them train and test (and val)")
    if splits:
        raise DataError(f"{path}: has {splits[0]} and none of the other splits; add them, or name {path / splits[0]}")
    if len(children) == 1 and of_folders:
        raise DataError(f"{path}: holds one folder, {children[0].name}, with folders in it; name {children[0]}")


def is_litter(name: str) -> bool:
    """Return whether a file or folder of that name is hidden, or left behind by a program."""
    return name.startswith(".") or name.lower() in LITTER


def visible(folder: Path) -> list[Path]:
    """Return what lies in a folder, by name, without what is hidden or litter; DataError where it cannot be read."""
    try:
        return sorted(child for child in folder.iterdir() if not is_litter(child.name))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None


@dataclass(frozen=True)
class _Listing:
    """What lies in a folder of class folders."""

    rows: Rows
    strays: tuple[str, ...]  # files that are no images by name
    problems: tuple[str, ...]


def _listed(path: Path, names: tuple[str, ...], source: FolderSource) -> _Listing:
    if (here := classes(path)) != names:
        differing = ", ".join(sorted(set(here) ^ set(names)))
        raise DataError(f"{path}: its class folders are not those of train; they differ in {differing}")
    strays = [child.name for child in visible(path) if not child.is_dir()]
    problems, places, labels = [], [], []
    for label, name in enumerate(names):
        images, others, wrong = files_of(path / name)
        strays += [f"{name}/{other}" for other in others]
        problems += wrong
        places += [f"{name}/{image}" for image in images]
        labels += [label] * len(images)
    stored = files.stored(path, places, enclosed=not source.follow_links, lenient=source.layout == "drawn")
    return _Listing(Rows.all(stored, labels), tuple(strays), tuple(problems))


def files_of(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Return the names of the image files in ``folder``, in order, those of other files, and what is wrong."""
    images: list[str] = []
    others: list[str] = []
    problems: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_litter(entry.name):
                    continue
                # Bytes that are no UTF-8 arrive as lone surrogates, which no record could be written with.
                if not entry.name.isprintable() and any("\udc80" <= letter <= "\udcff" for letter in entry.name):
                    problems.append(f"{folder}: the name {entry.name!r} is not UTF-8; rename it")
                elif entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and Path(entry.path).is_dir()):
                    problems.append(f"{entry.path}: a folder in a class folder; move its images up, or it away")
                else:
                    (images if entry.name.lower().endswith(SUFFIXES) else others).append(entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None
    if not images and not problems:
        names = f": {shortened(sorted(others))} end in none of {', '.join(SUFFIXES)}" if others else ""
        problems.append(f"{folder}: class folder without images{names}; fill or remove it")
    return sorted(images), sorted(others), problems
