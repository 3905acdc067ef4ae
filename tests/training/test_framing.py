"""What of an image is seen, in training and at test: by each preset, pixel by pixel."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from mixer_bench import protocols
from mixer_bench.errors import UsageError
from mixer_bench.models import resampling
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.task import task
from mixer_bench.training import framing, presets
from mixer_bench.training.augment import Draws
from mixer_bench.training.settings import Config
from tests.patterns import digest, pattern

ALL = task.tasks()
WHOLE = [f"vtab/{name}" for name in ("clevr_count", "clevr_distance", "dmlab", "kitti_distance", "dsprites_location")]
CARD = Preprocessing(resolution=224, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", crop_pct=0.875)


def config_of(preset: str, name: str, examples: int = 1_000) -> Config:
    config = protocols.configure("finetune", presets.preset(preset).of(ALL[name], examples))
    assert isinstance(config, Config)
    return config


def framed(side: str, shape: tuple[int, int] = (320, 480)) -> np.ndarray:
    """A grey image with one side's outermost pixels white, uint8 [h, w, 3]."""
    image = np.full((*shape, 3), 100, np.uint8)
    image[{"top": np.s_[0], "bottom": np.s_[-1], "left": np.s_[:, 0], "right": np.s_[:, -1]}[side]] = 255
    return image


def seen(frame: framing.Frame, side: str) -> bool:
    """Whether the white pixels of a side change anything."""
    return bool((frame.of(framed(side)) != frame.of(np.full((320, 480, 3), 100, np.uint8))).any())


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
@pytest.mark.parametrize("preset", presets.presets())
def test_all_of_an_image_is_seen_where_its_label_lies_anywhere_in_it(preset: str, side: str) -> None:
    """In training and at test (BiT, appendix F; scenic resizes the whole image there)."""
    for name in WHOLE:
        config = config_of(preset, name)
        for frame in (framing.trained_on(config, CARD), framing.judged_by(config, CARD)):
            assert frame.square == 224
            assert seen(frame, side), name
        frames = torch.from_numpy(framing.trained_on(config, CARD).of(framed(side)))[None]
        draws = Draws(torch.Generator().manual_seed(0), 1, slice(None))
        view = framing.View(config.model_copy(update={"flip": False}), 224)(frames, draws)
        assert torch.equal(view, frames.float()), "nothing is cut off"


@pytest.mark.parametrize("name", ["pets", "cifar10", "imagenet", "clipart", "vtab/pets", "vtab/svhn", *WHOLE])
@pytest.mark.parametrize("preset", presets.presets())
def test_at_test_the_whole_image_is_seen_where_the_source_shows_it(preset: str, name: str) -> None:
    """Mixer's five sets, big_vision's own and our small preset see the centre of the shorter side, all others all."""
    central = {"mixer-paper": "vtab/" not in name, "small": "vtab/" not in name, "big-vision-transfer": True}
    expected = name in WHOLE or not central.get(preset, False)
    frame = framing.judged_by(config_of(preset, name, 50_000), CARD)
    assert frame.square == 224
    assert [seen(frame, side) for side in ("top", "bottom", "left", "right")] == [expected] * 4


def test_a_random_crop_reaches_the_far_ends_of_a_wide_image() -> None:
    """big_vision's `resize_small | random_crop` cuts from the whole rectangle, not from its central square."""
    config = config_of("big-vision-transfer", "cifar10")
    frame = framing.trained_on(config, CARD)
    frames = [torch.from_numpy(frame.of(framed(side))) for side in ("left", "right") for _ in range(400)]
    assert frames[0].shape == (3, 261, 392)
    draws = Draws(torch.Generator().manual_seed(0), len(frames), slice(None))
    views = framing.View(config.model_copy(update={"flip": False}), 224)(frames, draws)
    assert (views[:400, :, :, 0] > 100).all(1).any(1).any()
    assert (views[400:, :, :, -1] > 100).all(1).any(1).any()


@pytest.mark.parametrize(
    ("settings", "sides", "cut"),
    [
        # 375 x 500 becomes 256 x 341.33; half of 341 - 224 = 117 is cut off on the left, rounded down.
        ({"resample": "area", "quantise": "truncate"}, (256, 341), (16, 58)),
        ({"resample": "bilinear", "quantise": "no"}, (256, 341), (16, 58)),
        ({"resample": "card", "quantise": "round"}, (256, 341), (16, 58)),
    ],
)
def test_the_centre_is_cut_where_the_source_cuts_it(settings: dict, sides: tuple, cut: tuple) -> None:
    image = np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    config = Config.model_validate(settings)
    whole = framing.trained_on(config, CARD).of(image)
    assert whole.shape == (3, *sides)
    central = framing.judged_by(config, CARD).of(image)
    top, left = cut
    np.testing.assert_array_equal(central, whole[:, top : top + 224, left : left + 224])
    assert central.dtype == (np.float32 if settings["quantise"] == "no" else np.uint8)


