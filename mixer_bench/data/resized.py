"""Whether a source's images have the size of the published ones: a copy made smaller would pass for them otherwise."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import numpy as np

from mixer_bench.data.rows import Rows
from mixer_bench.task.task import Task

LOOKED_AT = 8  # images of each split


def looked_at(count: int) -> list[int]:
    """Return the rows of a split that stand for all of its ``count``, spread evenly."""
    rows: list[int] = np.linspace(0, count - 1, LOOKED_AT).astype(int).tolist()
    return rows


def said(task: Task, held: Iterable[Rows]) -> str:
    """Return in words that images have another size than the published ones; nothing where that is not so or not known.

    Raises:
        DataError: an image cannot be read or decoded.
    """
    if task.pixels is None:
        return ""
    images = [rows.take(np.array(looked_at(len(rows)))) for rows in held]
    shapes = [
        rows.stored.decode(rows.content(row), rows.place(row), False).shape
        for rows in images
        for row in range(len(rows))
    ]
    median = statistics.median_low(height * width for height, width, _ in shapes)
    least, most = task.pixels
    if least <= median <= most:
        return ""
    published = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"its images were resized: half of them have {median:,} pixels or less, the published ones {published}"
