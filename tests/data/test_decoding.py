"""Decoding: expected pixels for every kind of image, refusal by name for what is none."""

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from mixer_bench.data.decoding import FORMATS, SUFFIXES, decode
from mixer_bench.errors import DataError

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
PALETTE = [[10, 20, 30], [200, 100, 50], [0, 255, 0]]


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, format=kind, **options)
    return content.getvalue()


def pixels(values: list[object], mode: str) -> Image.Image:
    """An image of one row."""
    image = Image.new(mode, (len(values), 1))
    if mode == "P":
        image.putpalette(np.array(PALETTE).ravel().tolist())
    for x, value in enumerate(values):
        image.putpixel((x, 0), value)
    return image


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("PPM", {}), ("WEBP", {"lossless": True})]
)
def test_rgb_comes_back_as_it_was_whatever_the_name_says(kind: str, options: dict[str, object]) -> None:
    decoded = decode(encoded(Image.fromarray(RGB), kind, **options), "really another kind.jpg")
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, RGB)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"), [("RGB", (200, 30, 90), (200, 30, 90)), ("CMYK", (255, 0, 0, 0), (0, 255, 255))]
)
def test_a_jpeg_of_one_colour_keeps_it_and_cmyk_is_not_inverted(mode: str, colour: tuple, expected: tuple) -> None:
    decoded = decode(encoded(Image.new(mode, (16, 24), colour), "JPEG", quality=95), "it")
    assert decoded.shape == (24, 16, 3)
    assert np.abs(decoded.astype(int) - expected).max() <= 4


INKS = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255)]
PRINTED = [[255, 255, 255], [0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]]
GREY = (pixels([0, 77, 255], "L"), {}, [0, 77, 255])
COLOURS = (pixels([2, 0, 1], "P"), {}, [PALETTE[2], PALETTE[0], PALETTE[1]])
KEYED = (pixels([2, 0, 1], "P"), {"transparency": 0}, [PALETTE[2], 255, PALETTE[1]])
SIXTEEN = Image.fromarray(np.array([[0, 256, 257, 32896, 65279, 65535]], dtype=np.uint16))
ROWS = {
    **{f"grey {kind}": (kind, *GREY) for kind in ("PNG", "BMP", "PPM", "TIFF")},
    "one bit": ("PNG", pixels([0, 1, 0], "1"), {}, [0, 255, 0]),
    **{f"palette {kind}": (kind, *COLOURS) for kind in ("PNG", "GIF", "BMP")},
    **{f"palette with a transparent colour {kind}": (kind, *KEYED) for kind in ("PNG", "GIF")},
    "palette with alphas": ("PNG", COLOURS[0], {"transparency": bytes([0, 255, 255])}, KEYED[2]),
    "transparent key colour": (
        "PNG",
        pixels([(1, 2, 3), (9, 9, 9)], "RGB"),
        {"transparency": (9, 9, 9)},
        [[1, 2, 3], 255],
    ),
    "transparent key grey": ("PNG", pixels([50, 60], "L"), {"transparency": 60}, [50, 255]),
    "alpha": ("PNG", pixels([(200, 0, 100, 255), (200, 0, 100, 0)], "RGBA"), {}, [[200, 0, 100], 255]),
    "grey with alpha": ("PNG", pixels([(40, 255), (40, 0)], "LA"), {}, [40, 255]),
    "cmyk": ("TIFF", pixels(INKS, "CMYK"), {}, PRINTED),
    **{f"sixteen bits {kind}": (kind, SIXTEEN, {}, [0, 0, 1, 128, 254, 255]) for kind in ("PNG", "TIFF")},
}


@pytest.mark.parametrize("name", ROWS)
def test_pixels_of_every_kind_become_the_colours_one_sees(name: str) -> None:
    kind, image, options, expected = ROWS[name]
    decoded = decode(encoded(image, kind, **options), "it")
    assert decoded.dtype == np.uint8
    assert decoded.tolist() == [[value if isinstance(value, list) else [value] * 3 for value in expected]]


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("RGBA", (200, 0, 100, 128), (227.4, 127, 177.2)), ("LA", (40, 128), 147.1)],  # 128 / 255 of it, the rest white
)
def test_half_transparent_is_laid_on_white(mode: str, value: tuple, expected: object) -> None:
    assert np.abs(decode(encoded(pixels([value], mode)), "it")[0, 0] - np.array(expected)).max() <= 1


