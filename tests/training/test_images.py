"""What trainings see: images kept or streamed, their order, and random views of them."""

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

from mixer_bench.data.examples import Examples
from mixer_bench.training import augment, distributed, framing
from mixer_bench.training import images as images_module
from mixer_bench.training.augment import Draws
from mixer_bench.training.framing import Frame
from mixer_bench.training.images import Batches, Corpus, Order
from mixer_bench.training.settings import Config
from tests.builders import TOY, colours

CPU = torch.device("cpu")
SQUARE = Frame("squash", 8, None, "bilinear")


def draws(count: int, seed: int = 0, part: slice = slice(None)) -> Draws:
    return Draws(torch.Generator().manual_seed(seed), count, part)


def mixed(count: int = 12) -> Examples:
    """Images of several sizes, wide, tall and square."""
    generator = np.random.default_rng(0)
    sizes = [(24, 36), (40, 21), (17, 17)]
    shown = [generator.integers(0, 256, (*sizes[n % 3], 3), dtype=np.uint8) for n in range(count)]
    digests = tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in shown)
    return Examples(shown, np.arange(count, dtype=np.int64) % 2, tuple(map(str, range(count))), digests)


VIEWS = {
    "squash, bytes": {"frame": "squash", "resample": "bilinear"},
    "squash, fractional": {"frame": "squash", "resample": "bilinear", "quantise": "no"},
    "shorter": {"frame": "shorter"},
    "inception": {"frame": "original", "crop": "inception"},
    "inception, fractional": {"frame": "original", "crop": "inception", "crop_law": "area-uniform", "quantise": "no"},
    "whole": {"frame": "squash", "crop": "none", "ratio": (1, 1)},
}


@pytest.mark.parametrize("settings", VIEWS.values(), ids=list(VIEWS))
@pytest.mark.parametrize("examples", [mixed(), colours(counts=(12, 3, 3)).train], ids=["several sizes", "one size"])
def test_streamed_images_give_the_views_of_resident_ones_to_the_bit(settings: dict, examples: Examples) -> None:
    config = Config.model_validate(settings)
    frame, order = framing.trained_on(config, TOY), Order(len(examples), 5, ("a", 0))
    resident, streamed = (Corpus(examples, frame, CPU, resident=kept) for kept in (True, False))
    view = framing.View(config, TOY.resolution)
    both = [Batches(corpus, order, TOY, view) for corpus in (resident, streamed)]
    for step in (0, 1, 7):
        (images, labels), (again, same) = (batches.at(step) for batches in both)
        assert (images.shape, images.dtype, images.is_contiguous()) == ((5, 3, 8, 8), torch.float32, True)
        assert torch.equal(images, again)
        assert torch.equal(labels, same)
    # Frames stay what they are, whatever is done to a batch in place.
    assert torch.equal(both[0].at(0)[0], both[1].at(0)[0])


@pytest.mark.parametrize(
    ("free", "examples", "decoded"),
    [(1000, colours().train, 1), (1 << 30, colours().train, 60), (1000, mixed(), 12 + 1), (1 << 30, mixed(), 12)],
    ids=["squares", "squares that fit", "shapes", "shapes that fit"],
)
def test_images_that_do_not_fit_are_streamed(free, examples, decoded: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixer_bench.training.images._free", lambda _device: free)
    seen = []
    of = Frame.of
    monkeypatch.setattr(Frame, "of", lambda self, image: seen.append(1) or of(self, image))
    corpus = Corpus(examples, SQUARE if decoded in (1, 60) else Frame("original", 0), CPU)
    corpus.images(torch.tensor([5]))
    assert len(seen) == decoded


def test_the_last_corpora_are_kept_for_all_who_frame_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "_KEPT", {})
    examples = {name: colours(counts=(3, 3, 3), seed=seed).train for seed, name in enumerate("abcd")}
    made = [images_module.shelved(examples[name], SQUARE, CPU) for name in "abcadab"]
    assert made[0] is made[3] is made[5]
    assert made[1] is not made[6], "b was the one not asked for longest when d came"
    assert images_module.shelved(examples["a"], replace(SQUARE, side=4), CPU) is not made[0]


def test_batches_are_one_shuffled_pass_after_another_whatever_their_size() -> None:
    def positions(size: int, steps: int, **changes: bool) -> list[int]:
        order = Order(30, size, ("a", 5), **changes)
        return [int(position) for step in range(steps) for position in order.batch(step)]

    assert positions(7, 30) == positions(14, 15) == positions(70, 3), "the order does not depend on the batch size"
    for epoch in range(7):
        assert sorted(positions(7, 30)[30 * epoch : 30 * epoch + 30]) == list(range(30))
    assert positions(7, 30)[:30] != positions(7, 30)[30:60]
    whole = positions(7, 8, drops_rest=True)
    assert whole[:28] == positions(7, 4)
    assert whole[28:] == positions(30, 2)[30:58], "two of each pass are left out"


@pytest.mark.parametrize("several", [False, True], ids=["one size", "several sizes"])
def test_a_random_crop_is_a_piece_of_the_image_and_every_place_of_the_rectangle_occurs(several: bool) -> None:
    images = torch.arange(2 * 3 * 10 * 12).float().reshape(2, 3, 10, 12)
    places = set()
    for seed in range(300):
        for number, crop in enumerate(augment.random_crop([*images] if several else images, 8, draws(2, seed))):
            row, column = divmod(int(crop[0, 0, 0]) - number * 360, 12)
            torch.testing.assert_close(crop, images[number, :, row : row + 8, column : column + 8])
            places.add((row, column))
    assert places == {(row, column) for row in range(3) for column in range(5)}


