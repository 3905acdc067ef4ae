"""Resizing against TensorFlow's own outputs and Pillow's own, on odd sizes."""

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from mixer_bench.data.decoding import decode
from mixer_bench.models import resampling
from mixer_bench.models.resampling import Interpolation
from tests.patterns import SIZES, digest, pattern

THEIRS: Mapping[str, np.ndarray] = np.load(Path(__file__).parents[1] / "golden/tensorflow_operators.npz")


COMPILED = importlib.util.find_spec("numba") is not None


def same(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether values, or their digest, are equal to the bit: the kernels' float32 arithmetic is restated in order."""
    return digest(ours) == theirs.item() if theirs.ndim == 0 else np.array_equal(ours, theirs)


@pytest.mark.parametrize("operator", [resampling.bilinear, resampling.area], ids=["bilinear", "area"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_resizing_is_tensorflows(operator: Callable[..., np.ndarray], size: tuple[int, int, int, int]) -> None:
    name = f"{operator.__name__} {' '.join(map(str, size))}"
    values = operator(pattern(*size[:2]), *size[2:])
    assert values.dtype == np.float32
    assert same(values, THEIRS[name])
    assert same(resampling.quantised(values, "truncate"), THEIRS[f"{name} bytes"])


@pytest.mark.parametrize("name", [name for name in THEIRS if name.startswith("decode ")])
def test_a_jpeg_is_decoded_as_by_tensorflows_accurate_transform(name: str) -> None:
    file = Path(__file__).parents[1] / "golden/encoded" / name.removeprefix("decode ")
    assert same(decode(file.read_bytes(), file.name, upright=False), THEIRS[name])


def test_quantising_cuts_off_rounds_or_keeps() -> None:
    values = np.array([0.0, 1.999, 2.5, 3.5, 255.01], np.float32)
    assert resampling.quantised(values, "truncate").tolist() == [0, 1, 2, 3, 255]
    assert resampling.quantised(values, "round").tolist() == [0, 2, 2, 4, 255]
    assert resampling.quantised(values, "no") is values


def test_area_repeats_pixels_where_it_enlarges() -> None:
    shown = pattern(4, 6)
    np.testing.assert_allclose(resampling.area(shown, 12, 12), shown.repeat(3, 0).repeat(2, 1), atol=1e-4)


@pytest.mark.parametrize("interpolation", get_args(Interpolation))
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pillows_filters_are_two_passes_of_pillow(
    interpolation: Interpolation, size: tuple[int, int, int, int]
) -> None:
    (old_height, old_width, height, width), filter_ = size, Image.Resampling[interpolation.upper()]
    shown = pattern(old_height, old_width)
    passes = Image.fromarray(shown).resize((width, old_height), filter_).resize((width, height), filter_)
    assert np.array_equal(resampling.pillow(shown, height, width, interpolation), np.asarray(passes))


@pytest.mark.parametrize("interpolation", get_args(Interpolation))
@pytest.mark.parametrize(
    ("length", "size", "start"),
    [(600, 6000, 2988), (7, 400, 0), (300, 299, 280), (5, 500, 499), (1, 90, 40), (997, 500, 211)],
)
def test_what_is_kept_is_a_part_of_the_whole(interpolation: Interpolation, length: int, size: int, start: int) -> None:
    kept = slice(start, min(start + 24, size))
    shown = pattern(length, 5)
    whole = resampling.pillow(shown, size, 7, interpolation)
    assert np.array_equal(resampling.pillow(shown, size, 7, interpolation, (kept, slice(1, 4))), whole[kept, 1:4])
    for operator in (resampling.bilinear, resampling.area):
        part = operator(shown, size, 7, (kept, slice(1, 4)))
        assert np.array_equal(part, operator(shown, size, 7)[kept, 1:4])
    turned = resampling.pillow(shown.transpose(1, 0, 2), 5, size, interpolation, (slice(None), kept))
    expected = resampling.pillow(shown, size, 5, interpolation)[kept].transpose(1, 0, 2)
    assert np.array_equal(turned, expected)


@pytest.fixture(scope="module")
def loops() -> Iterator[ModuleType]:
    """The loops as numba compiles them; as Python runs them, on small images, where it is not installed."""
    if COMPILED:
        yield importlib.import_module("mixer_bench.models.loops")
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "numba", SimpleNamespace(njit=lambda **_: lambda function: function))
        yield importlib.import_module("mixer_bench.models.loops")
        sys.modules.pop("mixer_bench.models.loops")


@pytest.mark.parametrize("number", range(24))
def test_compiled_loops_give_what_pillow_gives(number: int, loops: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(number)
    old_height, old_width, height, width = np.exp(generator.uniform(0, np.log(900 if COMPILED else 14), 4)).astype(int)
    height, width = (height, width, old_height, height)[number % 4], (old_width if number % 4 == 3 else width)
    image = pattern(old_height, old_width)
    if number % 3:  # four bytes a pixel, or a turned view
        wide = np.full((old_height, old_width, 4), 77, np.uint8)
        wide[..., :3] = image
        image = wide[..., :3] if number % 3 == 1 else np.ascontiguousarray(image.transpose(1, 0, 2)).transpose(1, 0, 2)
    top, left = int(generator.integers(height)), int(generator.integers(width))
    kept = (slice(top, height), slice(left, width)) if number % 2 else resampling.ALL
    for interpolation in ("bilinear", "bicubic", "lanczos"):
        filter_ = Image.Resampling[interpolation.upper()]
        passes = Image.fromarray(np.ascontiguousarray(image)).resize((width, old_height), filter_)
        expected = np.asarray(passes.resize((width, height), filter_))[kept]
        for way in (None, loops):
            monkeypatch.setattr(resampling, "_loops", lambda way=way: way)
            assert np.array_equal(resampling.pillow(image, int(height), int(width), interpolation, kept), expected)
