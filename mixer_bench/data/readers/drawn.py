"""Splits that are not given are drawn by class with a fixed seed, and the description says so."""

from __future__ import annotations

from collections.abc import Mapping

from mixer_bench.data.rows import Read, Rows
from mixer_bench.errors import DataError
from mixer_bench.task import splits

SHARES = (0.6, 0.2, 0.2)  # of train, val and test where nothing is given
VAL_SHARE = 0.2  # of train where only test is given
SEED = 0
VAL_NAMES = ("val", "valid", "validation")


def completed(given: Mapping[str, Rows], class_names: tuple[str, ...], what: str) -> Read:
    """Train, val and test, of what is given.

    One split alone, whatever its name, is divided in three. Without test, val is the test split, as in ImageNet's own
    layout, and val is drawn from train.

    Args:
        given: the source's splits.
        class_names: in the order of the labels.
        what: the source in words.

    Raises:
        DataError: no train split, or a class too small to draw from.
    """
    known = [name for name in given if name in ("train", "test", *VAL_NAMES)]
    if len(given) > 1 and len(known) < len(given):
        unknown = ", ".join(repr(name) for name in given if name not in known)
        wanted = ", ".join(("train", *VAL_NAMES, "test"))
        raise DataError(f"{what}: split {unknown} is none of {wanted}; rename or remove it, or write a task file")
    if len([name for name in known if name in VAL_NAMES]) > 1:
        raise DataError(f"{what}: has more than one of the splits {', '.join(VAL_NAMES)}; keep one")
    if len(given) == 1:
        (whole,) = given.values()
        drawn = splits.stratified(whole.labels, SHARES, class_names, SEED)
        parts = {name: whole.take(indices) for name, indices in zip(("train", "val", "test"), drawn, strict=True)}
        shares = "/".join(f"{share:.0%}" for share in SHARES)
        return Read(
            parts, class_names, f"{what}; train, val, test drawn {shares} by class with seed {SEED}", drawn=True
        )
    val = next((name for name in VAL_NAMES if name in given), None)
    held_out = "test" if "test" in given else val
    if "train" not in given or held_out is None:
        raise DataError(f"{what}: has splits {', '.join(sorted(given))}; train and test (or val) are needed")
    train, test = given["train"], given[held_out]
    if val is not None and val != held_out:
        parts = {"train": train, "val": given[val], "test": test}
        return Read(parts, class_names, f"{what}; train, val and test as given")
    kept, chosen = splits.stratified(train.labels, (1 - VAL_SHARE, VAL_SHARE), class_names, SEED)
    parts = {"train": train.take(kept), "val": train.take(chosen), "test": test}
    words = f"{what}; {held_out} is test, val drawn {VAL_SHARE:.0%} of train by class with seed {SEED}"
    return Read(parts, class_names, words, drawn=True)
