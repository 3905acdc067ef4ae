"""Images that are rows of an array, in memory or in a file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mixer_bench.data.rows import Stored
from mixer_bench.errors import DataError

HEADER = 12  # bytes of an image's shape


def stored(image: Callable[[int], np.ndarray], split: str) -> Stored:
    """Return images by position, uint8 [height, width, 3]: a content is the pixels after their shape.

    Args:
        image: gives the one at a position; OSError where its file breaks off.
        split: names them, with their position.
    """

    def name(position: int) -> str:
        return f"{split}/{position}"

    def content(position: int) -> bytes:
        try:
            pixels = np.ascontiguousarray(image(position))
        except OSError as error:  # of an HDF5 file that breaks off
            raise DataError(f"{name(position)} cannot be read ({error}); fetch the file again") from None
        return np.array(pixels.shape, dtype="<i4").tobytes() + pixels.tobytes()

    def decoded(content: bytes, _name: str, _upright: bool) -> np.ndarray:
        shape = np.frombuffer(content[:HEADER], dtype="<i4")
        return np.frombuffer(content[HEADER:], dtype=np.uint8).reshape(shape)

    return Stored(name, content, decode=decoded)
