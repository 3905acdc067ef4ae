"""A folder of pictures: class folders, or train, val and test folders of class folders.

Without a test folder ``val`` is the test split, as in ImageNet's own layout, and val is drawn from train; without a
train folder all three are drawn. Draws are by class with a fixed seed, and the description says so.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from mixer_bench import splits
from mixer_bench.data.examples import Examples
from mixer_bench.data.pictures import SUFFIXES, decode
from mixer_bench.errors import DataError
from mixer_bench.task import FolderSource, SplitTable, Task

SHARES = (0.6, 0.2, 0.2)  # of train, val and test where nothing is given
VAL_SHARE = 0.2  # of train where only test is given
SEED = 0
VAL_NAMES = ("val", "valid", "validation")
LITTER = ("thumbs.db", "desktop.ini")  # what file managers leave behind, beside hidden files


class Files:
    """Pictures in files, decoded whenever asked for."""

    def __init__(self, paths: list[Path], digests: tuple[str, ...]) -> None:
        """Take the pictures' places and the SHA-256 of each one's content."""
        self._paths, self._digests = paths, digests

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._paths)

    def __getitem__(self, index: int, /) -> np.ndarray:
        """Picture ``index`` as uint8 [height, width, 3].

        Raises:
            DataError: it is no picture, or not the one it was: features must not be kept under another's name.
        """
        content = _content(self._paths[index])
        if hashlib.sha256(content).hexdigest() != self._digests[index]:
            raise DataError(f"{self._paths[index]} has changed since this run began; run again")
        return decode(content, str(self._paths[index]))


def task_of(path: Path) -> Task:
    """A task made of a folder of one's own; its name is the folder's, so that no record carries a path.

    Raises:
        DataError: nothing usable there.
    """
    path = path.resolve()
    classes = _class_folders(_layout(path).get("train", path))
    return Task(
        name=f"folder/{path.name}",
        description="a folder of pictures",
        metric="top1",
        num_classes=len(classes),
        resize="crop",
        tags=("folder",),
        version=1,
        licence="its owner's",
        splits=SplitTable(train="train", val="val", test="test"),
        sizes=None,
        source=(FolderSource(kind="folder", folder=str(path), subset="official" if _given(path) else "resampled"),),
    )


def read(path: Path) -> tuple[dict[str, Examples], tuple[str, ...], str]:
    """The splits, class names and description of the folder ``path``.

    Raises:
        FileNotFoundError: there is no such folder.
        DataError: a class without pictures, one class only, a file that is no picture, classes that differ by split.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"no folder {path}")
    layout = _layout(path)
    names = tuple(folder.name for folder in _class_folders(layout.get("train", path)))
    if not layout:
        whole = _examples(path, names)
        drawn = splits.stratified(whole.labels, SHARES, names, SEED)
        parts = {name: whole.take(indices) for name, indices in zip(("train", "val", "test"), drawn, strict=True)}
        return parts, names, f"folder; train, val, test drawn {_percent(SHARES)} by class with seed {SEED}"
    found = {name: _examples(folder, names) for name, folder in layout.items()}
    if "val" in found:
        return found, names, "folder; train, val and test as given"
    kept, val = splits.stratified(found["train"].labels, (1 - VAL_SHARE, VAL_SHARE), names, SEED)
    parts = {"train": found["train"].take(kept), "val": found["train"].take(val), "test": found["test"]}
    held_out = layout["test"].name
    return parts, names, f"folder; {held_out} is test, val drawn {VAL_SHARE:.0%} of train by class with seed {SEED}"


def read_given(path: Path) -> dict[str, Examples]:
    """The splits that are given, as they are: nothing drawn.

    Raises:
        DataError: no train folder, or as ``read``.
    """
    layout = _layout(path)
    if not layout:
        raise DataError(f"{path}: there is no train folder of class folders")
    names = tuple(folder.name for folder in _class_folders(layout["train"]))
    return {name: _examples(folder, names) for name, folder in layout.items()}


def has_splits(path: Path) -> bool:
    """Whether ``path`` holds a train folder of class folders."""
    return path.is_dir() and bool(_layout(path))


def _percent(shares: tuple[float, ...]) -> str:
    return "/".join(f"{share:.0%}" for share in shares)


def _layout(path: Path) -> dict[str, Path]:
    """The split folders that are given: none, or train and test, perhaps val."""
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder")
    train, test = path / "train", path / "test"
    if not (train.is_dir() and any(child.is_dir() for child in _visible(train))):
        return {}
    val = next((path / name for name in VAL_NAMES if (path / name).is_dir()), None)
    if test.is_dir():
        return {"train": train, "test": test} | ({"val": val} if val else {})
    if val is None:
        raise DataError(f"{path}: has train but neither test nor val; add one, or name the folder {train} alone")
    return {"train": train, "test": val}


def _given(path: Path) -> bool:
    return {"train", "val", "test"} <= _layout(path).keys()


def _class_folders(path: Path) -> list[Path]:
    folders = sorted(child for child in _visible(path) if child.is_dir())
    if len(folders) < 2:  # noqa: PLR2004
        raise DataError(f"{path}: {len(folders)} class folders found; a task needs two or more")
    return folders


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None


def _visible(folder: Path) -> list[Path]:
    try:
        children = list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None
    return [c for c in children if not c.name.startswith(".") and c.name.lower() not in LITTER]


def _examples(path: Path, names: tuple[str, ...]) -> Examples:
    found = tuple(folder.name for folder in _class_folders(path))
    if found != names:
        differing = ", ".join(sorted(set(found) ^ set(names)))
        raise DataError(f"{path}: its class folders are not those of train; they differ in {differing}")
    if strays := sorted(child.name for child in _visible(path) if not child.is_dir()):
        raise DataError(f"{path}: {strays[0]!r} lies beside the class folders; move it into one or away")
    paths, labels = [], []
    for label, name in enumerate(names):
        files = sorted(_visible(path / name))
        if not files:
            raise DataError(f"{path / name}: class folder without pictures; fill or remove it")
        for file in files:
            if not file.is_file() or file.suffix.lower() not in SUFFIXES:
                raise DataError(f"{file}: not a picture file ({', '.join(SUFFIXES)}); move it away")
        paths += files
        labels += [label] * len(files)
    digests = tuple(hashlib.sha256(_content(file)).hexdigest() for file in paths)
    relative = tuple(file.relative_to(path).as_posix() for file in paths)
    return Examples(Files(paths, digests), np.array(labels, dtype=np.int64), relative, digests)
