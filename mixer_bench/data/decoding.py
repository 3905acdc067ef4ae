"""Decoding: any image file a folder may hold becomes uint8 RGB, or is refused by name."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError, _imaging

from mixer_bench.data import jpeg
from mixer_bench.errors import DataError
from mixer_bench.system import machine

# What Pillow calls the formats that are read, with their files' suffixes; for some others, as EPS, it starts programs.
FORMATS: Mapping[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx", ".jpc", ".j2c"),
}
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
# How files begin that are often saved under an image's name.
IMPOSTORS: Mapping[bytes, str] = {
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a pointer of Git LFS",
    b"%!ps": "PostScript",
    b"%pdf": "a PDF document",
}
ADVICE = "; replace or remove the file"
SPACIOUS = 50_000_000  # pixels that take a gigabyte at most while they are converted
SPARSE = 2_000  # pixels for which an image of more than that has a byte, unless somebody wants to fill the memory
BEGINNING = 256  # bytes that are looked at, blanks before the first word among them
UPRIGHT: Mapping[object, Image.Transpose] = {  # EXIF's orientations, by what sets them right
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PNG = b"\x89PNG\r\n\x1a\n"
# What a PNG may tell besides its first frame. Whatever else is in it stays: a damaged name of what is needed is seen.
PNG_ASIDES = (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"acTL", b"fcTL", b"fdAT")
ORIENTED_TEXTS = (b"Raw profile type exif", b"XML:com.adobe.xmp")  # texts in which some programs say the orientation
SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")
BRIGHTEST = 0xFFFF  # of 16 bits
TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
PLAIN = ("RGB", "L", "1", "P", "CMYK", "YCbCr", "HSV", "LAB")


@functools.cache
def pool() -> ThreadPoolExecutor:
    """Return the threads that read, hash, decode and resize images: one a processor, shared by all who do."""
    return ThreadPoolExecutor(machine.cores(), thread_name_prefix="images")


def decode(content: bytes, name: str, upright: bool = True) -> np.ndarray:
    """Return the image in ``content`` as uint8 [height, width, 3].

    Transparency laid on white; 16-bit grey scaled to 8 bits (Pillow alone would clip it to white; its one transparent
    value, if it names one, stays); the first frame of an animation. Damaged metadata beside sound pixels does no harm.

    Args:
        content: an encoded image.
        name: named in errors.
        upright: whether it is turned as its EXIF orientation says, or stays as it is stored (but for TIFF, which
            Pillow itself turns).

    Raises:
        DataError: no image, a truncated one, or pixels without a defined way to RGB.
    """
    if (pixels := _plain_jpeg(content, upright)) is not None:
        return pixels
    try:
        with Image.open(io.BytesIO(_bare(content)), formats=_formats()) as image:
            if image.width * image.height > max(SPACIOUS, SPARSE * len(content)):
                raise ValueError(f"{image.width} x {image.height} pixels in {len(content)} bytes are no image")
            image.load()  # before the metadata of a PNG, asking for which would load it and lose the error
            shown = rgb(_upright(image, content) if upright else image, name)
            pixels = np.frombuffer(shown.tobytes("raw", "RGBX"), np.uint8)
            return pixels.reshape(shown.height, shown.width, 4)[..., :3]  # as ``jpeg.decoded`` has them
    except DataError:
        raise
    except UnidentifiedImageError:  # whose own words name an object of this process
        reason = _what_it_is(content)
    except Exception as error:  # noqa: BLE001  any byte may be wrong, and Pillow raises whatever its parsers raise
        reason = str(error)
    raise DataError(f"{name}: cannot be decoded as an image ({reason}){ADVICE}")


def _plain_jpeg(content: bytes, upright: bool) -> np.ndarray | None:
    """Return a JPEG's pixels as Pillow has them, without it; None where that is in doubt, or it is to be turned."""
    header = jpeg.plain(content)
    if header is None or header.height * header.width > SPACIOUS or jpeg.decoder() != "simplejpeg":
        return None
    if not header.bare:
        try:
            with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
                if (image.format, image.size) != ("JPEG", (header.width, header.height)):
                    return None
                if upright and _orientation(image, content) in UPRIGHT:
                    return None
        except Exception:  # noqa: BLE001  Pillow's own way says what is wrong
            return None
    return jpeg.decoded(content, header.height, header.width)


