"""Splits that are not given are drawn by class with a fixed seed, and the description says so."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mixer_bench.data.rows import Read, Rows
from mixer_bench.errors import DataError
from mixer_bench.task import splits

SHARES = (0.6, 0.2, 0.2)  # of train, val and test where nothing is given
VAL_SHARE = 0.2  # of train where only test is given
SEED = 0
VAL_NAMES = ("val", "valid", "validation")
KNOWN = ("train", *VAL_NAMES, "test")


def completed(given: Mapping[str, Rows], class_names: tuple[str, ...], what: str) -> Read:
    """Return train, val and test, of what is given.

    One split alone, whatever its name, is divided in three. Without test, val is the test split, as in ImageNet's own
    layout, and val is drawn from train. ``what`` is the source in words.

    Raises:
        DataError: no train split, a class that it lacks or that is too small to draw from, or an image whose class is
            not told.
    """
    for name, rows in given.items():
        rows.check_told(f"{what}, split {name!r}")
    if len(given) == 1:
        (whole,) = given.values()
        drawn = splits.stratified(whole.labels, SHARES, class_names, SEED)
        parts = {name: whole.take(indices) for name, indices in zip(("train", "val", "test"), drawn, strict=True)}
        shares = "/".join(f"{share:.0%}" for share in SHARES)
        words = f"{what}; train, val, test drawn {shares} by class with seed {SEED}"
        return Read(parts, class_names, words, drawn=True)
    if unknown := ", ".join(repr(name) for name in given if name not in KNOWN):
        raise DataError(
            f"{what}: split {unknown} is none of {', '.join(KNOWN)}; rename or remove it, or write a task file"
        )
    val_names = [name for name in VAL_NAMES if name in given]
    if len(val_names) > 1:
        raise DataError(f"{what}: has more than one of the splits {', '.join(VAL_NAMES)}; keep one")
    if "train" not in given:
        raise DataError(f"{what}: has splits {', '.join(sorted(given))}; train and test (or val) are needed")
    train = given["train"]
    for name, rows in given.items():
        if len(unseen := np.setdiff1d(rows.labels, train.labels)):
            told = f"class {class_names[unseen[0]]!r} has images in {name} and none in train"
            raise DataError(f"{what}: {told}: nobody could learn it; add some, or take it out")
    if val_names and "test" in given:
        parts = {"train": train, "val": given[val_names[0]], "test": given["test"]}
        return Read(parts, class_names, f"{what}; train, val and test as given")
    held_out = "test" if "test" in given else val_names[0]
    kept, chosen = splits.stratified(train.labels, (1 - VAL_SHARE, VAL_SHARE), class_names, SEED)
    parts = {"train": train.take(kept), "val": train.take(chosen), "test": given[held_out]}
    words = f"{what}; {held_out} is test, val drawn {VAL_SHARE:.0%} of train by class with seed {SEED}"
    return Read(parts, class_names, words, drawn=True)
