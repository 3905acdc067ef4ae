"""Decoding: any image file a folder may hold becomes uint8 RGB, or is refused by name."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mixer_bench.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")
# What Pillow raises for a file of which any byte may be wrong.
UNDECODABLE = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    MemoryError,
    struct.error,
)
BRIGHTEST = 0xFFFF  # of 16 bits
TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
PLAIN = ("RGB", "L", "1", "P", "CMYK", "YCbCr", "HSV", "LAB")


def decode(content: bytes, name: str) -> np.ndarray:
    """The image in ``content`` as uint8 [height, width, 3].

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
    except UNDECODABLE as error:
        raise DataError(f"{name}: cannot be decoded as an image ({error}); replace or remove the file") from None


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode in SIXTEEN_BIT:
        values = np.asarray(image).astype(np.int64)
        if values.min(initial=0) < 0 or values.max(initial=0) > BRIGHTEST:
            raise DataError(f"{name}: grey values outside 0..65535; save it with 8 or 16 bits")
        return Image.fromarray((values // (BRIGHTEST // 255)).astype(np.uint8)).convert("RGB")
    if image.mode in TRANSPARENT or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode not in PLAIN:
        raise DataError(f"{name}: pixel mode {image.mode!r} has no defined way to RGB; save it as 8-bit RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
