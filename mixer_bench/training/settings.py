"""All settings of fine-tuning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from mixer_bench.system.schema import Frozen, Positive

VERSION = 1


class Config(Frozen):
    """All settings of the training. The defaults are mixer-paper's for a small set; a preset sets them by task."""

    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.003, 0.01, 0.03, 0.06)
    steps: PositiveInt = 500
    warmup: NonNegativeInt = 100  # steps
    decay: Literal["cosine", "linear", "steps"] = "cosine"
    decay_at: tuple[int, ...] = ()  # steps at which "steps" takes a tenth of the rate
    batch_size: PositiveInt = 512  # of all processes together
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegativeFloat = 0.0
    clip: NonNegativeFloat = 1.0  # largest global gradient norm; 0 for none
    crop: Literal["random", "inception", "none"] = "random"
    flip: bool = True
    margin: Annotated[int, Field(ge=224)] = 256  # pixels that images are resized to, for an input of 224
    mixup: NonNegativeFloat = 0.0  # of the Beta distribution; 0 for none
    smallest_crop: PositiveFloat = 0.05  # share of the area, of inception crops
