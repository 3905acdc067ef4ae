"""Resizing by definition: Pillow's filters and TensorFlow 2's, pure functions of pixels, equal on every version.

What they give is held against TensorFlow's own outputs and a table of digests (``tests/models/data``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Literal

import numpy as np
from PIL import Image

from mixer_bench.system import reused

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Quantise = Literal["truncate", "round", "no"]

Part = tuple[slice, slice]  # rows and columns of a result that are wanted

ALL = (slice(None), slice(None))
FIXED_POINT = 22  # bits behind the point of Pillow's coefficients (Resample.c: 32, less 8 of a pixel and 2 spare)
RADIUS = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}  # of a filter, in pixels of the coarser image
ELONGATED = 8  # times what is kept of an axis: to make more than that, only to cut it off, is not worth its memory


def pillow(image: np.ndarray, height: int, width: int, interpolation: Interpolation, kept: Part = ALL) -> np.ndarray:
    """Resize with a filter of Pillow (antialiased): first the columns, then the rows, with bytes between.

    Pillow 11 and 12 make the passes in this order, Pillow 13 in the cheaper one, which moves pixels.

    Args:
        image: uint8 [h, w, 3].
        height: of the whole result, pixels.
        width: of the whole result, pixels.
        interpolation: which filter.
        kept: what is wanted of the result; no memory is taken for the rest.

    Returns:
        uint8 [height, width, 3], or what is kept of it.
    """
    if image.shape[:2] == (height, width):
        return image[kept]
    if interpolation != "nearest" and (loops := _loops()):
        return _by_loops(loops, image, height, width, interpolation, kept)
    shown = Image.fromarray(image) if image.flags.c_contiguous else _shown(_pixels(image, _copy))
    across = _resized(shown, 0, width, kept[1], interpolation)
    return np.asarray(_resized(across, 1, height, kept[0], interpolation))[..., :3]


@functools.cache
def _loops() -> ModuleType | None:
    """Return the compiled loops where numba is installed (the extra "fast"); Pillow's give the same."""
    try:
        from mixer_bench.models import loops
    except ImportError:
        return None
    return loops


def _by_loops(
    loops: ModuleType, image: np.ndarray, height: int, width: int, interpolation: Interpolation, kept: Part
) -> np.ndarray:
    """Resize as Pillow does, what is kept alone."""
    pixels = _pixels(image, loops.widen)
    if height != len(pixels):  # of the rows, only those are resized that are taken afterwards
        down, weights_down = _table(len(pixels), height, *kept[0].indices(height)[:2], interpolation)
        top = int(down.min())
        pixels, down = pixels[top : int(down.max()) + 1], down - top
    else:
        pixels = pixels[kept[0]]
    if width != image.shape[1]:
        along, weights_along = _table(image.shape[1], width, *kept[1].indices(width)[:2], interpolation)
        turned = reused.empty("turned", pixels.shape[::-1], np.uint32)
        loops.turn(pixels, turned)
        columns = reused.empty("columns", (len(along), len(pixels)), np.uint32)
        loops.resize(turned.view(np.uint8), along, weights_along, columns.view(np.uint8))
        pixels = reused.empty("pixels", columns.shape[::-1], np.uint32)
        loops.turn(columns, pixels)
    else:
        pixels = np.ascontiguousarray(pixels[:, kept[1]])
    if height != len(image):
        rows = reused.empty("rows", (len(down), pixels.shape[1]), np.uint32)
        loops.resize(pixels.view(np.uint8), down, weights_down, rows.view(np.uint8))
        pixels = rows
    colours = reused.empty("colours", (*pixels.shape, 3))
    loops.take_colours(pixels.view(np.uint8).reshape(-1, 4), colours.reshape(-1, 3))
    return colours


def _pixels(image: np.ndarray, copy: Callable[[np.ndarray, np.ndarray], None]) -> np.ndarray:
    """Return an image as uint32 [h, w]: the memory it lies in where that has four bytes a pixel, else a copy."""
    height, width, _ = image.shape
    if image.strides == (4 * width, 4, 1) and isinstance(image.base, np.ndarray):
        memory = image.base.reshape(-1).view(np.uint8)
        start = image.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
        if start % 4 == 0 and start + 4 * height * width <= memory.size:
            return memory[start : start + 4 * height * width].view(np.uint32).reshape(height, width)
    pixels = reused.empty("copied", (height, width), np.uint32)
    copy(image, pixels.view(np.uint8).reshape(height, width, 4))
    return pixels


