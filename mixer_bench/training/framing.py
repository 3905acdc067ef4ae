"""How images are framed: what they are resized to before training and for judging, and the views cut from that.

The two are prepared apart, because the sources do so: BiT trains on random crops and tests on the whole image, squashed
(Kolesnikov et al. 2020, section 3.3); big_vision trains on inception crops and tests on the centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from mixer_bench.models import resampling
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.models.resampling import Interpolation, Quantise
from mixer_bench.training import augment
from mixer_bench.training.augment import Draws, Images
from mixer_bench.training.settings import Config

LONGEST = 16  # times its shorter side: what is kept of a longer image is its middle


@dataclass(frozen=True)
class Frame:
    """What an image is resized to, and how: all that decides its bytes in memory."""

    shape: Literal["squash", "shorter", "original"]
    side: int  # of the square or of the shorter side, pixels
    resample: Literal["bilinear", "area"] | None = None  # TensorFlow's operators; None: Pillow's ``interpolation``
    interpolation: Interpolation | None = None
    quantise: Quantise = "round"
    central: int | None = None  # side of the central square that is kept, pixels; None: all is

    @property
    def square(self) -> int | None:
        """The side of what every image becomes; None where they keep shapes of their own."""
        return self.side if self.shape == "squash" and self.central is None else self.central

    @property
    def words(self) -> str:
        """What happens to an image, in words."""
        if self.shape == "original":
            return "as it is"
        shape = "whatever its shape" if self.shape == "squash" else "its shorter side"
        central = f", central {self.central} px" if self.central else ""
        return f"{self.interpolation or self.resample} to {self.side} px, {shape}{central}"

    @property
    def dtype(self) -> type[np.generic]:
        """What the values are."""
        return np.float32 if self.quantise == "no" and self.shape != "original" else np.uint8

    def of(self, image: np.ndarray) -> np.ndarray:
        """Return the frame of one image, uint8 [h, w, 3] to uint8 or float32 [3, height, width]."""
        framed = image if self.shape == "original" else self._resized(image, *self._size(*image.shape[:2]))
        return np.ascontiguousarray(framed.transpose(2, 0, 1), dtype=self.dtype)

    def _size(self, height: int, width: int) -> tuple[int, int]:
        if self.shape == "squash":
            return self.side, self.side
        if self.resample is None:  # the longer side is cut to whole pixels, as torchvision does
            return self.side * height // min(height, width), self.side * width // min(height, width)
        # big_vision's `resize_small` (pp/ops_image.py): rounded, in float32.
        scale = np.float32(self.side) / np.float32(min(height, width))
        return int(np.rint(height * scale)), int(np.rint(width * scale))

    def _resized(self, image: np.ndarray, height: int, width: int) -> np.ndarray:
        # Views are cut from all that is kept; of a line of pixels that would be a gigabyte, so its far ends are not.
        longest = self.central or LONGEST * self.side
        kept = (_centre(height, longest), _centre(width, longest))
        if self.interpolation is not None:
            return resampling.pillow(image, height, width, self.interpolation, kept)
        if (height, width) == image.shape[:2]:
            return image[kept]
        operator = resampling.area if self.resample == "area" else resampling.bilinear
        return resampling.quantised(operator(image, height, width, kept), self.quantise)


def _centre(length: int, longest: int) -> slice:
    """Return where the central pixels of so many lie, rounded down as big_vision's ``central_crop``; all if few."""
    start = max(length - longest, 0) // 2
    return slice(start, min(start + longest, length))


def trained_on(config: Config, preprocessing: Preprocessing) -> Frame:
    """Return the frame that views are cut from in training."""
    return _frame(config, preprocessing, config.frame)


def judged_by(config: Config, preprocessing: Preprocessing) -> Frame:
    """Return the frame of val and test, of the network's input size."""
    side = preprocessing.resolution
    if config.evaluation == "whole":
        return _frame(config.model_copy(update={"ratio": (1, 1)}), preprocessing, "squash")
    shape: Literal["squash", "shorter"] = "squash" if config.evaluation == "squash-central" else "shorter"
    return _frame(config, preprocessing, shape, central=side)


def of_card(preprocessing: Preprocessing) -> Frame:
    """Return the frame that a checkpoint's own preparation gives, of the network's input size."""
    side = preprocessing.resolution
    if preprocessing.resize == "squash":
        return Frame("squash", side, None, preprocessing.interpolation)
    return Frame("shorter", int(side / preprocessing.crop_pct), None, preprocessing.interpolation, central=side)


def _frame(
    config: Config,
    preprocessing: Preprocessing,
    shape: Literal["squash", "shorter", "original"],
    central: int | None = None,
) -> Frame:
    if shape == "original":
        return Frame("original", 0)
    side = round(preprocessing.resolution * config.ratio[0] / config.ratio[1])
    if config.resample == "card":
        return Frame(shape, side, None, preprocessing.interpolation, "round", central)
    return Frame(shape, side, config.resample, None, config.quantise, central)


@dataclass(frozen=True)
class View:
    """The random views that a training sees of frames."""

    config: Config
    side: int  # of the network's input, pixels

    def __call__(self, frames: Images, draws: Draws) -> Tensor:
        """Return float32 [n, 3, side, side], in memory of its own; values 0..255."""
        views = self._cut(frames, draws)
        return augment.random_flip(views, draws) if self.config.flip else views

    def _cut(self, frames: Images, draws: Draws) -> Tensor:
        config = self.config
        if config.crop == "none":
            assert isinstance(frames, Tensor), "whole images are squashed to one size"
            return frames.float()
        if config.crop == "random":
            return augment.random_crop(frames, self.side, draws).float()
        heights, widths = augment.sizes(frames)
        boxes = augment.inception_boxes(heights, widths, config.smallest_crop, config.crop_law, draws)
        views = augment.boxes_resized(frames, boxes, self.side)
        if config.quantise == "no":
            return views
        return views.trunc_() if config.quantise == "truncate" else views.round_()
