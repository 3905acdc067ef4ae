"""Whether a source's images have the size of the published ones: a copy made smaller would pass for them otherwise."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import numpy as np

from mixer_bench.data.decoding import pool
from mixer_bench.data.rows import Rows
from mixer_bench.task.task import Task

LOOKED_AT = 8  # images of each split


def looked_at(count: int) -> list[int]:
    """Return the rows of a split that stand for all of its ``count``, spread evenly; none where it has none."""
    rows: list[int] = np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(int)).tolist()
    return rows


def said(task: Task, held: Iterable[Rows]) -> str:
    """Return in words that images have another size than the published ones; nothing where that is not so or not known.

    Raises:
        DataError: an image cannot be read or decoded.
    """
    looked = [(rows, row) for rows in held for row in looked_at(len(rows))] if task.pixels else []
    if task.pixels is None or not looked:
        return ""
    least, most = task.pixels
    median = statistics.median_low(pool().map(lambda image: _pixels(*image), looked))
    if least <= median <= most:
        return ""
    published = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return (
        "its images have another size than the published ones: "
        f"half of those looked at have {median:,} pixels or less, not {published}"
    )


def _pixels(rows: Rows, row: int) -> int:
    image = rows.stored.decode(rows.content(row), rows.place(row), False)
    return len(image) * len(image[0])
