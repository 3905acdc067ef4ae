"""Image files that a user names: files as they are, folders with all that is below them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mixer_bench.data.decoding import SUFFIXES
from mixer_bench.data.readers.folder import is_litter
from mixer_bench.errors import DataError


@dataclass
class Listing:
    """Files to look at, in order, and a line for each place that was left out."""

    files: list[str]
    remarks: list[str]


def listed(places: Iterable[str]) -> Listing:
    """Return the files that are named, and of folders those with an image's suffix, sorted by name.

    Links to folders are not followed: they may lead in a circle.

    Raises:
        DataError: there are none.
    """
    found = Listing([], [])
    for place in places:
        if Path(place).is_dir():
            before = len(found.files)
            _below(place, found)
            if len(found.files) == before:
                found.remarks.append(f"{place}: there is no image in this folder")
        else:
            found.files.append(place)
    if not found.files:
        raise DataError("; ".join([*found.remarks, "there are no images to predict"]))
    return found


def _below(place: str, into: Listing) -> None:
    unreadable: list[OSError] = []
    strays = 0
    for folder, folders, names in os.walk(place, onerror=unreadable.append):
        folders[:] = sorted(name for name in folders if not is_litter(name))
        links = [Path(folder, name) for name in folders if Path(folder, name).is_symlink()]
        into.remarks += [f"{link}: a link to a folder; not followed" for link in links]
        seen = sorted(name for name in names if not is_litter(name))
        images = [name for name in seen if name.lower().endswith(SUFFIXES)]
        into.files.extend(str(Path(folder, name)) for name in images)
        strays += len(seen) - len(images)
    into.files += [str(error.filename) for error in unreadable]  # where an image is asked for, it is named as one
    if strays:
        into.remarks.append(f"{place}: {strays} files left out that are no images by name")
