"""Full fine-tuning: all weights and a new linear classifier, trained on the task.

The protocol of MLP-Mixer (Tolstikhin et al. 2021, section 3 and appendix C), which is ViT's (Dosovitskiy et al. 2021,
appendix B.1.1) with other learning rates: SGD with momentum 0.9, batch 512, global gradient norm clipped at 1, linear
warm-up then cosine decay to 0, no weight decay, softmax cross-entropy, a classifier that starts at zero. The learning
rate is chosen on val after training on train, with seed 0; then train and val together are trained on with each seed,
and test is read once. Steps, warm-up and rates are those of a preset (`--preset`), task by task.

Departures, and what the papers leave open:
- The train-time crop is not stated for Mixer (inception crops were tried and dropped): a random crop of the square that
  evaluation cuts its centre from, which for `resize = "crop"` tasks is the central square of the image.
- Evaluation is a central crop: of the image squashed to 256 ("resize-crop"), or of its shorter side at 256
  ("resmall-crop"), at 224 px; other resolutions in proportion.
- The rate is chosen once for all seeds, not once a seed.
- The momentum is kept in float32, not bfloat16.
"""

from __future__ import annotations

from typing import Any

from mixer_bench.data.examples import Development
from mixer_bench.protocols.base import Fitted, Protocol, TrainableBackbone, TrainingCost
from mixer_bench.task.task import Task
from mixer_bench.training import presets
from mixer_bench.training.settings import VERSION, Config


def defaults(preset: str | None, task: Task, examples: int) -> dict[str, Any]:
    """Return the settings that a preset has for a task with so many training examples."""
    return presets.preset(preset).of(task, examples)


def cost(config: Config) -> TrainingCost:
    """Count what ``config`` trains on: the grid of rates, where there is a choice, and the final training."""
    images, rates = config.steps * config.batch_size, len(config.learning_rates)
    return TrainingCost(rates * images if rates > 1 else 0, images)


def fit(backbone: TrainableBackbone, development: Development, config: Config, seed: int) -> Fitted:
    """Choose the learning rate on val, train on train and val with ``seed``.

    Raises:
        Diverged: the loss became infinite or undefined, at every rate or in the final training.
    """
    from mixer_bench.training import finetuning

    return finetuning.finetune(backbone, development, config, seed)


PROTOCOL = Protocol(VERSION, Config, fit, trains=True, defaults=defaults, cost=cost)
