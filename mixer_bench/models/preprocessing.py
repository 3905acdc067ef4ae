"""From an image of any size to the square of uint8 a network expects: part of a run's identity."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field, PositiveInt

from mixer_bench.system.schema import Frozen

Resize = Literal["squash", "crop"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


class Preprocessing(Frozen):
    """How images become inputs: resize and crop with Pillow (antialiased), then ``(x / 255 - mean) / std``."""

    version: Literal[1] = 1  # raised whenever decoding, resizing or normalising changes what a network sees
    resolution: PositiveInt  # side of the square input, pixels
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation
    crop_pct: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the shorter side that the centre crop keeps
    resize: Resize = "crop"

    def square(self, image: np.ndarray) -> np.ndarray:
        """Resize and crop one image, uint8 [h, w, 3] to uint8 [resolution, resolution, 3].

        "squash" ignores the aspect ratio (VTAB, task_adaptation data_loader.py); "crop" is the checkpoint's own
        evaluation: the shorter side to ``resolution / crop_pct``, then the central square, as timm and torchvision do.
        """
        side, scaled = self.resolution, self._scaled_side
        height, width = image.shape[:2]
        filter_ = Image.Resampling[self.interpolation.upper()]
        if height == width == side and (self.resize == "squash" or scaled == side):
            return image
        if self.resize == "squash":
            return np.asarray(Image.fromarray(image).resize((side, side), filter_))
        # The longer side is cut to whole pixels, not rounded, as torchvision does.
        size = (int(scaled * width / min(width, height)), int(scaled * height / min(width, height)))
        resized = Image.fromarray(image).resize(size, filter_)
        left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
        return np.asarray(resized.crop((left, top, left + side, top + side)))

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