def test_inception_crops_lie_within_the_image_and_keep_its_size() -> None:
    ramp = torch.arange(32.0).expand(64, 1, 32, 32)
    crops = augment.random_resized_crop(ramp, (0.25, 1.0), draws(64), 32)
    assert crops.shape == ramp.shape
    assert crops.min() >= 0
    assert crops.max() <= 31
    # A row of a crop is a linear ramp whose slope is the box's width relative to the image's.
    widths = (crops[:, 0, 16, 24] - crops[:, 0, 16, 8]) / 16
    assert widths.min() > math.sqrt(0.25 * 3 / 4) - 0.05
    assert widths.max() <= 1.001
    assert widths.std() > 0.05


def test_inception_crops_have_szegedys_areas_and_ratios() -> None:
    """Area uniform, ratio log-uniform in [3/4, 4/3]; half of the image at most, so that no box is cut at its edge."""
    count, area = 400, (0.25, 0.5)
    across = torch.arange(32.0).expand(count, 1, 32, 32)
    sizes = []  # of one and the same boxes: by how much neighbours of a view differ, along and down
    for ramp in (across, across.mT):
        crops = augment.random_resized_crop(ramp, area, draws(count), 32)[:, 0]
        sizes.append(torch.maximum(crops[:, 16, 20] - crops[:, 16, 12], crops[:, 20, 16] - crops[:, 12, 16]) / 8)
    width, height = (size.double() for size in sizes)
    assert scipy_stats.kstest(width * height, scipy_stats.uniform(area[0], area[1] - area[0]).cdf).pvalue > 0.001
    ratios = scipy_stats.uniform(-math.log(4 / 3), 2 * math.log(4 / 3))
    assert scipy_stats.kstest((width / height).log(), ratios.cdf).pvalue > 0.001


def test_half_of_the_images_are_mirrored() -> None:
    ramp = torch.arange(8.0).expand(400, 1, 2, 8)
    flipped = augment.random_flip(ramp, draws(400))
    mirrored = flipped[:, 0, 0, 0] == 7
    assert 160 < int(mirrored.sum()) < 240
    assert torch.equal(flipped[mirrored][0], ramp[0].flip(-1))
    assert torch.equal(flipped[~mirrored][0], ramp[0])


@pytest.mark.parametrize("size", [2, 3])
def test_an_images_view_does_not_depend_on_how_many_processes_there_are(size: int) -> None:
    images = torch.rand(12, 3, 10, 10)

    def views(part: slice) -> list[torch.Tensor]:
        cropped = augment.random_crop(images[part], 8, draws(12, 3, part))
        resized = augment.random_resized_crop(images[part], (0.2, 1.0), draws(12, 4, part), 8)
        return [cropped, resized, augment.random_flip(images[part], draws(12, 5, part))]

    whole = views(slice(None))
    for rank in range(size):
        part = slice(rank, None, size)
        for seen, expected in zip(views(part), whole, strict=True):
            torch.testing.assert_close(seen, expected[part], rtol=0, atol=0)


FRAMES = {"random": {}, "inception": {"frame": "original"}, "none": {"frame": "squash", "ratio": (1, 1)}}


@pytest.mark.parametrize("crop", FRAMES)
@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_a_process_has_its_part_of_the_batch_that_one_process_has(crop, mixup: float, monkeypatch) -> None:
    config = Config.model_validate({"crop": crop, **FRAMES[crop]})
    small = TOY.model_copy(update={"resolution": 6})
    corpus = Corpus(colours(counts=(10, 3, 3)).train, framing.trained_on(config, small), CPU)
    batches = Batches(corpus, Order(10, 8, ("a", 0)), small, framing.View(config, 6), mixup, 3)
    whole = batches.at(1)
    assert whole[0].shape == (8, 3, 6, 6)
    assert whole[1].shape == ((8, 3) if mixup else (8,))
    assert not mixup or whole[1].sum(dim=1).tolist() == pytest.approx([1] * 8)
    for rank in range(3):
        monkeypatch.setattr(distributed, "world", lambda rank=rank: distributed.World(rank, 3))
        pieces = zip(*(batches.at(1, part, 2) for part in range(2)), strict=True)
        for share, parts, expected in zip(batches.at(1), pieces, whole, strict=True):
            torch.testing.assert_close(share, expected[rank::3], rtol=0, atol=0)
            torch.testing.assert_close(torch.cat(parts), expected[rank::3], rtol=0, atol=0)


def test_mixup_blends_images_with_a_beta_weight() -> None:
    images = torch.rand(6, 3, 4, 4)
    weights = []
    for seed in range(400):
        blend, other, weight = augment.mixed(images, 0.4, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(blend, weight * images + (1 - weight) * images[other])
        weights.append(weight)
    # A Beta(a, a) weight has mean 1/2 and variance 1 / (4 (2a + 1)).
    assert np.mean(weights) == pytest.approx(0.5, abs=0.06)
    assert np.var(weights) == pytest.approx(1 / (4 * 1.8), rel=0.15)
