"""ImageNet's reassessed labels (ReaL): which classes are right for each validation image.

Beyer et al. 2020, "Are we done with ImageNet?"; the list is the real.json of google-research/reassessed-imagenet,
which ships inside timm, ordered by the validation images' numbers.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import replace

from mixer_bench.data.examples import TaskData
from mixer_bench.errors import DataError
from mixer_bench.system import packages

NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})")
LISTED = 50_000


def with_accepted_labels(data: TaskData) -> TaskData:
    """Return ``data`` with the accepted classes of each test image.

    They go by the image's number, which only its file's name tells: data without those names are left as they are,
    with words that say so, since the order of rows proves nothing.
    """
    numbers = [int(match[1]) for name in data.test.names if (match := NUMBER.search(name))]
    if len(numbers) < len(data.test) or not all(1 <= number <= LISTED for number in numbers):
        return replace(data, source=f"{data.source}; no ReaL score: the rows carry no names of validation files")
    lists = _lists()
    return replace(data, accepted=tuple(lists[number - 1] for number in numbers))


@functools.cache
def _lists() -> tuple[tuple[int, ...], ...]:
    file = packages.folder("timm") / "data/_info/imagenet_real_labels.json"
    if file.is_file() and len(lists := json.loads(file.read_bytes())) == LISTED:
        return tuple(tuple(accepted) for accepted in lists)
    raise DataError(f"timm has no imagenet_real_labels.json with {LISTED} lists; install timm again")
