"""Decoding: expected pixels for every kind of image, refusal by name for what is none."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixer_bench.data.decoding import decode
from mixer_bench.errors import DataError


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, format=kind, **options)
    return content.getvalue()


def pixels(values: list[object], mode: str) -> Image.Image:
    """An image of one row."""
    image = Image.new(mode, (len(values), 1))
    for x, value in enumerate(values):
        image.putpixel((x, 0), value)
    return image


def row(content: bytes) -> list[list[int]]:
    decoded = decode(content, "it")
    assert decoded.dtype == np.uint8
    assert decoded.shape == (1, decoded.shape[1], 3)
    return decoded[0].tolist()


RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("PPM", {}), ("WEBP", {"lossless": True})]
)
def test_rgb_comes_back_as_it_was(kind: str, options: dict[str, object]) -> None:
    decoded = decode(encoded(Image.fromarray(RGB), kind, **options), "it")
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, RGB)


def test_a_jpeg_of_one_colour_keeps_it() -> None:
    decoded = decode(encoded(Image.new("RGB", (16, 24), (200, 30, 90)), "JPEG", quality=95), "it")
    assert decoded.shape == (24, 16, 3)
    assert np.abs(decoded.astype(int) - (200, 30, 90)).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF"])
def test_grey_is_repeated_in_three_channels(kind: str) -> None:
    assert row(encoded(pixels([0, 77, 255], "L"), kind)) == [[0] * 3, [77] * 3, [255] * 3]


def test_one_bit_is_black_and_white() -> None:
    assert row(encoded(pixels([0, 1, 0], "1"))) == [[0] * 3, [255] * 3, [0] * 3]


def test_rgba_is_laid_on_white() -> None:
    found = row(encoded(pixels([(200, 0, 100, 255), (200, 0, 100, 0), (200, 0, 100, 128)], "RGBA")))
    assert found[:2] == [[200, 0, 100], [255, 255, 255]]
    # 128 / 255 of the colour, the rest white
    assert np.abs(np.array(found[2]) - (227.4, 127, 177.2)).max() <= 1


def test_grey_with_alpha_is_laid_on_white() -> None:
    found = row(encoded(pixels([(40, 255), (40, 0), (40, 128)], "LA")))
    assert found[:2] == [[40] * 3, [255] * 3]
    assert np.abs(np.array(found[2]) - 147.1).max() <= 1


def palette(indices: list[int]) -> Image.Image:
    image = Image.new("P", (len(indices), 1))
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 255, 0])
    for x, index in enumerate(indices):
        image.putpixel((x, 0), index)
    return image


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
def test_a_palette_gives_its_colours(kind: str) -> None:
    assert row(encoded(palette([2, 0, 1]), kind)) == [[0, 255, 0], [10, 20, 30], [200, 100, 50]]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palettes_transparent_colour_is_white(kind: str) -> None:
    found = row(encoded(palette([2, 0, 1]), kind, transparency=0))
    assert found == [[0, 255, 0], [255, 255, 255], [200, 100, 50]]


def test_a_palette_with_an_alpha_for_each_colour_is_laid_on_white() -> None:
    found = row(encoded(palette([0, 1, 2]), transparency=bytes([255, 0, 255])))
    assert found == [[10, 20, 30], [255, 255, 255], [0, 255, 0]]


def test_a_transparent_key_colour_without_an_alpha_channel_is_white() -> None:
    found = row(encoded(pixels([(1, 2, 3), (9, 9, 9)], "RGB"), transparency=(9, 9, 9)))
    assert found == [[1, 2, 3], [255, 255, 255]]
    assert row(encoded(pixels([50, 60], "L"), transparency=60)) == [[50] * 3, [255] * 3]


def test_cmyk_becomes_the_colours_it_prints() -> None:
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255)]
    expected = [[255, 255, 255], [0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]]
    assert row(encoded(pixels(inks, "CMYK"), "TIFF")) == expected


def test_a_cmyk_jpeg_is_not_inverted() -> None:
    decoded = decode(encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=95), "it")
    assert np.abs(decoded.astype(int) - (0, 255, 255)).max() <= 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    values = np.array([[0, 256, 257, 32896, 65279, 65535]], dtype=np.uint16)
    assert row(encoded(Image.fromarray(values), kind)) == [[v] * 3 for v in (0, 0, 1, 128, 254, 255)]


@pytest.mark.parametrize("value", [65536, -1])
def test_grey_values_beyond_sixteen_bits_are_refused(value: int) -> None:
    content = encoded(Image.fromarray(np.array([[0, value]], dtype=np.int32)), "TIFF")
    with pytest.raises(DataError, match=r"cat\.tif: grey values outside"):
        decode(content, "cat.tif")


def test_float_pixels_are_refused() -> None:
    content = encoded(Image.fromarray(np.array([[0.5, 1.0]], dtype=np.float32)), "TIFF")
    with pytest.raises(DataError, match=r"cat\.tif: pixel mode 'F'"):
        decode(content, "cat.tif")


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
def test_a_image_is_turned_upright_as_its_exif_says(orientation: int, kind: str, tolerance: int) -> None:
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
    assert row(content) == [[255, 0, 0]] * 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_truncated_image_is_refused_by_name(kind: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = encoded(noise, kind)
    with pytest.raises(DataError, match=r"cats/tom\.x: cannot be decoded"):
        decode(content[: int(len(content) * share)], "cats/tom.x")


def test_a_png_with_a_damaged_byte_is_refused_by_name() -> None:
    content = bytearray(encoded(Image.fromarray(RGB)))
    content[content.index(b"IDAT") + 12] ^= 0xFF
    with pytest.raises(DataError, match=r"tom\.png: cannot be decoded"):
        decode(bytes(content), "tom.png")


@pytest.mark.parametrize("content", [b"", b"not an image at all\n", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_a_file_that_is_no_image_is_refused_by_its_path(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "tom.jpg"
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        decode(file.read_bytes(), str(file))
    assert str(caught.value).startswith(f"{file}: cannot be decoded")


def test_a_tiny_file_that_claims_a_huge_image_is_refused() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    with pytest.raises(DataError, match=r"bomb\.png: cannot be decoded"):
        decode(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""), "bomb.png")


def test_the_name_of_a_file_says_nothing_about_its_kind(tmp_path: Path) -> None:
    (tmp_path / "really a png.jpg").write_bytes(encoded(Image.fromarray(RGB)))
    assert np.array_equal(decode((tmp_path / "really a png.jpg").read_bytes(), "a name"), RGB)
