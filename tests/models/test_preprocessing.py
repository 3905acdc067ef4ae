"""The square a network sees: timm's own geometry for "crop", a plain resize for "squash"."""

import itertools
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from timm.data import create_transform

from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.models.resampling import Interpolation

SIZES = [(64, 64), (65, 64), (63, 101), (101, 63), (33, 200), (200, 33), (7, 5), (1, 9), (31, 31), (480, 333)]


def preprocessing(**changes: object) -> Preprocessing:
    values = {"resolution": 64, "mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic"}
    return Preprocessing.model_validate({**values, **changes})


def image(size: tuple[int, int]) -> np.ndarray:
    """Noise over a ramp, so that a shift by one pixel and a wrong filter are both seen."""
    height, width = size
    ramp = np.linspace(0, 200, height)[:, None, None] + np.linspace(0, 40, width)[None, :, None]
    noise = np.random.default_rng(height * 1000 + width).uniform(0, 15, (height, width, 3))
    return (ramp + noise).astype(np.uint8)


RESIZE = Image.Image.resize


def in_two_passes(shown: Image.Image, size: tuple[int, int], *rest: object) -> Image.Image:
    """Pillow's resize in the order of its versions 11 and 12, whichever is installed."""
    return RESIZE(RESIZE(shown, (size[0], shown.height), *rest), size, *rest)


def timm_square(shown: np.ndarray, resolution: int, crop_pct: float, interpolation: str) -> np.ndarray:
    transform = create_transform(
        input_size=(3, resolution, resolution),
        is_training=False,
        crop_pct=crop_pct,
        interpolation=interpolation,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    tensor = transform(Image.fromarray(shown))
    return (tensor.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


USUAL = [(size, 224, 0.875, "bicubic") for size in ((256, 341), (500, 375), (375, 500))]


@pytest.mark.parametrize(
    ("size", "resolution", "crop_pct", "interpolation"),
    USUAL
    + [
        (size, resolution, crop_pct, interpolation)
        for size in SIZES
        for crop_pct in (0.875, 0.9, 0.95, 1.0)
        for resolution, interpolation in ((64, "bicubic"), (33, "bilinear"), (50, "lanczos"))
    ],
)
def test_crop_is_timms_evaluation_transform(
    size: tuple[int, int], resolution: int, crop_pct: float, interpolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image.Image, "resize", in_two_passes)
    shown = image(size)
    square = preprocessing(resolution=resolution, crop_pct=crop_pct, interpolation=interpolation).square(shown)
    assert square.dtype == np.uint8
    assert np.array_equal(square, timm_square(shown, resolution, crop_pct, interpolation))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", get_args(Interpolation))
def test_squash_is_pillows_resize_to_the_square(size: tuple[int, int], interpolation: str) -> None:
    shown = image(size)
    square = preprocessing(resize="squash", interpolation=interpolation, crop_pct=0.9).square(shown)
    expected = in_two_passes(Image.fromarray(shown), (64, 64), Image.Resampling[interpolation.upper()])
    assert np.array_equal(square, np.asarray(expected))


@pytest.mark.parametrize("resize", ["squash", "crop"])
@pytest.mark.parametrize("crop_pct", [1.0, 0.995])  # 64 / 0.995 is 64 and a bit
def test_a_image_of_the_right_size_stays_as_it_is(resize: str, crop_pct: float) -> None:
    shown = image((64, 64))
    assert np.array_equal(preprocessing(resize=resize, crop_pct=crop_pct).square(shown), shown)


def test_a_right_sized_image_is_still_cropped_where_the_checkpoint_says_so() -> None:
    shown = image((64, 64))
    assert not np.array_equal(preprocessing(crop_pct=0.8).square(shown), shown)


def test_the_image_itself_is_never_changed() -> None:
    shown = image((70, 80))
    before = shown.copy()
    shown.setflags(write=False)
    for resize in ("squash", "crop"):
        preprocessing(resize=resize).square(shown)
    assert np.array_equal(shown, before)


def test_a_tasks_resize_rule_replaces_nothing_else() -> None:
    checkpoints = preprocessing(crop_pct=0.9)
    for_task = checkpoints.for_task("squash")
    assert (checkpoints.resize, for_task.resize) == ("crop", "squash")
    assert for_task.model_dump(exclude={"resize"}) == checkpoints.model_dump(exclude={"resize"})


@pytest.mark.parametrize(
    "change", [{"resolution": 0}, {"interpolation": "magic"}, {"mean": (0.5,)}, {"resize": "stretch"}, {"crop": 1}]
)
def test_a_wrong_value_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        preprocessing(**change)


CHANGES = [
    {},
    {"mean": (0.1,) * 3, "std": (0.2, 0.3, 0.4)},
    {"crop_pct": 0.9},
    {"crop_pct": 0.995},  # 64 px and a bit: as 1.0
    {"resize": "squash"},
    {"resize": "squash", "crop_pct": 0.9},
    {"interpolation": "bilinear"},
    {"resolution": 63},
]


def test_models_have_equal_squares_exactly_where_their_rule_is_equal() -> None:
    all_of_them = [preprocessing(**change) for change in CHANGES]
    shown = [image(size) for size in SIZES]
    for ours, theirs in itertools.product(all_of_them, repeat=2):
        equal = all(np.array_equal(ours.square(each), theirs.square(each)) for each in shown)
        assert equal == (ours.squares == theirs.squares), (ours, theirs)