def _copy(image: np.ndarray, pixels: np.ndarray) -> None:
    pixels[..., :3] = image


@functools.lru_cache(maxsize=256)  # an axis of 500 pixels takes 20 kB
def _table(length: int, size: int, start: int, stop: int, interpolation: str) -> tuple[np.ndarray, np.ndarray]:
    """Return ``taps`` for compiled loops: int32 [kept, taps] both, with taps of no weight at the end."""
    positions, coefficients = taps(length, size, np.arange(start, stop), interpolation)
    missing = ((0, -len(positions) % 3), (0, 0))
    positions, coefficients = np.pad(positions, missing, mode="edge"), np.pad(coefficients, missing)
    return np.ascontiguousarray(positions.T, np.int32), np.ascontiguousarray(coefficients.T, np.int32)


def _resized(image: Image.Image, axis: int, size: int, kept: slice, interpolation: Interpolation) -> Image.Image:
    """Resize one axis (0: the columns, 1: the rows) and cut out what is kept of it."""
    start, stop, _ = kept.indices(size)
    target, box = list(image.size), [0, 0, *image.size]
    if size > ELONGATED * (stop - start) and size != target[axis]:
        return _cut_out(image, axis, size, range(start, stop), interpolation)
    target[axis], box[axis], box[axis + 2] = size, start, stop
    if image.size != tuple(target):
        image = image.resize((target[0], target[1]), Image.Resampling[interpolation.upper()])
    return image if (start, stop) == (0, size) else image.crop((box[0], box[1], box[2], box[3]))


def _shown(pixels: np.ndarray) -> Image.Image:
    """Return four bytes a pixel, [h, w, ...], as an image that has their memory, of which Pillow copies nothing."""
    return Image.frombuffer("RGBX", pixels.shape[1::-1], pixels, "raw", "RGBX", 0, 1)


def _cut_out(image: Image.Image, axis: int, size: int, kept: range, interpolation: Interpolation) -> Image.Image:
    """Compute the kept places of a resized axis alone, as Pillow does: the same integers, so the same pixels."""
    values = np.asarray(image).swapaxes(0, 1 - axis)  # the axis comes first
    if interpolation == "nearest":
        # Pillow adds up its steps, with their rounding; so it is asked itself, for positions instead of pixels.
        numbers = Image.fromarray(np.arange(len(values), dtype=np.int32)[:, None])
        nearest = np.asarray(numbers.resize((1, size), Image.Resampling.NEAREST))[kept.start : kept.stop, 0]
        made = values[nearest]
    else:
        positions, coefficients = taps(len(values), size, np.arange(kept.start, kept.stop), interpolation)
        sums = np.full((len(kept), *values.shape[1:]), 1 << (FIXED_POINT - 1), np.int64)
        for position, coefficient in zip(positions, coefficients, strict=True):
            sums += coefficient[:, None, None] * values[position]
        made = (sums >> FIXED_POINT).clip(0, 255).astype(np.uint8)
    made = np.ascontiguousarray(made.swapaxes(0, 1 - axis))
    return Image.fromarray(made) if image.mode == "RGB" else _shown(made)


def taps(length: int, size: int, kept: np.ndarray, interpolation: str) -> tuple[np.ndarray, np.ndarray]:
    """Return which pixels of an axis each place of the resized one takes, and how much: int64 [taps, kept] both.

    Pillow's ``precompute_coeffs`` and ``normalize_coeffs_8bpc`` (src/libImaging/Resample.c, 11.0).
    """
    scale = length / size
    coarser = max(scale, 1.0)
    support = RADIUS[interpolation] * coarser
    centre = (kept + 0.5) * scale
    first = np.maximum(np.trunc(centre - support + 0.5), 0).astype(np.int64)
    last = np.minimum(np.trunc(centre + support + 0.5), length).astype(np.int64)
    positions = first + np.arange((last - first).max())[:, None]
    weights = np.where(positions < last, _filter((positions - centre + 0.5) / coarser, interpolation), 0.0)
    weights /= weights.sum(0)
    coefficients = np.trunc(weights * (1 << FIXED_POINT) + np.copysign(0.5, weights)).astype(np.int64)
    return np.minimum(positions, length - 1), coefficients


