"""Boxes out of images: TensorFlow's law of drawing them, and its way of resizing them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mixer_bench.training.augment import Draws, boxes_resized, inception_boxes
from tests.patterns import BOXES, CROPPED, SIDE, SIZES, pattern, summary

THEIRS = np.load(Path(__file__).parents[1] / "golden/tensorflow_operators.npz")
COUNT = 10_000


def draws(count: int, seed: int = 0, part: slice = slice(None)) -> Draws:
    return Draws(torch.Generator().manual_seed(seed), count, part)


def sizes(height: int, width: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((count,), height), torch.full((count,), width)


@pytest.mark.parametrize(("height", "width"), CROPPED)
def test_boxes_are_drawn_by_tensorflows_law(height: int, width: int) -> None:
    boxes = inception_boxes(*sizes(height, width, COUNT), 0.05, "tf", draws(COUNT)).numpy()
    theirs = THEIRS[f"inception {height} {width}"]
    # Two samples of 10,000: quantiles of a spread below 1 differ by a few thousandths.
    np.testing.assert_allclose(summary(boxes, height, width), theirs, atol=0.025)
    assert (boxes[:, 2:] > 0).all()
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= (height, width)).all()


@pytest.mark.parametrize(("height", "width"), CROPPED[:3])
def test_the_older_law_has_a_uniform_area_and_a_log_uniform_ratio(height: int, width: int) -> None:
    boxes = inception_boxes(*sizes(height, width, COUNT), 0.25, "area-uniform", draws(COUNT)).numpy()
    small = boxes[:, 2] * boxes[:, 3] / (height * width)
    # Up to 9/16 of a square any ratio fits, so that no box is cut to the image.
    assert np.quantile(small, 0.2) == pytest.approx(0.25 + 0.2 * 0.75, abs=0.02)
    # Of an area below 3/4 of the shorter side's square no ratio up to 4/3 is cut, so that all are there alike.
    uncut = boxes[boxes[:, 2] * boxes[:, 3] < 0.74 * min(height, width) ** 2]
    ratio = np.log(uncut[:, 3] / uncut[:, 2]) / np.log(4 / 3)
    assert np.quantile(ratio, (0.02, 0.25, 0.5, 0.75, 0.98)) == pytest.approx([-0.96, -0.5, 0, 0.5, 0.96], abs=0.05)
    assert (boxes[:, :2] + boxes[:, 2:] <= (height, width)).all()
    assert {0, height} <= {*boxes[:, 0], *(boxes[:, 0] + boxes[:, 2])}, "both edges are touched"


@pytest.mark.parametrize(("height", "width"), [(1, 6000), (6000, 1), (1, 1)])
def test_an_image_that_no_box_fits_is_taken_whole(height: int, width: int) -> None:
    boxes = inception_boxes(*sizes(height, width, 3), 0.05, "tf", draws(3))
    assert boxes.tolist() == [[0, 0, height, width]] * 3


def test_a_box_depends_on_no_other_image_and_no_number_of_processes() -> None:
    heights, widths = torch.tensor([32, 40, 1, 500]), torch.tensor([32, 400, 6000, 375])
    drawn = draws(4, 7)
    boxes = inception_boxes(heights, widths, 0.05, "tf", drawn)
    after = drawn.uniform(1)
    others = draws(4, 7)
    easy = inception_boxes(heights, torch.tensor([32, 50, 50, 375]), 0.05, "tf", others)
    assert torch.equal(boxes[[0, 3]], easy[[0, 3]])
    assert torch.equal(after, others.uniform(1)), "however many attempts it took"
    for part in (slice(0, None, 2), slice(1, None, 2)):
        assert torch.equal(inception_boxes(heights[part], widths[part], 0.05, "tf", draws(4, 7, part)), boxes[part])


def test_a_box_is_resized_as_tensorflow_does_with_nothing_of_what_lies_around_it() -> None:
    shown = pattern(*SIZES[0][:2])
    boxes = torch.tensor(BOXES)
    theirs = np.stack([THEIRS[f"box {' '.join(map(str, box))}"] for box in BOXES])
    batch = torch.from_numpy(np.stack([shown] * len(BOXES))).permute(0, 3, 1, 2)
    for images in (batch, [*batch]):
        views = boxes_resized(images, boxes, SIDE)
        assert views.dtype == torch.float32
        assert np.array_equal(views.permute(0, 2, 3, 1).numpy(), theirs)
    bright = torch.full_like(batch, 255)
    for image, (top, left, height, width) in zip(bright, BOXES, strict=True):
        image[:, top : top + height, left : left + width] = batch[0, :, top : top + height, left : left + width]
    assert np.array_equal(boxes_resized(bright, boxes, SIDE).permute(0, 2, 3, 1).numpy(), theirs)
