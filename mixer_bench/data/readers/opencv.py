"""What OpenCV makes of images, to the last level, without it: some of TFDS's builders resize, blur and save with it.

Held against OpenCV 4.5.5 and 5.0 on x86: no value of 600 resized and 120 blurred images of noise differs. Earlier ones
were not at hand.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from mixer_bench.data.decoding import decode

FIXED_POINT = 11  # bits of a coefficient of a resize
BLUR_BITS = 8  # and of one of a blur


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    """Resize as ``cv2.resize(image, None, fx=factor, fy=factor)``: bilinear without antialiasing, in whole numbers.

    Args:
        image: uint8 [h, w, 3].
        factor: of both sides.
    """
    height, width, _ = image.shape
    columns = _neighbours(width, factor, one_at_edges=True)
    total = np.int32(2)
    for rows, down in _neighbours(height, factor, one_at_edges=False):
        across = sum(image[rows[:, None], place].astype(np.int32) * share[:, None] for place, share in columns)
        # Four bits are given up before the second product and sixteen after it, as in OpenCV's 32-bit registers.
        total = total + ((down[:, None, None] * (across >> 4)) >> 16)
    return np.asarray((total >> 2).clip(0, 255), dtype=np.uint8)


def _neighbours(length: int, factor: float, *, one_at_edges: bool) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return the two pixels of an axis that each new one lies between, each with its share in 1/2048.

    Beyond an edge both are the edge's pixel; with ``one_at_edges`` the first has all of it, else each its share, which
    is rounded by itself.
    """
    place = ((np.arange(round(length * factor)) + 0.5) / factor - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    share = place - first.astype(np.float32)
    if one_at_edges:
        share[(first < 0) | (first >= length - 1)] = 0
    pixels = (first.clip(0, length - 1), (first + 1).clip(0, length - 1))
    shares = (np.rint(part * np.float32(1 << FIXED_POINT)).astype(np.int32) for part in (np.float32(1) - share, share))
    return tuple(zip(pixels, shares, strict=True))


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur as ``cv2.GaussianBlur(image, (0, 0), sigma)``: mirrored at the edges, in whole numbers, rounded once.

    Args:
        image: uint8 [h, w, 3].
        sigma: pixels.
    """
    taps = _taps(sigma)
    sums = image.astype(np.float64)  # which holds whole numbers to 2 ** 53, and these stay below 2 ** 24
    for axis in (1, 0):
        sums = ndimage.correlate1d(sums, taps, axis, mode="mirror")
    half = 1 << (2 * BLUR_BITS - 1)
    return np.asarray((sums.astype(np.int64) + half) >> (2 * BLUR_BITS), dtype=np.uint8)


def _taps(sigma: float) -> np.ndarray:
    """Return the weights of a Gaussian in 1/256; each side hands on what rounding left of one to the next."""
    reach = (round(sigma * 3 * 2 + 1) | 1) // 2
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    exact = bell / bell.sum() * (1 << BLUR_BITS)
    side, left = [], 0.0
    for weight in exact[:reach]:
        side.append(round(weight + left))
        left += weight - side[-1]
    return np.array([*side, (1 << BLUR_BITS) - 2 * sum(side), *reversed(side)], dtype=np.float64)


def saved(image: np.ndarray, quality: int) -> np.ndarray:
    """Return what is read of an image that ``cv2.imencode`` saved as JPEG, uint8 [h, w, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return decode(buffer.getvalue(), "", False)