@pytest.mark.parametrize(("resample", "longer"), [("area", 341), ("bilinear", 341), ("card", 340)])
def test_the_longer_side_is_rounded_as_in_big_vision_or_cut_as_in_torchvision(resample: str, longer: int) -> None:
    """256 x 333 / 250 is 340.99."""
    config = Config.model_validate({"resample": resample, "quantise": "round"})
    assert framing.trained_on(config, CARD).of(np.zeros((333, 250, 3), np.uint8)).shape == (3, longer, 256)


@pytest.mark.parametrize("resample", ["area", "card", "bilinear"])
@pytest.mark.parametrize("size", [(1, 6000), (6000, 1)])
def test_a_line_of_pixels_takes_no_gigabyte(resample: str, size: tuple[int, int]) -> None:
    config = Config.model_validate({"resample": resample, "quantise": "round"})
    frame = framing.trained_on(config, CARD).of(pattern(*size))
    assert sorted(frame.shape) == [3, 256, framing.LONGEST * 256], "its middle, of 1,536,000 pixels"
    assert framing.judged_by(config, CARD).of(pattern(*size)).shape == (3, 224, 224)


with (Path(__file__).parents[1] / "golden/tensorflow_frames.csv").open(encoding="utf-8", newline="") as file:
    FRAMES = list(csv.DictReader(file))


@pytest.mark.parametrize("made", FRAMES, ids=lambda made: " ".join([*made.values()][:5]))
def test_a_preset_frames_an_image_as_its_sources_code_does_in_tensorflow(made: dict[str, str]) -> None:
    """To the bit: tools/make_tensorflow_frames.py."""
    config = config_of(made["preset"], made["task"], 50_000)
    card = CARD.model_copy(update={"resolution": int(made["side"])})
    image = pattern(int(made["height"]), int(made["width"]))
    for frame, expected in (
        (framing.trained_on(config, card), made["training"]),
        (framing.judged_by(config, card), made["test"]),
    ):
        assert digest(frame.of(image).transpose(1, 2, 0)) == expected


def test_a_frame_is_what_the_operator_of_its_source_gives() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    by = {"frame": "squash", "ratio": (160, 128)}
    small = CARD.model_copy(update={"resolution": 32})
    for resample, quantise, expected in (
        ("bilinear", "no", resampling.bilinear(image, 40, 40)),
        ("bilinear", "truncate", resampling.bilinear(image, 40, 40).astype(np.uint8)),
        ("area", "truncate", resampling.area(image, 40, 40).astype(np.uint8)),
        ("card", "round", resampling.pillow(image, 40, 40, "bicubic")),
    ):
        config = Config.model_validate({**by, "resample": resample, "quantise": quantise})
        np.testing.assert_array_equal(framing.trained_on(config, small).of(image), expected.transpose(2, 0, 1))


def test_inception_views_are_of_the_original_pixels_and_cut_off_where_the_source_does() -> None:
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 50, 70), dtype=np.uint8))
    draws = [Draws(torch.Generator().manual_seed(3), 1, slice(None)) for _ in range(2)]
    settings = {"frame": "original", "crop": "inception", "flip": False}
    fractional = framing.View(Config.model_validate({**settings, "quantise": "no"}), 32)([image], draws[0])
    cut_off = framing.View(Config.model_validate(settings), 32)([image], draws[1])
    assert (fractional % 1 != 0).any()
    assert torch.equal(cut_off, fractional.floor())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"crop": "inception"}, "goes with frame=original"),
        ({"frame": "original"}, "goes with frame=original"),
        ({"crop": "none"}, "frame=squash and ratio=1,1"),
        ({"crop": "none", "frame": "squash"}, "frame=squash and ratio=1,1"),
        ({"ratio": "224,256"}, "ratio 224/256: the frame would be smaller"),
        ({"ratio": "1.1,1"}, "ratio"),
        ({"ratio": "256"}, "ratio"),
        ({"resample": "card"}, "quantise=round"),
        ({"resample": "bilinear-tf1"}, "resample"),
        ({"margin": "256"}, "margin"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        protocols.configure("finetune", settings)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_the_frame_of_a_card_is_its_own_preparation(resize: str) -> None:
    """Sides of 280 and 248 pixels, so that the centre lies in the middle whichever way halves are rounded."""
    image, card = pattern(280, 248), CARD.model_copy(update={"resize": resize, "crop_pct": 0.9})
    framed = framing.of_card(card).of(image).transpose(1, 2, 0)
    np.testing.assert_array_equal(framed, card.square(image))
