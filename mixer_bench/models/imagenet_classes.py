"""ImageNet's classes: which output of a classifier stands for which of a task's."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from mixer_bench.errors import WeightsError
from mixer_bench.system import packages

COUNT = 1000
SETS = {"imagenet-1k": ("", COUNT), "imagenet-a": ("_a", 200), "imagenet-r": ("_r", 200)}  # in timm's file names
SYNSET = re.compile(r"n\d{8}")


@functools.cache
def synsets(classes: str = "imagenet-1k") -> tuple[str, ...]:
    """Return WordNet's numbers of a set of classes, in the order of classifiers' outputs (timm's tables).

    Args:
        classes: "imagenet-1k", ILSVRC-2012's 1,000; of these, "imagenet-a" and "imagenet-r", 200 each (Hendrycks et
            al. 2021).
    """
    name, count = f"imagenet{SETS[classes][0]}_synsets.txt", SETS[classes][1]
    file = packages.folder("timm") / "data/_info" / name
    names = file.read_text(encoding="utf-8").split() if file.is_file() else []
    if len(names) != count:
        raise WeightsError(f"timm has no {name} with {count} names; install timm again")
    return tuple(names)


def are_synsets(class_names: Sequence[str]) -> bool:
    """Return whether classes are named by WordNet's numbers, as ImageNet's folders are."""
    return all(SYNSET.fullmatch(name) for name in class_names)


def columns(class_names: Sequence[str], outputs: int) -> list[int]:
    """Return which output of a classifier stands for each class.

    Args:
        class_names: synsets; or, of all 1,000 classes in their order, any other names.
        outputs: how many the classifier has.

    Raises:
        WeightsError: the classifier does not tell these classes apart.
    """
    if outputs != COUNT:
        raise WeightsError(f"its classifier tells {outputs:,} classes apart, not ImageNet's {COUNT:,}")
    if not are_synsets(class_names):
        if len(class_names) != COUNT:
            raise WeightsError(f"the task's {len(class_names)} classes are not named as ImageNet's")
        return list(range(COUNT))
    place = {name: number for number, name in enumerate(synsets())}
    if unknown := [name for name in class_names if name not in place]:
        raise WeightsError(f"{unknown[0]} is none of ImageNet's {COUNT:,} classes")
    return [place[name] for name in class_names]
