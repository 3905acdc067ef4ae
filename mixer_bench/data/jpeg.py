"""The fast way from a JPEG to pixels: libjpeg-turbo without Pillow around it, for files that both decode to the same.

Whatever is not plain is left to Pillow, whose errors are the ones people know: other numbers of bits and channels,
other colours than grey and YCbCr, other samplings, parts that libjpeg has to guess.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from mixer_bench.system import reused
from mixer_bench.system.console import tell

START = b"\xff\xd8"
# The second bytes of markers (ITU-T T.81, table B.1).
SCAN, SILENT = 0xDA, (0xC4, 0xDB, 0xDD, 0xFE)  # the latter: tables, restarts and comments
FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, by Huffman's code
JFIF, ADOBE, APPLICATIONS = 0xE0, 0xEE, range(0xE0, 0xF0)
JFIF_LENGTH, ADOBE_LENGTH = 14, 12  # bytes at least
YCBCR = 1  # of Adobe's transforms
GREY, COLOUR = 1, 3  # components
BITS = 8
HEAD = 6  # bytes of a frame's header before its components, three bytes each
SAMPLINGS = (0x11, 0x21, 0x22)  # of brightness, where each colour has 0x11: 4:4:4, 4:2:2 and 4:2:0
KINDS: Sequence[tuple[str, Mapping[str, int]]] = (  # that are looked at: mode, and how Pillow is to save it
    ("L", {}),
    ("RGB", {"subsampling": 0}),
    ("RGB", {"subsampling": 1}),
    ("RGB", {"subsampling": 2}),
    ("RGB", {"progressive": 1}),
)


class Plain(NamedTuple):
    """What the header of a plain JPEG says."""

    height: int
    width: int
    bare: bool  # of whatever Pillow may read of it besides: EXIF, a profile, a second image


def plain(content: bytes) -> Plain | None:
    """Return what a plain JPEG's header says; None for any other file."""
    if not content.startswith(START):
        return None
    frame, bare, place = None, True, len(START)
    while place + 4 <= len(content) and content[place] == 0xFF:  # noqa: PLR2004
        kind, end = content[place + 1], place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        body, place = content[place + 4 : end], end
        if kind == SCAN:
            return Plain(*frame, bare) if frame else None
        if kind in FRAMES and frame is None:
            frame = _frame(body)
            if frame is None:
                return None
        elif kind in APPLICATIONS:
            if kind == ADOBE and not (len(body) >= ADOBE_LENGTH and body[ADOBE_LENGTH - 1] == YCBCR):
                return None
            bare &= kind == ADOBE or (kind == JFIF and body.startswith(b"JFIF\0") and len(body) >= JFIF_LENGTH)
        elif kind not in SILENT:
            return None
    return None


def _frame(body: bytes) -> tuple[int, int] | None:
    """Return height and width of a frame of 8 bits in grey or YCbCr; None of another."""
    parts = body[HEAD:]
    if len(body) < HEAD or body[0] != BITS or body[5] not in (GREY, COLOUR) or len(parts) != 3 * body[5]:
        return None
    names, samplings = parts[0::3], parts[1::3]
    colours = names == b"\1\2\3" and samplings[0] in SAMPLINGS and samplings[1:] == b"\x11\x11"
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    return (height, width) if height and width and (colours or body[5] == GREY) else None


def decoded(content: bytes, height: int, width: int) -> np.ndarray | None:
    """Return a plain JPEG's pixels, uint8 [height, width, 3], read-only; None where they are in any doubt.

    Four bytes are taken for a pixel, which a resize reads faster than three.
    """
    import simplejpeg

    pixels = reused.empty("decoded", (height, width, 4))
    try:
        simplejpeg.decode_jpeg(content, "RGBX", buffer=pixels)
    except ValueError:  # damaged, as it seems: Pillow knows what to do
        return None
    pixels.setflags(write=False)
    return pixels[..., :3]


@functools.cache
def decoder() -> str:
    """Return the name of what decodes plain JPEGs: simplejpeg where it gives what Pillow gives.

    Each brings a libjpeg-turbo of its own, or a system's, so equality is looked at, once a process.
    """
    try:
        import simplejpeg  # noqa: F401
    except ImportError:
        tell("note: simplejpeg is not installed; Pillow decodes, which takes longer")
        return "pillow"
    noise = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((45, 37), Image.Resampling.BICUBIC)
    for mode, options in KINDS:
        file = io.BytesIO()
        image.convert(mode).save(file, "JPEG", **options)
        fast = decoded(file.getvalue(), image.height, image.width)
        with Image.open(file) as shown:
            if fast is None or not np.array_equal(fast, np.asarray(shown.convert("RGB"))):
                tell("note: simplejpeg decodes other pixels than Pillow here; Pillow decodes, which takes longer")
                return "pillow"
    return "simplejpeg"
