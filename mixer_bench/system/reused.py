"""Memory that is used again: fresh pages cost as much as the work on a small image that is done in them."""

from __future__ import annotations

import math
import sys
import threading

import numpy as np

_kept = threading.local()


def empty(use: str, shape: tuple[int, ...], dtype: type[np.generic] = np.uint8) -> np.ndarray:
    """Return an array whose values are not set, in memory that this thread had for the same use before.

    Memory that any array still refers to, wherever it is, is left to that; so arrays may be kept, and given away.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    kept: dict[str, np.ndarray] = _kept.__dict__
    # Not of far more than is asked for: who keeps the array would keep all of it.
    if use not in kept or not size <= kept[use].size <= 2 * size or _references(kept, use) > UNUSED:
        kept[use] = np.empty(size, np.uint8)
    return kept[use][:size].view(dtype).reshape(shape)


def _references(kept: dict[str, np.ndarray], use: str) -> int:
    return sys.getrefcount(kept[use])


UNUSED = _references({"nothing": np.empty(0)}, "nothing")  # as this Python counts them
