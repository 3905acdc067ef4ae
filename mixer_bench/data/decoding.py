"""Decoding: any image file a folder may hold becomes uint8 RGB, or is refused by name."""

from __future__ import annotations

import functools
import io
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, ImageOps

from mixer_bench.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")
BRIGHTEST = 0xFFFF  # of 16 bits
TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
PLAIN = ("RGB", "L", "1", "P", "CMYK", "YCbCr", "HSV", "LAB")


@functools.cache
def pool() -> ThreadPoolExecutor:
    """Return the threads that read, hash, decode and resize images: as many as processors, shared by all who do."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="images")


def decode(content: bytes, name: str) -> np.ndarray:
    """Return the image in ``content`` as uint8 [height, width, 3].

    Turned upright as its EXIF orientation says; transparency laid on white; 16-bit grey scaled to 8 bits (Pillow
    alone would clip it to white; its one transparent value, if it names one, stays); the first frame of an animation.

    Args:
        content: an encoded image.
        name: named in errors.

    Raises:
        DataError: no image, a truncated one, or pixels without a defined way to RGB.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            upright = ImageOps.exif_transpose(image) if image.getexif() else image
            return np.asarray(_rgb(upright, name))
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001  any byte may be wrong, and Pillow raises whatever its parsers raise
        raise DataError(f"{name}: cannot be decoded as an image ({error}); replace or remove the file") from None


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode in SIXTEEN_BIT:
        values = np.asarray(image).astype(np.int64)
        if values.min(initial=0) < 0 or values.max(initial=0) > BRIGHTEST:
            raise DataError(f"{name}: grey values outside 0..65535; save it with 8 or 16 bits")
        return Image.fromarray((values // (BRIGHTEST // 255)).astype(np.uint8)).convert("RGB")
    if image.mode in TRANSPARENT or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    if image.mode not in PLAIN:
        raise DataError(f"{name}: pixel mode {image.mode!r} has no defined way to RGB; save it as 8-bit RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
