"""Full fine-tuning: all weights and a new linear classifier, trained on the task.

The protocol of MLP-Mixer (Tolstikhin et al. 2021, section 3 and appendix C), which is ViT's (Dosovitskiy et al. 2021,
appendix B.1.1) with other learning rates: SGD with momentum 0.9, batch 512, global gradient norm clipped at 1, linear
warm-up then cosine decay to 0, no weight decay, softmax cross-entropy, a classifier that starts at zero. The learning
rate is chosen on val after training on train, with seed 0; then train and val together are trained on with each seed,
and test is read once. Steps, warm-up and rates are those of a preset (`--preset`), task by task.

Departures, and what the papers leave open:
- The train-time crop is not stated for Mixer (inception crops were tried and dropped): a random crop of the square that
  evaluation cuts its centre from, which for `resize = "crop"` tasks is the central square of the picture.
- Evaluation is a central crop: of the picture squashed to 256 ("resize-crop"), or of its shorter side at 256
  ("resmall-crop"), at 224 px; other resolutions in proportion.
- The rate is chosen once for all seeds, not once a seed.
- The momentum is kept in float32, not bfloat16.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from mixer_bench.data.examples import Development
from mixer_bench.protocols.contract import Fitted, TrainableBackbone

VERSION = 1
FROZEN = False  # the weights are trained: features are of no use

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Config(BaseModel):
    """All settings of the training. The defaults are mixer-paper's for a small set; a preset sets them by task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rates: Annotated[tuple[Rate, ...], Field(min_length=1)] = (0.003, 0.01, 0.03, 0.06)
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
    margin: Annotated[int, Field(ge=224)] = 256  # pixels that pictures are resized to, for an input of 224
    mixup: NonNegativeFloat = 0.0  # of the Beta distribution; 0 for none
    smallest_crop: PositiveFloat = 0.05  # share of the area, of inception crops


def defaults(preset: str | None, task: Any, examples: int) -> dict[str, Any]:
    """The settings that a preset has for a task with so many training examples."""
    from mixer_bench import presets  # noqa: PLC0415

    return presets.preset(preset).of(task, examples)


def trainings(config: Config) -> tuple[int, int]:
    """How many pictures go through the network to choose a rate, and how many to train with it."""
    images = config.steps * config.batch_size
    return (len(config.learning_rates) * images if len(config.learning_rates) > 1 else 0), images


def fit(backbone: TrainableBackbone, development: Development, config: Config, seed: int) -> Fitted:
    """Choose the learning rate on val, train on train and val with ``seed``.

    Raises:
        Diverged: the loss became infinite or undefined, at every rate or in the final training.
    """
    from mixer_bench import finetuning  # noqa: PLC0415  torch is loaded only for training

    return finetuning.fit(backbone, development, config, seed)
