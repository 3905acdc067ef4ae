"""The fast way to a JPEG's pixels is Pillow's to the bit, or is not taken."""

import io
import struct
import sys

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from mixer_bench.data import decoding, jpeg
from mixer_bench.data.decoding import decode
from mixer_bench.errors import DataError


def by_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(decoding._upright(image, content).convert("RGB"))


def shown(height: int, width: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Smooth colours with some noise, as photographs have them; a few values for each of the larger sizes."""
    generator = np.random.default_rng((height, width, seed))
    coarse = generator.integers(0, 256, (min(height, 40), min(width, 40), 4), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)
    return Image.fromarray(np.asarray(image)[..., :3]).convert(mode)


def saved(image: Image.Image, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", **options)
    return content.getvalue()


def exif(orientation: int) -> bytes:
    told = Image.Exif()
    told[0x0112] = orientation
    return told.tobytes()


@pytest.mark.parametrize("number", range(180))
def test_a_plain_jpeg_is_decoded_as_by_pillow(number: int) -> None:
    generator = np.random.default_rng(number)
    height, width = (int(length) for length in np.exp(generator.uniform(0, np.log(300), 2)))
    options = {
        "quality": int(generator.integers(10, 101)),
        "subsampling": int(generator.integers(3)),
        "progressive": bool(generator.integers(2)),
        "optimize": bool(generator.integers(2)),
        "restart_marker_rows": int(generator.integers(2)),
    }
    content = saved(shown(height, width, "L" if number % 5 == 0 else "RGB", number), **options)
    assert jpeg.plain(content) == (height, width, True)
    assert np.array_equal(decode(content, "it"), by_pillow(content))


@pytest.mark.parametrize(("height", "width"), [(1, 4000), (4000, 3), (3000, 2000)])
def test_a_long_or_large_one_as_well(height: int, width: int) -> None:
    content = saved(shown(height, width))
    assert np.array_equal(decode(content, "it"), by_pillow(content))


@pytest.mark.parametrize("orientation", range(10))
def test_an_orientation_is_honoured_as_by_pillow(orientation: int) -> None:
    content = saved(shown(37, 50), exif=exif(orientation))
    assert jpeg.plain(content) == (37, 50, False)
    assert np.array_equal(decode(content, "it"), by_pillow(content))
    assert np.array_equal(decode(content, "it", upright=False), by_pillow(saved(shown(37, 50))))


def changed(content: bytes, old: bytes, new: bytes) -> bytes:
    assert content.count(old) == 1
    return content.replace(old, new)


FRAME = b"\x08\x00\x25\x00\x32\x03"  # of 8 bits, 37 x 50 pixels and three components
WHOLE = saved(shown(37, 50))
NOT_PLAIN = {
    "CMYK": saved(shown(37, 50, "CMYK")),
    "RGB without a transform": saved(shown(37, 50), keep_rgb=True),
    "4:4:0": changed(WHOLE, FRAME + b"\x01\x22", FRAME + b"\x01\x12"),
    "12 bits": changed(WHOLE, FRAME, b"\x0c" + FRAME[1:]),
    "other names of components": changed(WHOLE, FRAME + b"\x01", FRAME + b"R"),
    "no height": changed(WHOLE, FRAME, b"\x08\x00\x00\x00\x32\x03"),
    "arithmetic code": changed(WHOLE, b"\xff\xc0\x00\x11", b"\xff\xc9\x00\x11"),
    "no scan": WHOLE[: WHOLE.index(b"\xff\xda")],
    "a byte between two parts": changed(WHOLE, b"\xff\xc0\x00\x11", b"\x00\xff\xc0\x00\x11"),
    "a PNG": b"\x89PNG\r\n\x1a\n" + WHOLE,
    "nothing": b"",
}


@pytest.mark.parametrize("kind", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_pillow(kind: str) -> None:
    content = NOT_PLAIN[kind]
    assert jpeg.plain(content) is None
    try:
        expected = by_pillow(content)
    except Exception:  # noqa: BLE001
        with pytest.raises(DataError, match="cannot be decoded"):
            decode(content, "it")
    else:
        assert np.array_equal(decode(content, "it"), expected)


@pytest.mark.parametrize("progressive", [False, True])
def test_whatever_is_cut_off_or_damaged_ends_as_with_pillow_alone(
    progressive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte in each of many files is another: pixels or refusal, both ways end alike."""
    whole = saved(shown(37, 50), progressive=progressive, comment=b"kept")
    generator = np.random.default_rng(0)
    files = [whole[:cut] for cut in (len(whole) - 1, len(whole) - 2, len(whole) - 9, len(whole) // 2)]
    for place in generator.integers(2, len(whole), 300):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << generator.integers(8)
        files.append(bytes(damaged))

    def outcome(content: bytes) -> object:
        try:
            return decode(content, "it").tobytes()
        except DataError as error:
            return str(error)

    fast = [outcome(content) for content in files]
    monkeypatch.setattr(jpeg, "plain", lambda _: None)
    assert [outcome(content) for content in files] == fast
    assert len({*map(str, fast)}) > 100, "the damage is seen"


def test_where_the_two_differ_pillow_decodes_and_it_is_said(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert jpeg.decoder() == "simplejpeg"
    jpeg.decoder.cache_clear()
    fast = simplejpeg.decode_jpeg

    def slightly_off(content: bytes, colours: str, buffer: np.ndarray) -> None:
        fast(content, colours, buffer=buffer)
        buffer[-1, -1, 0] ^= 1

    monkeypatch.setattr(simplejpeg, "decode_jpeg", slightly_off)
    assert jpeg.decoder() == "pillow"
    assert "decodes other pixels than Pillow here" in capsys.readouterr().err
    assert np.array_equal(decode(WHOLE, "it"), by_pillow(WHOLE))
    jpeg.decoder.cache_clear()


def test_where_it_is_not_installed_pillow_decodes_and_it_is_said(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    jpeg.decoder.cache_clear()
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert np.array_equal(decode(WHOLE, "it"), by_pillow(WHOLE))
    assert "simplejpeg is not installed" in capsys.readouterr().err
    jpeg.decoder.cache_clear()


def test_without_pillow_where_there_is_nothing_else_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = by_pillow(WHOLE)
    assert jpeg.decoder() == "simplejpeg"
    monkeypatch.setattr(decoding.Image, "open", None)
    assert np.array_equal(decode(WHOLE, "it"), expected)


def test_a_note_of_an_application_is_pillows_to_judge() -> None:
    profile = b"ICC_PROFILE\0" + b"\1"
    part = b"\xff\xe2" + struct.pack(">H", len(profile) + 2) + profile
    content = WHOLE[:2] + part + WHOLE[2:]
    assert jpeg.plain(content) == (37, 50, False)
    try:
        expected = by_pillow(content)
    except Exception:  # noqa: BLE001
        with pytest.raises(DataError):
            decode(content, "it")
    else:
        assert np.array_equal(decode(content, "it"), expected)
