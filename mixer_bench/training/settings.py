"""All settings of fine-tuning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from mixer_bench.models.resampling import Quantise
from mixer_bench.system.schema import Frozen, Positive

VERSION = 2


class Config(Frozen):
    """All settings of the training. The defaults are mixer-paper's for a small set; a preset sets them by task."""

    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.003, 0.01, 0.03, 0.06)
    steps: PositiveInt = 500
    warmup: NonNegativeInt = 100  # steps
    count_from: Annotated[int, Field(ge=0, le=1)] = 0  # number of the first step: its rate is 0, or the last one's is
    decay: Literal["cosine", "linear", "steps"] = "cosine"
    decay_at: tuple[int, ...] = ()  # steps after which "steps" takes a tenth of the rate
    batch_size: PositiveInt = 512  # of all processes together
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    momentum_dtype: Literal["float32", "bfloat16"] = "bfloat16"  # what is kept of it from step to step
    weight_decay: NonNegativeFloat = 0.0
    clip: NonNegativeFloat = 1.0  # largest global gradient norm; 0 for none
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # of a ViT's positions, projections and MLPs
    mixup: NonNegativeFloat = 0.0  # of the Beta distribution; 0 for none
    final: Literal["train+val", "train"] = "train+val"  # what is trained on with the chosen rate
    # Framing in training: an image is resized to a frame, and a view of the input's size is cut from that.
    frame: Literal["squash", "shorter", "original"] = "shorter"  # a square; the shorter side; not resized
    ratio: tuple[PositiveInt, PositiveInt] = (256, 224)  # of the frame's side to the input's
    crop: Literal["random", "inception", "none"] = "random"
    crop_law: Literal["tf", "area-uniform"] = "tf"  # by which inception crops are drawn
    smallest_crop: Annotated[float, Field(gt=0, le=1)] = 0.05  # share of the area, of inception crops
    flip: bool = True
    # Framing of val and test: all of the image, or the centre of a frame of the same ratio.
    evaluation: Literal["whole", "squash-central", "shorter-central"] = "shorter-central"
    # Of both: the checkpoint's filter of Pillow, or TensorFlow's operators; inception crops are resized bilinear.
    resample: Literal["card", "bilinear", "area"] = "area"
    quantise: Quantise = "truncate"  # how what is resized becomes bytes again; "no": it stays fractional

    @model_validator(mode="after")
    def _has_a_meaning(self) -> Config:
        """Refuse settings of framing that contradict each other."""
        side, of = self.ratio
        if side < of:
            raise ValueError(f"ratio {side}/{of}: the frame would be smaller than the network's input")
        if (self.crop == "inception") != (self.frame == "original"):
            raise ValueError(
                "crop=inception is cut from the image as it is, and nothing else is: it goes with frame=original"
            )
        if self.crop == "none" and (self.frame, side) != ("squash", of):
            raise ValueError("crop=none shows the whole image: it goes with frame=squash and ratio=1,1")
        if self.resample == "card" and self.quantise != "round":
            raise ValueError("resample=card is Pillow's, which rounds to bytes: it goes with quantise=round")
        return self
