"""All that is wrong with a folder of images of one's own, at once, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mixer_bench.data.decoding import pool
from mixer_bench.data.readers import files, folder
from mixer_bench.data.readers.sound import faults_of, shortened
from mixer_bench.data.rows import Rows
from mixer_bench.errors import DataError
from mixer_bench.system.files import sha256
from mixer_bench.system.grouping import grouped

FEW = 10  # images of a class, below which its accuracy is a guess
UNEVEN = 10  # times as many images as the rarest class has
SAMPLED = 1000  # images whose sizes are read


class Inspected(NamedTuple):
    """What a person must mend, and what they should know."""

    problems: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    avoidable: bool = False  # some are of images that can be left out


class _Split(NamedTuple):
    """Class folders with the names of their image files."""

    path: Path
    classes: Mapping[str, Sequence[str]]

    @property
    def places(self) -> list[str]:
        return [f"{name}/{image}" for name, images in self.classes.items() for image in images]


def inspect(path: Path, *, skip_bad: bool = False, follow_links: bool = False) -> Inspected:
    """Look at every class folder and image below ``path``.

    Args:
        path: class folders, or train, test and perhaps val with class folders each.
        skip_bad: images that cannot be decoded or are in two splits will be left out, and are no problem.
        follow_links: images behind links out of the folder will be taken.

    Raises:
        DataError: there is no such folder, or it cannot be read.
    """
    try:
        given = folder.given_splits(path)
    except DataError as error:
        if not path.is_dir():
            raise
        return Inspected((str(error),))  # of another layout nothing else can be said
    problems: list[str] = []
    bad: list[str] = []
    splits = {name: _listed(place, problems) for name, place in (given or {"": path}).items()}
    first = splits.get("train", next(iter(splits.values())))
    problems += _too_few(first, 1 + (len(splits) < 3) + (not given))  # noqa: PLR2004  three splits need one each
    for split in splits.values():
        problems += _other_classes(first, split)
        bad += _unreadable(split, skip_bad, enclosed=not follow_links)
    bad += [] if skip_bad else _twice([*splits.values()])
    return Inspected((*problems, *bad), tuple(_remarks(first)), bool(bad))


def _listed(path: Path, problems: list[str]) -> _Split:
    classes = {}
    for child in folder.visible(path):
        if child.is_dir():
            images, _, wrong = folder.files_of(child)
            problems += wrong
            classes[child.name] = images
    return _Split(path, classes)


def _too_few(split: _Split, needed: int) -> Iterator[str]:
    if not split.classes:
        yield f"{split.path}: no class folders; sort the images into one folder a class"
    if len(split.classes) == 1:
        yield f"{split.path}: one class alone, {next(iter(split.classes))}; add a folder with images of another"
    for name, images in split.classes.items():
        if 0 < len(images) < needed:
            told = f"{len(images)} image{'s' * (len(images) > 1)} of class {name}"
            yield f"{split.path / name}: {told}, {needed} or more are needed: add some, or take the class out"


def _other_classes(first: _Split, split: _Split) -> Iterator[str]:
    if differing := sorted(first.classes.keys() ^ split.classes.keys()):
        yield f"{split.path}: its class folders are not those of {first.path}; they differ in {', '.join(differing)}"


def _unreadable(split: _Split, skip_bad: bool, *, enclosed: bool) -> Iterator[str]:
    """Give why images cannot be read; of files that are as they were before, what was noted then."""
    try:
        stored = files.stored(split.path, split.places, enclosed=enclosed, lenient=True)
    except DataError as error:
        yield str(error)
        return
    faults = faults_of(Rows.all(stored, np.zeros(len(split.places), np.int64)))
    yield from () if skip_bad else faults.values()


def _twice(splits: Sequence[_Split]) -> Iterator[str]:
    """Give images that are there twice, byte for byte, under two classes or in two given splits."""
    every = [(split, place) for split in splits for place in split.places]

    def digest(number: int) -> str:
        split, place = every[number]
        try:
            return sha256(split.path / place)
        except OSError:  # told already
            return f"{number}"

    digests = [*pool().map(digest, range(len(every)))]
    for numbers in grouped(range(len(every)), digests.__getitem__).values():
        held = [every[number] for number in numbers]
        if len({(str(split.path), place.partition("/")[0]) for split, place in held}) > 1:
            names = ", ".join(str(split.path / place) for split, place in held)
            yield f"the same image under two classes or in two splits; keep one: {names}"


def _remarks(split: _Split) -> Iterator[str]:
    """Give what is no fault of the images: how many, how even, of which sizes."""
    counts = {name: len(images) for name, images in split.classes.items() if images}
    if few := [f"{name} ({count})" for name, count in counts.items() if count < FEW]:
        yield f"fewer than {FEW} images: {shortened(few)}; accuracy of these classes is a guess"
    if counts and max(counts.values()) > UNEVEN * min(counts.values()):
        rare, common = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        told = f"{counts[common]:,} images of {common}, {counts[rare]:,} of {rare}"
        yield f"uneven classes: {told}; look at accuracy by class"
    places = split.places
    chosen = np.linspace(0, len(places) - 1, min(SAMPLED, len(places))).astype(int).tolist()
    sizes = {size for size in pool().map(lambda number: _size(split.path / places[number]), chosen) if size}
    if len(sizes) > 1:
        small, large = (by(sizes, key=lambda size: size[0] * size[1]) for by in (min, max))
        told = f"{small[0]} x {small[1]} to {large[0]} x {large[1]} px"
        yield f"images of {len(sizes)} sizes, {told}: each is brought to what a model takes, its middle cut out"


def _size(file: Path) -> tuple[int, int] | None:
    if not file.is_file():  # to open a pipe would take for ever
        return None
    try:
        with Image.open(file) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # told already, of those decoded
        return None
