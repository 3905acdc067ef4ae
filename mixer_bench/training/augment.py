"""Random views of training images, a whole batch at a time, on the device the batch is on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from mixer_bench.models.device import on_device

Images = Tensor | Sequence[Tensor]  # of one size [n, 3, H, W], or of several, [3, h, w] each

ATTEMPTS = 100  # at a box that fits, as TensorFlow's `max_attempts`; then it is the whole image
RATIOS = (0.75, 1.33)  # of a box's width to its height, TensorFlow's `aspect_ratio_range`


@dataclass(frozen=True)
class Draws:
    """Random numbers for the images of a batch.

    Where several processes share a batch, each draws for all of it and keeps its ``part``, so that an image's view does
    not depend on how many processes there are.
    """

    generator: torch.Generator  # on the CPU, so that the same seed gives the same numbers on every device
    count: int  # images in the whole batch
    part: slice  # which of them are here

    def uniform(self, numbers: int) -> Tensor:
        """Draw so many numbers from [0, 1) for each image: float [numbers, images]."""
        return torch.rand((numbers, self.count), generator=self.generator)[:, self.part]

    def apart(self) -> Draws:
        """Return draws of the same images that may be any number: these here go on as after one draw."""
        seed = int(torch.randint(0, 1 << 62, (), generator=self.generator))
        return replace(self, generator=torch.Generator().manual_seed(seed))


def sizes(images: Images) -> Tensor:
    """Return heights and widths, pixels, int64 [2, n]."""
    if isinstance(images, Tensor):
        return torch.tensor(images.shape[2:])[:, None].expand(2, len(images))
    return torch.tensor([image.shape[1:] for image in images]).T


def inception_boxes(
    heights: Tensor, widths: Tensor, smallest: float, law: Literal["tf", "area-uniform"], draws: Draws
) -> Tensor:
    """Draw a box out of each image ("Inception crop"), in whole pixels of it.

    "tf" is the law of TensorFlow's ``sample_distorted_bounding_box``, with no object to be covered
    (tensorflow/core/kernels/image/sample_distorted_bounding_box_op.cc): the ratio is uniform in ``RATIOS``, then the
    height between the bounds that area and ratio set, so that small boxes are more frequent. "area-uniform" is
    Szegedy et al.'s (2015): the area uniform, the ratio log-uniform in [3/4, 4/3], the box cut to the image.

    Args:
        heights: of the images, pixels, int64 [n].
        widths: of the images, pixels, int64 [n].
        smallest: share of an image's area that a box has at least, in (0, 1]; the largest is 1.
        law: how it is drawn.
        draws: of these images.

    Returns:
        int64 [n, 4]: top, left, height and width of each box.
    """
    tall, wide = heights.double(), widths.double()
    if law == "area-uniform":
        share, ratio, down, along = draws.uniform(4).double()
        area, ratio = (smallest + (1 - smallest) * share) * tall * wide, (4 / 3) ** (2 * ratio - 1)
        height, width = ((area / ratio).sqrt().round(), (area * ratio).sqrt().round())
        height, width = height.clamp(1).minimum(tall), width.clamp(1).minimum(wide)
        return torch.stack([down * (tall - height + 1), along * (wide - width + 1), height, width], 1).long()
    boxes = torch.stack([torch.zeros_like(tall), torch.zeros_like(tall), tall, wide], 1)
    missing = torch.ones_like(heights, dtype=torch.bool)
    attempts = draws.apart()  # as many as it takes: no image's box depends on how often another's failed
    for _ in range(ATTEMPTS):
        height, width, fits = _sized(tall, wide, smallest, attempts.uniform(2).double())
        place = attempts.uniform(2).double()
        # TensorFlow draws the place below what is free: a box that is cut never touches the far edge.
        drawn = torch.stack([place[0] * (tall - height), place[1] * (wide - width), height, width], 1).floor()
        boxes = torch.where((missing & fits)[:, None], drawn, boxes)
        missing = missing & ~fits
        if not missing.any():
            break
    return boxes.long()


def _sized(tall: Tensor, wide: Tensor, smallest: float, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Make one attempt at a box's height and width, and tell whether it fits; rounded where the kernel rounds."""
    ratio = RATIOS[0] + (RATIOS[1] - RATIOS[0]) * uniform[0]
    largest_area = tall * wide
    smallest_area = smallest * largest_area
    lowest, highest = (smallest_area / ratio).sqrt().round(), (largest_area / ratio).sqrt().round()
    by_width = ((wide + 0.5 - 1e-7) / ratio).floor()
    by_width = by_width - ((by_width * ratio).round() > wide).double()
    highest = torch.where((highest * ratio).round() > wide, by_width, highest).minimum(tall)
    lowest = lowest.minimum(highest)
    height = lowest + (uniform[1] * (highest - lowest + 1)).floor()
    height = height + (height * (height * ratio).round() < smallest_area).double()
    height = height - (height * (height * ratio).round() > largest_area).double()
    width = (height * ratio).round()
    area = height * width
    fits = (area >= smallest_area) & (area <= largest_area) & (width <= wide) & (height <= tall) & (area > 0)
    return height, width, fits


