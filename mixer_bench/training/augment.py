"""Random views of training images, a whole batch at a time, on the device the batch is on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


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

    def integers(self, numbers: int, end: int) -> Tensor:
        """Draw so many numbers from 0 to below ``end`` for each image: int64 [numbers, images]."""
        return torch.randint(0, end, (numbers, self.count), generator=self.generator)[:, self.part]


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
    grid = functional.affine_grid(affine.to(images.device), [*images.shape[:2], side, side], align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def random_crop(images: Tensor, side: int, draws: Draws) -> Tensor:
    """Return a square of ``side`` pixels at a random place of each image [B, C, S, S]; whole pixels, S >= side."""
    free = images.shape[-1] - side
    if free == 0:
        return images
    top, left = draws.integers(2, free + 1).to(images.device)
    places = images.unfold(2, side, 1).unfold(3, side, 1)  # each place of the square, a view [B, C, F, F, side, side]
    return places[torch.arange(len(images), device=images.device), :, top, left]


def central_crop(images: Tensor, side: int) -> Tensor:
    """Return the central square of ``side`` pixels of each image [B, C, S, S]."""
    start = round((images.shape[-1] - side) / 2)
    return images[..., start : start + side, start : start + side]


def random_flip(images: Tensor, draws: Draws) -> Tensor:
    """Mirror each image [B, C, H, W] left to right with probability one half."""
    mirrored = draws.uniform(1)[0] < 0.5  # noqa: PLR2004
    return torch.where(mirrored.to(images.device).view(-1, 1, 1, 1), images.flip(3), images)


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
    return images.mul(weight).add_(images[other.to(images.device)], alpha=1 - weight), other, weight
