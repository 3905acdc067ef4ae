"""The SHA-256 of every image: what data is identified by. Computed once for files that have not changed since."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mixer_bench.data.rows import Rows
from mixer_bench.system import arrays, paths

CHUNK = 256  # images a worker hashes at a time


def of(rows: Rows, anew: bool = False) -> tuple[str, ...]:
    """The SHA-256 of each row's stored bytes, hexadecimal.

    Where the source can tell that nothing has changed (its stamp), what was computed before is used again; an image
    is compared with its digest whenever it is decoded, so a wrong stamp cannot give an image another's features.

    Raises:
        DataError: an image cannot be read.
    """
    if not rows.stored.stamp:
        return tuple(_computed(rows))
    identity = hashlib.sha256(rows.stored.stamp.encode() + rows.positions.astype("<i8").tobytes()).hexdigest()
    kept = paths.cache_dir() / "digests" / f"{identity[:32]}.npz"
    if not anew:
        with contextlib.suppress(arrays.DamagedFile):  # not there yet, or damaged: the images are what counts
            (found,) = arrays.load(kept, "digests")
            if found.shape == (len(rows),) and found.dtype == np.dtype("S64"):
                return tuple(found.astype(str).tolist())
    digests = tuple(_computed(rows))
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        arrays.save(kept, digests=np.array(digests, dtype="S64"))
    return digests


def _computed(rows: Rows) -> Iterator[str]:
    def hashed(start: int) -> list[str]:
        positions = rows.positions[start : start + CHUNK]
        return [hashlib.sha256(rows.stored.content(int(position))).hexdigest() for position in positions]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for digests in pool.map(hashed, range(0, len(rows), CHUNK)):
            yield from digests