UPRIGHT = {  # what the EXIF standard says must be done to the stored rows to see the image upright
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize(("kind", "tolerance"), [("PNG", 0), ("JPEG", 12)])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_an_image_is_turned_upright_as_its_exif_says(orientation: int, kind: str, tolerance: int) -> None:
    blocks = np.array([[[250, 0, 0], [0, 250, 0], [0, 0, 250]], [[0, 0, 0], [250, 250, 250], [250, 250, 0]]])
    stored = np.kron(blocks, np.ones((16, 16, 1), dtype=int)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    quality = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    decoded = decode(encoded(Image.fromarray(stored), kind, exif=exif.tobytes(), **quality), "it")
    expected = UPRIGHT[orientation](stored)
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).max() <= tolerance


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (2, 1), colour) for colour in ("red", "blue")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(content, "it").tolist() == [[[255, 0, 0]] * 2]


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def one_damaged_byte() -> bytes:
    content = bytearray(encoded(Image.fromarray(RGB)))
    content[content.index(b"IDAT") + 12] ^= 0xFF
    return bytes(content)


def tiny_file_of_a_huge_image() -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
WHOLE = {kind: encoded(NOISE, kind) for kind in ("JPEG", "PNG", "TIFF", "BMP", "WEBP")}
NO_IMAGES = {
    **{
        f"{kind} cut at {cut}": whole[: int(len(whole) * cut)]
        for kind, whole in WHOLE.items()
        for cut in (0.02, 0.5, 0.95)
    },
    **{repr(content): content for content in (b"", b"no image\n", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a")},
    "a damaged byte": one_damaged_byte(),
    "a bomb": tiny_file_of_a_huge_image(),
}


@pytest.mark.parametrize("what", NO_IMAGES)
def test_what_is_no_whole_image_is_refused_by_name(what: str) -> None:
    with pytest.raises(DataError, match=r"^cats/tom\.x: cannot be decoded"):
        decode(NO_IMAGES[what], "cats/tom.x")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"\n<!DOCTYPE html><html>404", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n%%EOF\nshowpage\n", "it is PostScript"),
        (b"GIF89a", "its beginning is damaged, or it is none of JPEG, PNG"),
    ],
)
def test_what_a_file_is_instead_of_an_image_is_said(content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=rf"cat\.jpg: cannot be decoded as an image \({said}") as raised:
        decode(content, "cat.jpg")
    assert "object at 0x" not in str(raised.value)


def test_no_program_is_started_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = tmp_path / "called"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {called}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # which Pillow looks for once
    encapsulated = encoded(Image.fromarray(RGB), "EPS")
    with pytest.raises(DataError, match="it is PostScript"):
        decode(encapsulated, "cat.jpg")
    assert not called.exists()
    with contextlib.suppress(OSError), Image.open(io.BytesIO(encapsulated)) as image:
        image.load()
    assert called.exists(), "Pillow itself no longer starts it: this test shows nothing any more"


@pytest.mark.parametrize(
    "metadata",
    {
        "EXIF that is none": chunk(b"eXIf", b"garbage!"),
        "EXIF that breaks off": chunk(b"eXIf", b"MM\x00*\x00\x00\x00\x08\x00\x05"),
        "a profile that is not packed": chunk(b"iCCP", b"k\x00\x00nothing"),
        "a long profile": chunk(b"iCCP", b"k\x00\x00" + zlib.compress(bytes(2_000_000))),
        "a gamma that breaks off": chunk(b"gAMA", b"\x00"),
        "an animation that breaks off": chunk(b"acTL", b"\x00"),
        "a long text": chunk(b"zTXt", b"k\x00\x00" + zlib.compress(bytes(2_000_000))),
        "a text that is not packed": chunk(b"zTXt", b"k\x00\x00nothing"),
        "a text of another checksum": chunk(b"tEXt", b"k\x00v")[:-1] + b"\x00",
    }.items(),
    ids=lambda item: item[0],
)
def test_damaged_metadata_beside_sound_pixels_does_no_harm(metadata: tuple[str, bytes]) -> None:
    content = encoded(Image.fromarray(RGB))
    place = content.index(b"IDAT") - 4
    assert np.array_equal(decode(content[:place] + metadata[1] + content[place:], "it"), RGB)


def test_every_suffix_that_pillow_gives_a_format_is_known() -> None:
    registered = {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS}
    unusual = {".avifs", ".pfm"}  # films, and floats, which have no defined way to RGB
    assert registered - unusual <= set(SUFFIXES)


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [(65536, np.int32, "grey values outside"), (-1, np.int32, "grey values outside"), (0.5, np.float32, "mode 'F'")],
)
def test_values_without_a_defined_way_to_rgb_are_refused(value: float, dtype: type, said: str) -> None:
    content = encoded(Image.fromarray(np.array([[0, value]], dtype=dtype)), "TIFF")
    with pytest.raises(DataError, match=rf"cat\.tif: .*{said}"):
        decode(content, "cat.tif")