def integer_fast(content: bytes, name: str, upright: bool = True) -> np.ndarray:
    """Decode as ``decode`` does, but plain JPEGs by libjpeg's fast integer transform, as TensorFlow does by default.

    (tensorflow/core/kernels/image/decode_image_op.cc.) Up to a few levels off; only for finding out what that costs.
    """
    import simplejpeg

    header = jpeg.plain(content)
    if header is None or (upright and not header.bare):
        return decode(content, name, upright)
    return np.asarray(simplejpeg.decode_jpeg(content, "RGB", fastdct=True))


@functools.cache
def _formats() -> list[str]:
    """Return those of ``FORMATS`` that this Pillow knows; from now on libtiff no longer writes to stderr by itself."""
    Image.init()
    with contextlib.suppress(AttributeError, OSError):  # a Pillow without it, or with one that nothing else can reach
        library = ctypes.CDLL(_imaging.__file__)
        for kind in ("Error", "Warning"):
            getattr(library, f"TIFFSet{kind}Handler")(None)
    return [name for name in FORMATS if name in Image.OPEN]


def _what_it_is(content: bytes) -> str:
    """Return what a file is that is no image, in words."""
    if not content:
        return "the file is empty"
    beginning = content[:BEGINNING].lstrip().lower()
    known = next((words for start, words in IMPOSTORS.items() if beginning.startswith(start)), "")
    return f"it is {known}" if known else f"its beginning is damaged, or it is none of {', '.join(_formats())}"


def _bare(content: bytes) -> bytes:
    """Return a PNG without what no pixel depends on: texts, profiles and the like, for which Pillow may refuse it."""
    if not content.startswith(PNG):
        return content
    parts, start = [PNG], len(PNG)
    while start < len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")  # length, kind and checksum take 12 bytes
        if content[start + 4 : start + 8] not in PNG_ASIDES:
            parts.append(content[start:end])
        start = end
    return b"".join(parts)


def _upright(image: Image.Image, content: bytes) -> Image.Image:
    """Return the image turned as its EXIF orientation says; as stored where that cannot be read."""
    orientation = _orientation(image, content)
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def _orientation(image: Image.Image, content: bytes) -> object:
    """Return an image's EXIF orientation; None where it has none."""
    orientation: object = None
    with contextlib.suppress(Exception):  # metadata may be damaged in any way; the pixels are what counts
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    if orientation is None and content.startswith(PNG) and any(key in content for key in ORIENTED_TEXTS):
        with contextlib.suppress(Exception), Image.open(io.BytesIO(content), formats=["PNG"]) as with_texts:
            orientation = with_texts.getexif().get(ExifTags.Base.Orientation)
    return orientation


def rgb(image: Image.Image, name: str) -> Image.Image:
    """Return an image of 8-bit RGB, as ``decode`` makes it.

    Raises:
        DataError: its pixels have no defined way to RGB.
    """
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


def zero_one(decoder: Callable[[bytes, str, bool], np.ndarray], stretched: bool) -> Callable[..., np.ndarray]:
    """Return a decoder of images of two values: of 0 and 1, which it stretches to 0 and 255, or of 0 and 255.

    task_adaptation multiplies dSprites' images by 255 (data/dsprites.py); a copy may have done so already, or not.

    Args:
        decoder: of content, name, and whether the image is turned upright, to uint8 [h, w, 3].
        stretched: whether the stored values are 0 and 1. The decoder raises ``DataError`` where they are not.
    """

    def decoded(content: bytes, name: str, upright: bool) -> np.ndarray:
        image = decoder(content, name, upright)
        brightest = int(image.max(initial=0))
        if stretched and brightest > 1:
            raise DataError(f"{name}: its values are beyond 0 and 1, which were to be stretched to 0 and 255")
        if not stretched and brightest == 1:
            raise DataError(f"{name}: its values are 0 and 1, not stretched to 0 and 255: all but black")
        return image * np.uint8(255) if stretched else image

    return decoded
