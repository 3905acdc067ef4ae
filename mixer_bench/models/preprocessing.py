"""From an image of any size to the square of uint8 a network expects: part of a run's identity."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

Resize = Literal["squash", "crop"]
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class Preprocessing(BaseModel):
    """How images become inputs: resize and crop with Pillow (antialiased), then ``(x / 255 - mean) / std``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1  # raised whenever decoding, resizing or normalising changes what a network sees
    resolution: PositiveInt  # side of the square input, pixels
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    crop_pct: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the shorter side that the centre crop keeps
    resize: Resize = "crop"

    def square(self, image: np.ndarray) -> np.ndarray:
        """Resize and crop one image, uint8 [h, w, 3] to uint8 [resolution, resolution, 3].

        "squash" ignores the aspect ratio (VTAB, task_adaptation data_loader.py); "crop" is the checkpoint's own
        evaluation: the shorter side to ``resolution / crop_pct``, then the central square, as timm and torchvision do.
        """
        side = self.resolution
        height, width = image.shape[:2]
        filter_ = RESAMPLING[self.interpolation]
        if self.resize == "squash" or height == width == side == self._scaled_side:
            if (height, width) == (side, side):
                return image
            return np.asarray(Image.fromarray(image).resize((side, side), filter_))
        scaled = self._scaled_side
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
        """For people: what happens to an image."""
        side = self.resolution
        if self.resize == "squash":
            shape = f"{self.interpolation} to {side} x {side} px, whatever its shape"
        else:
            shape = f"shorter side {self.interpolation} to {self._scaled_side} px, central {side} x {side} px"
        mean, std = (", ".join(f"{value:g}" for value in dict.fromkeys(values)) for values in (self.mean, self.std))
        return f"{shape}; (x / 255 - {_bracketed(mean)}) / {_bracketed(std)}"

    def for_task(self, resize: Resize) -> Preprocessing:
        """With a task's resize rule: "squash", or by "crop" the checkpoint's own, which may be to squash as well."""
        return self.model_copy(update={"resize": "squash"}) if resize == "squash" else self


def _bracketed(values: str) -> str:
    return f"({values})" if "," in values else values
