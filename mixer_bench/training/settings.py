"""All settings of fine-tuning."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from mixer_bench.models.resampling import Quantise
from mixer_bench.system.schema import Frozen, Positive

VERSION = 2
# Settings that came later, with what went without saying before: those runs keep their keys.
LATER = {"search": "grid", "search_steps": None}


class Config(Frozen):
    """All settings of the training. The defaults are mixer-paper's for a small set; a preset sets them by task."""

    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.003, 0.01, 0.03, 0.06)
    search: Literal["grid", "halving"] = "grid"  # all rates to the end, or the better half again and again
    search_steps: Positive | None = None  # of a rate's training: a number, or a share below 1; None: as many as final
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
        """Refuse settings that contradict each other."""
        if self.search_steps is not None and not (
            self.search_steps < 1 or self.search_steps in range(1, self.steps + 1)
        ):
            raise ValueError(
                f"search_steps {self.search_steps:g}: a share below 1, or a number up to steps={self.steps}"
            )
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

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, values_of: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = values_of(self)
        return {key: value for key, value in values.items() if key not in LATER or value != LATER[key]}

    @property
    def of_search(self) -> Config:
        """The settings by which a rate is tried: the whole schedule shrunk, warm-up and decay alike."""
        if self.search_steps is None:
            return self.model_copy(update=LATER)
        share = self.search_steps if self.search_steps < 1 else self.search_steps / self.steps
        steps = max(1, round(share * self.steps))
        decay_at = tuple(round(share * place) for place in self.decay_at)
        return self.model_copy(
            update={**LATER, "steps": steps, "warmup": round(share * self.warmup), "decay_at": decay_at}
        )

    @property
    def rungs(self) -> list[tuple[int, int]]:
        """How many rates are tried up to which step of their training, rung after rung; none for a single rate.

        By successive halving (Jamieson and Talwalkar 2016, algorithm 1, with steps doubled from rung to rung) n rates
        are halved, rounded up, until one is left. Each is on its way through the schedule of a whole training, whose
        second half none reaches: the last two stop in its middle, the four before them at a quarter of it.
        """
        rates, steps = len(self.learning_rates), self.of_search.steps
        if rates == 1:
            return []
        if self.search == "grid":
            return [(rates, steps)]
        rungs = (rates - 1).bit_length()
        ends = [math.ceil(steps / 2 ** (rungs - rung)) for rung in range(rungs)]
        return [(math.ceil(rates / 2**rung), end) for rung, end in enumerate(ends)]
