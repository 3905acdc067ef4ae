"""The loops of a resize, compiled by numba: Pillow's integers, so its pixels, in a fifth of its time.

An image is uint32 [height, width] here, four bytes a pixel of which the last is not looked at; ``rows`` are its bytes.
"""

from __future__ import annotations

import numba
import numpy as np

TAPS = 3  # that are added up at a time: a number of taps is a multiple of it
POINT = 22  # bits behind the point of a coefficient

compiled = numba.njit(nogil=True, cache=True)


@compiled
def widen(colours: np.ndarray, pixels: np.ndarray) -> None:
    """Write ``colours``, uint8 [h, w, 3] however it lies in memory, into the first three bytes of [h, w, 4]."""
    for y in range(colours.shape[0]):
        for x in range(colours.shape[1]):
            for channel in range(3):
                pixels[y, x, channel] = colours[y, x, channel]


@compiled
def turn(image: np.ndarray, turned: np.ndarray) -> None:
    """Write ``image`` [h, w] into ``turned`` [w, h]."""
    height, width = image.shape
    quads = height // 4 * 4
    for y in range(0, quads, 4):  # four rows at a time become four neighbours
        first, second, third, fourth = image[y], image[y + 1], image[y + 2], image[y + 3]
        for x in range(width):
            target = turned[x]
            target[y] = first[x]
            target[y + 1] = second[x]
            target[y + 2] = third[x]
            target[y + 3] = fourth[x]
    for y in range(quads, height):
        for x in range(width):
            turned[x, y] = image[y, x]


@compiled
def resize(rows: np.ndarray, positions: np.ndarray, coefficients: np.ndarray, resized: np.ndarray) -> None:
    """Write weighted sums of ``rows``, uint8 [n, bytes], into ``resized``, uint8 [m, bytes].

    Args:
        rows: of an image.
        positions: int32 [m, taps], which rows each resized one takes.
        coefficients: int32 [m, taps], how much of them, in fixed point.
        resized: what comes out, rounded to bytes.
    """
    length = rows.shape[1]
    sums = np.empty(length, np.int32)
    for number in range(len(positions)):
        where, much, target = positions[number], coefficients[number], resized[number]
        for k in range(length):
            sums[k] = 1 << (POINT - 1)
        for tap in range(0, len(where), TAPS):
            first, second, third = rows[where[tap]], rows[where[tap + 1]], rows[where[tap + 2]]
            a, b, c = much[tap], much[tap + 1], much[tap + 2]
            for k in range(length):
                sums[k] += a * np.int32(first[k]) + b * np.int32(second[k]) + c * np.int32(third[k])
        for k in range(length):
            target[k] = min(max(sums[k] >> POINT, 0), 255)


@compiled
def take_colours(pixels: np.ndarray, colours: np.ndarray) -> None:
    """Write the first three of every four bytes, uint8 [n, 4] to uint8 [n, 3]."""
    for pixel in range(len(pixels)):
        colours[pixel, 0] = pixels[pixel, 0]
        colours[pixel, 1] = pixels[pixel, 1]
        colours[pixel, 2] = pixels[pixel, 2]
