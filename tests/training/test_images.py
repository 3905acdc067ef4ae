"""What trainings see: images kept or streamed, their order, and random views of them."""

import math

import numpy as np
import pytest
import torch

from mixer_bench.training import augment, distributed
from mixer_bench.training import images as images_module
from mixer_bench.training.augment import Draws
from mixer_bench.training.images import Batches, Corpus, Order
from tests.builders import TOY, colours

CPU = torch.device("cpu")


def draws(count: int, seed: int = 0, part: slice = slice(None)) -> Draws:
    return Draws(torch.Generator().manual_seed(seed), count, part)


def test_streamed_images_are_the_resident_ones() -> None:
    examples = colours(counts=(12, 3, 3)).train
    resident, streamed = (Corpus(examples, TOY, CPU, resident=kept) for kept in (True, False))
    for positions in (torch.tensor([3, 1, 1]), torch.tensor([11, 0])):
        streamed.expect(torch.tensor([11, 0]))
        torch.testing.assert_close(resident.images(positions), streamed.images(positions), rtol=0, atol=0)
    torch.testing.assert_close(resident.labels, streamed.labels)


@pytest.mark.parametrize(("free", "decoded"), [(1000, 1), (1 << 30, 60)])
def test_images_that_do_not_fit_are_streamed(free: int, decoded: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixer_bench.training.images._free", lambda _device: free)
    seen = []
    square = type(TOY).square
    monkeypatch.setattr(type(TOY), "square", lambda self, image: seen.append(1) or square(self, image))
    Corpus(colours().train, TOY, CPU).images(torch.tensor([5]))
    assert len(seen) == decoded


def test_the_last_two_corpora_are_kept_for_all_who_resize_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "_KEPT", {})
    examples = {name: colours(counts=(3, 3, 3), seed=seed).train for seed, name in enumerate("abc")}
    made = [images_module.shelved(examples[name], TOY, CPU) for name in "abacab"]
    assert made[0] is made[2] is made[4]
    assert made[1] is not made[5], "b was the one not asked for longest when c came"
    assert images_module.shelved(examples["a"], TOY.model_copy(update={"mean": (0.1, 0.2, 0.3)}), CPU) is made[0]
    assert images_module.shelved(examples["a"], TOY.model_copy(update={"resolution": 4}), CPU) is not made[0]


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


def test_a_random_crop_is_a_piece_of_the_image_and_every_place_occurs() -> None:
    images = torch.arange(2 * 3 * 10 * 10).float().reshape(2, 3, 10, 10)
    places = set()
    for seed in range(200):
        for number, crop in enumerate(augment.random_crop(images, 8, draws(2, seed))):
            row, column = divmod(int(crop[0, 0, 0]) - number * 300, 10)
            torch.testing.assert_close(crop, images[number, :, row : row + 8, column : column + 8])
            places.add((row, column))
    assert places == {(row, column) for row in range(3) for column in range(3)}
    torch.testing.assert_close(augment.central_crop(images, 8), images[:, :, 1:9, 1:9])


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


@pytest.mark.parametrize("crop", ["random", "inception", "none"])
@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_a_process_has_its_part_of_the_batch_that_one_process_has(crop, mixup: float, monkeypatch) -> None:
    corpus = Corpus(colours(counts=(10, 3, 3)).train, TOY, CPU)
    small = TOY.model_copy(update={"resolution": 6})
    batches = Batches(corpus, Order(10, 8, ("a", 0)), small, crop, True, 0.3, mixup, 3)
    whole = batches.at(1)
    assert whole[0].shape == (8, 3, 6, 6)
    assert whole[1].shape == ((8, 3) if mixup else (8,))
    for rank in range(3):
        monkeypatch.setattr(distributed, "world", lambda rank=rank: distributed.World(rank, 3))
        for part, expected in zip(batches.at(1), whole, strict=True):
            torch.testing.assert_close(part, expected[rank::3], rtol=0, atol=0)


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
