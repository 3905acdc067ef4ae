"""From an image of any size to the square of uint8 a network expects: part of a run's identity."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field, PositiveInt

from mixer_bench.models import resampling
from mixer_bench.system.schema import Frozen

Resize = Literal["squash", "crop"]


class Squares(NamedTuple):
    """By which rule squares are made of images: what all models that see equal squares have in common."""

    version: int
    resolution: int
    interpolation: resampling.Interpolation
    resize: Resize
    shorter: int  # what the shorter side becomes before the crop, pixels; of a squashed image the square's side


class Preprocessing(Frozen):
    """How images become inputs: resize and crop with Pillow (antialiased), then ``(x / 255 - mean) / std``."""

    # Raised whenever decoding, resizing or normalising changes what a network sees. Of version 1 only records are left:
    # the order of a resize's two passes was Pillow's, another one since Pillow 13, and all images were turned upright.
    version: Literal[1, 2] = 2
    resolution: PositiveInt  # side of the square input, pixels
    mean: tuple[float, float, float]  # by channel, of values from 0 to 1
    std: tuple[float, float, float]  # likewise
    interpolation: resampling.Interpolation  # filter of the resize
    crop_pct: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the shorter side that the centre crop keeps
    resize: Resize = "crop"  # to a square whatever the shape, or a central crop

    def square(self, image: np.ndarray) -> np.ndarray:
        """Resize and crop one image, uint8 [h, w, 3] to uint8 [resolution, resolution, 3]."""
        height, width, kept = self.placed(*image.shape[:2])
        return resampling.pillow(image, height, width, self.interpolation, kept)

    def placed(self, height: int, width: int) -> tuple[int, int, resampling.Part]:
        """Return what an image of that size is resized to, height and width in pixels, and what is kept of it.

        "squash" ignores the aspect ratio (VTAB, task_adaptation data_loader.py); "crop" is the checkpoint's own
        evaluation: the shorter side to ``resolution / crop_pct``, then the central square, as timm and torchvision do.
        """
        side = self.resolution
        if self.resize == "squash":
            return side, side, resampling.ALL
        # torchvision's rounding (transforms/functional.py): the longer side is cut to whole pixels, the offset rounded.
        tall, wide = (int(self._scaled_side * length / min(height, width)) for length in (height, width))
        top, left = (round((length - side) / 2) for length in (tall, wide))
        return tall, wide, (slice(top, top + side), slice(left, left + side))

    @property
    def squares(self) -> Squares:
        """The rule of the squares. Where two are equal an image is decoded and resized once for both.

        Mean and std come afterwards, and a squashed image has no crop.
        """
        shorter = self.resolution if self.resize == "squash" else self._scaled_side
        return Squares(self.version, self.resolution, self.interpolation, self.resize, shorter)

    @property
    def _scaled_side(self) -> int:
        return int(self.resolution / self.crop_pct)

    @property
    def words(self) -> str:
        """What happens to an image, in words."""
        side = self.resolution
        if self.resize == "squash":
            shape = f"{self.interpolation} to {side} x {side} px, whatever its shape"
        else:
            shape = f"shorter side {self.interpolation} to {self._scaled_side} px, central {side} x {side} px"
        mean, std = (", ".join(f"{value:g}" for value in dict.fromkeys(values)) for values in (self.mean, self.std))
        mean, std = (f"({values})" if "," in values else values for values in (mean, std))
        return f"{shape}; (x / 255 - {mean}) / {std}"

    def for_task(self, resize: Resize) -> Preprocessing:
        """Apply a task's resize rule: "squash", or by "crop" the checkpoint's own, which may be to squash as well."""
        return self.model_copy(update={"resize": "squash"}) if resize == "squash" else self
