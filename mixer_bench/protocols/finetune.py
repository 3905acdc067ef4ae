"""Full fine-tuning: all weights and a new linear classifier, trained on the task.

The protocol of MLP-Mixer (Tolstikhin et al. 2021, section 3 and appendix C), which is ViT's (Dosovitskiy et al. 2021,
appendix B.1.1) with other learning rates: SGD with momentum 0.9, batch 512, global gradient norm clipped at 1, linear
warm-up then cosine decay to 0, no weight decay, softmax cross-entropy, a classifier that starts at zero. The learning
rate is chosen on val after training on train, with seed 0; then train and val together are trained on with each seed,
and test is read once. Steps, warm-up and rates are those of a preset (`--preset`), task by task.

How an image is framed in training and how at test are two settings, each preset's as its source has them (`show
protocol finetune --preset NAME` says which source, and what it leaves open). A task whose label a crop would change is
seen whole in both, one whose label a mirror image would change is not mirrored (BiT, appendix F).

Two settings make the search cheaper; by default it is as published, and benchmarks/search.md has what they lose:
`search_steps=0.25` (or a number) tries each rate by a training of so many steps, with warm-up and decay shrunk alike;
`search=halving` stops the worse half of the rates early, again and again (Jamieson and Talwalkar 2016): of four, all
train for a quarter of their steps, the better two for another quarter, and the better of these is taken.

Departures:
- `resample=card` is Pillow's antialiased filter; the sources' public code resizes without antialiasing (`bilinear`,
  `area`: TensorFlow 2's). task_adaptation's operator of TensorFlow 1, without half-pixel centres, is not here.
- The rate is chosen once for all seeds, not once a seed; all test images are scored, where the public code drops the
  last, smaller batch.
- Inception crops are drawn by TensorFlow's law with other random numbers; a ViT's positions are resized as timm does.
- AdamW recipes (VPT's and NOAH's of VTAB) are not here: one optimiser, SGD.
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
    """Count what ``config`` trains on: the search for a rate, where there is a choice, and the final training."""
    searched, before = 0, 0
    for rates, end in config.rungs:
        searched += rates * (end - before)
        before = end
    return TrainingCost(searched * config.batch_size, config.steps * config.batch_size)


def fit(backbone: TrainableBackbone, development: Development, config: Config, seed: int) -> Fitted:
    """Choose the learning rate on val, train on train and val with ``seed``.

    Raises:
        Diverged: the loss became infinite or undefined, at every rate or in the final training.
    """
    from mixer_bench.training import finetuning

    return finetuning.finetune(backbone, development, config, seed)


PROTOCOL = Protocol(VERSION, Config, fit, trains=True, defaults=defaults, cost=cost)
