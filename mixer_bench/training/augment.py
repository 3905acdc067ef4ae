"""Random views of training images, a whole batch at a time, on the device the batch is on.

Where several processes share a batch, each draws for all of it and keeps its ``part``, so that an image's view does
not depend on how many processes there are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

ALL = slice(None)


def random_resized_crop(
    images: Tensor,
    area: tuple[float, float],
    generator: torch.Generator,
    side: int | None = None,
    count: int | None = None,
    part: slice = ALL,
) -> Tensor:
    """Cut a random box out of each image and resize it to the image's own size ("Inception crop").

    Area is uniform in ``area`` and the aspect ratio log-uniform in [3/4, 4/3] (Szegedy et al. 2015), the box clipped
    to the image; bilinear. One ``grid_sample`` serves the batch.

    Args:
        images: float [B, C, H, W].
        area: smallest and largest share of the image's area, in (0, 1].
        generator: on the CPU, so that the same seed gives the same boxes on every device.
        side: of the views, pixels; None: the images' own.
        count: images in the whole batch; None: these.
        part: which of the whole batch these are.
    """
    uniform = torch.rand((4, count or len(images)), generator=generator)[:, part]
    count = len(images)
    share = area[0] + (area[1] - area[0]) * uniform[0]
    ratio = torch.exp((2 * uniform[1] - 1) * math.log(4 / 3))
    width = (share * ratio).sqrt().clamp(max=1.0)
    height = (share / ratio).sqrt().clamp(max=1.0)
    # In grid_sample's coordinates an image spans [-1, 1]: the box's centre may move by what it leaves free.
    centre_x = (2 * uniform[2] - 1) * (1 - width)
    centre_y = (2 * uniform[3] - 1) * (1 - height)
    zero = torch.zeros(count)
    affine = torch.stack([width, zero, centre_x, zero, height, centre_y], dim=1).view(count, 2, 3)
    shape = [*images.shape[:2], side or images.shape[2], side or images.shape[3]]
    grid = functional.affine_grid(affine.to(images.device), shape, align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def random_crop(
    images: Tensor, side: int, generator: torch.Generator, count: int | None = None, part: slice = ALL
) -> Tensor:
    """A square of ``side`` pixels at a random place of each image [B, C, S, S]; whole pixels, S >= side."""
    free = images.shape[-1] - side
    if free == 0:
        return images
    start = torch.randint(0, free + 1, (2, count or len(images)), generator=generator)[:, part].to(images.device)
    within = torch.arange(side, device=images.device)
    rows, columns = (start[0][:, None] + within)[:, None, :, None], (start[1][:, None] + within)[:, None, None, :]
    batch = torch.arange(len(images), device=images.device)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return images[batch, channels, rows, columns]


def central_crop(images: Tensor, side: int) -> Tensor:
    """The central square of ``side`` pixels of each image [B, C, S, S]."""
    start = round((images.shape[-1] - side) / 2)
    return images[..., start : start + side, start : start + side]


def mixed(images: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Mixup (Zhang et al. 2018): each image blended with another of the batch, one weight a batch.

    Args:
        images: float [B, C, S, S].
        alpha: of the Beta distribution the weight is drawn from.
        generator: on the CPU.

    Returns:
        The blend, the positions [B] of the other images, and the weight of the own one.
    """
    # Beta(a, a) from two Gamma draws by Marsaglia and Tsang's boost is more than is needed: a ratio of powers (Johnk).
    while True:
        first, second = (torch.rand(2, generator=generator).double() ** (1 / alpha)).tolist()
        if 0 < first + second <= 1:
            break
    weight = first / (first + second)
    other = torch.randperm(len(images), generator=generator)
    return images.mul(weight).add_(images[other.to(images.device)], alpha=1 - weight), other, weight


def random_flip(images: Tensor, generator: torch.Generator, count: int | None = None, part: slice = ALL) -> Tensor:
    """Mirror each image [B, C, H, W] left to right with probability one half."""
    mirrored = torch.rand(count or len(images), generator=generator)[part] < 0.5  # noqa: PLR2004
    return torch.where(mirrored.to(images.device).view(-1, 1, 1, 1), images.flip(3), images)
