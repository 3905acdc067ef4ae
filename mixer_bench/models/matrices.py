"""Pillow's resize as two matrix products on a device, many images of one size at a time, to the bit.

Pillow's coefficients are integers, and so are all sums of their products with bytes, below 2^53: float64 holds them
exactly, in whatever order they are added.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mixer_bench.models import resampling
from mixer_bench.models.device import beside, host_memory, on_device
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.models.resampling import ALL, FIXED_POINT, Interpolation, Part
from mixer_bench.system.grouping import grouped

TOGETHER = 1 << 25  # values of images that are resized at once: 256 MB as float64


@dataclass(frozen=True)
class Resizer:
    """Makes squares on a device of images that the host has decoded."""

    preprocessing: Preprocessing
    device: torch.device

    def __call__(self, images: Sequence[np.ndarray]) -> Tensor:
        """Return the squares, uint8 [n, R, R, 3] on the device, of uint8 [h, w, 3] of any sizes on the host."""
        side = self.preprocessing.resolution
        squares = torch.empty((len(images), side, side, 3), dtype=torch.uint8, device=self.device)
        for shape, places in grouped(range(len(images)), lambda place: images[place].shape).items():
            at_once = TOGETHER // int(np.prod(shape))
            if at_once == 0 or self.preprocessing.interpolation == "nearest":  # which takes no sums
                made = self._brought([self.preprocessing.square(images[place]) for place in places])
                squares[self._indices(places)] = made
                continue
            for start in range(0, len(places), at_once):
                some = places[start : start + at_once]
                there = self._brought([images[place] for place in some])
                height, width, kept = self.preprocessing.placed(*shape[:2])
                resized = resize(there, height, width, self.preprocessing.interpolation, kept)
                squares[self._indices(some)] = resized
        return squares

    def _brought(self, images: Sequence[np.ndarray]) -> Tensor:
        stacked = host_memory((len(images), *images[0].shape), torch.uint8, self.device)
        np.stack(images, out=stacked.numpy())
        return beside(stacked, self.device)

    def _indices(self, places: Sequence[int]) -> Tensor:
        return on_device(torch.tensor(places), self.device)


def resize(images: Tensor, height: int, width: int, interpolation: Interpolation, kept: Part = ALL) -> Tensor:
    """Resize as ``resampling.pillow`` does: first the columns, then the rows, with bytes between.

    Args:
        images: uint8 [n, h, w, 3], on any device that has float64.
        height: of the whole result, pixels.
        width: of the whole result, pixels.
        interpolation: which filter, not "nearest".
        kept: what is wanted of the result.

    Returns:
        uint8 [n, height, width, 3], or what is kept of it, on the same device.
    """
    count, old_height, old_width, _ = images.shape
    rows, columns = kept[0].indices(height)[:2], kept[1].indices(width)[:2]
    values = images.permute(0, 1, 3, 2).to(torch.float64)  # [n, h, 3, w]
    if width == old_width:
        values = values[..., kept[1]]
    else:
        values = _bytes(values @ _matrix(old_width, width, *columns, interpolation, images.device).T)
    if height == old_height:
        values = values[:, kept[0]]
    else:
        across = values.reshape(count, old_height, -1)
        values = _bytes(_matrix(old_height, height, *rows, interpolation, images.device) @ across)
    return values.reshape(count, rows[1] - rows[0], 3, -1).permute(0, 1, 3, 2).to(torch.uint8)


def _bytes(sums: Tensor) -> Tensor:
    """Round sums in fixed point to what a byte holds, in place."""
    return sums.add_(1 << (FIXED_POINT - 1)).mul_(2.0**-FIXED_POINT).floor_().clamp_(0, 255)


@functools.lru_cache(maxsize=64)  # one of 500 pixels to 224 takes 0.9 MB
def _matrix(
    length: int, size: int, start: int, stop: int, interpolation: Interpolation, device: torch.device
) -> Tensor:
    """Return the coefficients of an axis, float64 [kept, length]."""
    positions, coefficients = resampling.taps(length, size, np.arange(start, stop), interpolation)
    matrix = np.zeros((stop - start, length))
    np.add.at(matrix, (np.arange(stop - start), positions), coefficients)
    return on_device(torch.from_numpy(matrix), device)


def let_go() -> None:
    """Keep no coefficients any longer: their memory on the device is the caller's again."""
    _matrix.cache_clear()