def boxes_resized(images: Images, boxes: Tensor, side: int) -> Tensor:
    """Cut a box out of each image and resize it, as TensorFlow 2 does: bilinear, no antialiasing.

    Nothing outside a box is looked at.

    Args:
        images: uint8.
        boxes: top, left, height and width, pixels, int64 [n, 4].
        side: of the views, pixels.

    Returns:
        float32 [n, 3, side, side] where the images are.
    """
    if not isinstance(images, Tensor):
        boxed = zip(images, on_device(boxes, images[0].device).split(1), strict=True)
        return torch.cat([boxes_resized(image[None], box, side) for image, box in boxed])
    top, left, height, width = on_device(boxes, images.device).T
    (above, below, down), (before, after, along) = _between(top, height, side), _between(left, width, side)
    count, channels, _, row = images.shape
    pixels = images.flatten(2)

    def corner(rows: Tensor, columns: Tensor) -> Tensor:
        places = (rows[:, :, None] * row + columns[:, None, :]).view(count, 1, -1)
        return pixels.gather(2, places.expand(-1, channels, -1)).float().view(count, channels, side, side)

    def across(rows: Tensor) -> Tensor:
        first = corner(rows, before)
        return first + (corner(rows, after) - first) * along[:, None, None, :]

    upper = across(above)
    return upper + (across(below) - upper) * down[:, None, :, None]


def _between(start: Tensor, length: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for each box, the two pixels that each place lies between, and the second one's share: [n, side]."""
    places = torch.arange(side, device=start.device) + 0.5
    # A GPU would take a number's inverse, and with it other bits; it divides by what lies in its own memory.
    scale = length.float() / torch.full((), float(side), device=start.device)
    place = places * scale[:, None] - 0.5
    floor = place.floor()
    lower, upper = floor.clamp(0).long(), place.ceil().long().minimum((length - 1)[:, None])
    return lower + start[:, None], upper + start[:, None], place - floor


def random_resized_crop(images: Tensor, area: tuple[float, float], draws: Draws, side: int) -> Tensor:
    """Cut a random box out of each image and resize it ("Inception crop").

    Area is uniform in ``area`` and the aspect ratio log-uniform in [3/4, 4/3] (Szegedy et al. 2015), the box clipped
    to the image; bilinear. One ``grid_sample`` serves the batch.

    Args:
        images: float [B, C, H, W].
        area: smallest and largest share of the image's area, in (0, 1].
        draws: of these images.
        side: of the views, pixels.
    """
    uniform = draws.uniform(4)
    share = area[0] + (area[1] - area[0]) * uniform[0]
    ratio = torch.exp((2 * uniform[1] - 1) * math.log(4 / 3))
    width = (share * ratio).sqrt().clamp(max=1.0)
    height = (share / ratio).sqrt().clamp(max=1.0)
    # In grid_sample's coordinates an image spans [-1, 1]: the box's centre may move by what it leaves free.
    centre_x = (2 * uniform[2] - 1) * (1 - width)
    centre_y = (2 * uniform[3] - 1) * (1 - height)
    zero = torch.zeros_like(width)
    affine = torch.stack([width, zero, centre_x, zero, height, centre_y], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(
        on_device(affine, images.device), [*images.shape[:2], side, side], align_corners=False
    )
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def random_crop(images: Images, side: int, draws: Draws) -> Tensor:
    """Return a square of ``side`` pixels at a random place of each image, [n, 3, side, side]; whole pixels.

    Every place is as likely; no side of an image is shorter than ``side``.
    """
    top, left = (draws.uniform(2).double() * (sizes(images) - side + 1)).long()
    if not isinstance(images, Tensor):
        places = zip(images, top.tolist(), left.tolist(), strict=True)
        return torch.stack([image[:, row : row + side, column : column + side] for image, row, column in places])
    cut = images.unfold(2, side, 1).unfold(3, side, 1)  # each place of the square, a view [n, 3, F, F', side, side]
    number = torch.arange(len(images), device=images.device)
    return cut[number, :, on_device(top, images.device), on_device(left, images.device)]


def random_flip(images: Tensor, draws: Draws) -> Tensor:
    """Mirror each image [B, C, H, W] left to right with probability one half."""
    mirrored = draws.uniform(1)[0] < 0.5  # noqa: PLR2004
    return torch.where(on_device(mirrored, images.device).view(-1, 1, 1, 1), images.flip(3), images)


def mixed(images: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Blend each image with another of the batch, by one weight a batch: mixup (Zhang et al. 2018).

    Args:
        images: float [B, C, S, S].
        alpha: of the Beta distribution the weight is drawn from.
        generator: on the CPU.

    Returns:
        The blend, the positions [B] of the other images, and the weight of the image itself.
    """
    # Johnk's way to Beta(a, a): a share of two powers, drawn again where their sum exceeds 1.
    total = math.inf
    while not 0 < total <= 1:
        first, second = (torch.rand(2, generator=generator).double() ** (1 / alpha)).tolist()
        total = first + second
    weight = first / total
    other = torch.randperm(len(images), generator=generator)
    return images.mul(weight).add_(images[on_device(other, images.device)], alpha=1 - weight), other, weight
