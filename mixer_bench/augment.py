"""Random views of training pictures, a whole batch at a time, on the device the batch is on."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def random_resized_crop(images: Tensor, area: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Cut a random box out of each picture and resize it to the picture's own size ("Inception crop").

    Area is uniform in ``area`` and the aspect ratio log-uniform in [3/4, 4/3] (Szegedy et al. 2015), the box clipped
    to the picture; bilinear. One ``grid_sample`` serves the batch.

    Args:
        images: float [B, C, H, W].
        area: smallest and largest share of the picture's area, in (0, 1].
        generator: on the CPU, so that the same seed gives the same boxes on every device.
    """
    count = len(images)
    uniform = torch.rand((4, count), generator=generator)
    share = area[0] + (area[1] - area[0]) * uniform[0]
    ratio = torch.exp((2 * uniform[1] - 1) * math.log(4 / 3))
    width = (share * ratio).sqrt().clamp(max=1.0)
    height = (share / ratio).sqrt().clamp(max=1.0)
    # In grid_sample's coordinates a picture spans [-1, 1]: the box's centre may move by what it leaves free.
    centre_x = (2 * uniform[2] - 1) * (1 - width)
    centre_y = (2 * uniform[3] - 1) * (1 - height)
    zero = torch.zeros(count)
    affine = torch.stack([width, zero, centre_x, zero, height, centre_y], dim=1).view(count, 2, 3)
    grid = functional.affine_grid(affine.to(images.device), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each picture [B, C, H, W] left to right with probability one half."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5  # noqa: PLR2004
    return torch.where(mirrored.to(images.device).view(-1, 1, 1, 1), images.flip(3), images)
