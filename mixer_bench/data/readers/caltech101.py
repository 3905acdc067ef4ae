"""Caltech101's images, parted as TFDS draws them (caltech101_dataset_builder.py, 4.9.9): 30 of each class to train.

One stream of random numbers goes through all classes, so the parts depend on the order in which the maker's folders
were listed where TFDS ran, which nobody wrote down.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mixer_bench.data.readers import files
from mixer_bench.data.rows import Rows
from mixer_bench.errors import DataError
from mixer_bench.task.sources import Listing

DRAWN = 30  # of each class
NO_IMAGE = "tmp"  # a file of the background class: it is drawn from like others, and then left out
BACKGROUND = "BACKGROUND_Google"
# The maker's folders that are not all in small letters: keys have their names as they are spelled there.
SPELLED = {name.lower(): name for name in (BACKGROUND, "Faces", "Faces_easy", "Leopards", "Motorbikes")}

Files = dict[str, list[str]]  # of each class, as its maker spells it


def read(data_dir: Path, listing: Listing) -> dict[str, Rows]:
    """Return train and test; the key of an image is its class and file as the maker spells them.

    Raises:
        DataError: the background class is not there, or a class has too few images.
    """
    root = data_dir / "caltech101/101_ObjectCategories"
    places = {}  # key -> where it lies: what another system has unpacked may be spelled otherwise
    for folder in sorted(each for each in root.iterdir() if each.is_dir() and not each.name.startswith((".", "__"))):
        spelled = SPELLED.get(folder.name.lower(), folder.name.lower())
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() == ".jpg" and not file.name.startswith("."):
                places[f"{spelled}/{file.name.lower()}"] = f"{folder.name}/{file.name}"
    held: Files = {}
    for key in places:
        held.setdefault(key.partition("/")[0], []).append(key.partition("/")[2])
    if BACKGROUND not in held:
        raise DataError(f"{root} has no {BACKGROUND}, the background class, which VTAB has; unpack the archive anew")
    if few := [name for name, of in held.items() if len(of) <= DRAWN]:
        raise DataError(f"{root / few[0]} has {len(held[few[0]])} images, {DRAWN} are drawn of it; unpack it anew")
    label_of = {name: label for label, name in enumerate(sorted(held, key=str.lower))}
    splits = {}
    for split, keys in parted(held, listing).items():
        stored = files.stored(root, [places[key] for key in keys])
        labels = [label_of[key.partition("/")[0]] for key in keys]
        splits[split] = Rows.all(replace(stored, fields=files.fields(keys)), labels)
    return splits


def parted(held: Files, listing: Listing) -> dict[str, list[str]]:
    """Return the keys of train and test, not in TFDS's order yet.

    Args:
        held: the images of each class.
        listing: the order of folders and files that is drawn along.
    """
    generator = np.random.RandomState(1234)
    splits: dict[str, list[str]] = {"train": [], "test": []}
    order = str.lower if listing == "case-insensitive" else None
    for folder in sorted(held, key=order):
        listed = sorted([*held[folder], *([NO_IMAGE] if folder == BACKGROUND else [])])
        drawn = set(generator.choice(listed, DRAWN, replace=False).tolist())
        for name in held[folder]:
            splits["train" if name in drawn else "test"].append(f"{folder}/{name}")
    return splits