def _filter(distance: np.ndarray, interpolation: str) -> np.ndarray:
    """Return a filter's weight at a distance in pixels, not normalised."""
    x = np.abs(distance)
    within = x < RADIUS[interpolation]
    if interpolation == "bilinear":
        return np.where(within, 1 - x, 0)
    if interpolation == "lanczos":
        return np.where(within, np.sinc(x) * np.sinc(x / RADIUS["lanczos"]), 0)
    a = -0.5  # Keys' cubic
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(within, far, 0))


def bilinear(image: np.ndarray, height: int, width: int, kept: Part = ALL) -> np.ndarray:
    """Resize as TensorFlow 2's ``tf.image.resize(method="bilinear")``: half-pixel centres, no antialiasing.

    Args:
        image: uint8 or float32 [h, w, 3].
        height: of the whole result, pixels.
        width: of the whole result, pixels.
        kept: what is wanted of the result; no memory is taken for the rest.

    Returns:
        float32 [height, width, 3], or what is kept of it. The formula is resize_bilinear_op.cc's, in float32 as there.
    """
    above, below, down = _between(image.shape[0], height, kept[0])
    left, right, along = _between(image.shape[1], width, kept[1])

    def across(rows: np.ndarray) -> np.ndarray:
        first, second = rows[:, left].astype(np.float32), rows[:, right].astype(np.float32)
        return np.asarray(first + (second - first) * along[:, None])

    top, bottom = across(image[above]), across(image[below])
    return np.asarray(top + (bottom - top) * down[:, None, None])


def _between(length: int, size: int, kept: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the two pixels of an axis that each kept place lies between, and the second one's share: [kept] each."""
    place = (np.arange(size, dtype=np.float32)[kept] + np.float32(0.5)) * (
        np.float32(length) / np.float32(size)
    ) - np.float32(0.5)
    floor = np.floor(place)
    lower = np.maximum(floor, 0).astype(np.int64)
    upper = np.minimum(np.ceil(place), length - 1).astype(np.int64)
    return lower, upper, place - floor


def area(image: np.ndarray, height: int, width: int, kept: Part = ALL) -> np.ndarray:
    """Resize as TensorFlow's ``tf.image.resize(method="area")``: the mean over what each new pixel covers.

    Enlarging repeats pixels. The sums are resize_area_op.cc's, in float32 and its order: cut off to bytes afterwards,
    200 may be 199 in places, as there.

    Args:
        image: uint8 or float32 [h, w, 3].
        height: of the whole result, pixels.
        width: of the whole result, pixels.
        kept: what is wanted of the result; no memory is taken for the rest.

    Returns:
        float32 [height, width, 3], or what is kept of it.
    """
    down, along = _Cover(image.shape[0], height, kept[0]), _Cover(image.shape[1], width, kept[1])
    return np.asarray(down.sums(along.sums(image, 1), 0) * np.float32(1 / (down.step * along.step)))


class _Cover:
    """Which pixels of an axis each kept place of the resized one covers: the matrix of shares, without its zeros."""

    def __init__(self, length: int, size: int, kept: slice) -> None:
        self.step = np.float32(length) / np.float32(size)
        begin, end = (np.arange(place, size + place, dtype=np.float32)[kept] * self.step for place in (0, 1))
        first, last = np.floor(begin).astype(np.int64), np.ceil(end).astype(np.int64)
        places = first + np.arange((last - first).max())[:, None]
        to_end, from_begin = (end - places).astype(np.float32), (places + 1 - begin).astype(np.float32)
        inside = np.where(places + 1 > end, self.step, from_begin)  # the place begins within the pixel
        shares = np.where(places < begin, inside, np.where(places + 1 > end, to_end, np.float32(1)))
        self.shares = np.where(places < last, shares, np.float32(0))  # float32 [most pixels a place covers, kept]
        self.pixels = np.minimum(places, length - 1)

    def sums(self, image: np.ndarray, axis: int) -> np.ndarray:
        """Return the sum over what each place covers, float32."""
        shape = (1, -1, 1) if axis == 1 else (-1, 1, 1)
        terms = zip(self.pixels, self.shares, strict=True)
        return np.asarray(sum(image.take(pixels, axis) * shares.reshape(shape) for pixels, shares in terms))


def quantised(values: np.ndarray, how: Quantise) -> np.ndarray:
    """Return values in 0..255 as bytes, cut off (as ``tf.cast``) or rounded, or as they are.

    Args:
        values: float32, any shape.
        how: "truncate" and "round" give uint8, "no" gives float32.
    """
    if how == "no":
        return values
    whole = np.trunc(values) if how == "truncate" else np.rint(values)
    return np.asarray(whole.clip(0, 255), dtype=np.uint8)
