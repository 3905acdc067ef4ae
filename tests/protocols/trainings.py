"""Short fine-tunings of a linear layer on coloured squares, and a person who breaks one off."""

from collections.abc import Sequence

import torch

from mixer_bench import protocols
from mixer_bench.data.examples import TaskData
from mixer_bench.protocols.base import Fitted
from mixer_bench.training.trainable import Point
from tests.builders import Given

QUICK = {"steps": 30, "warmup": 3, "batch_size": 20, "learning_rates": (0.01, 0.1)}
COMMAND = ["run", "--task", "digits", "--protocol", "finetune", "--limit", "60", "--preset", "small"]
SETTINGS = ("steps=12", "warmup=2", "batch_size=16", "learning_rates=0.01,0.03")


def fit(backbone: Given, data: TaskData, seed: int = 0, **settings: object) -> Fitted:
    config = protocols.configure("finetune", {**QUICK, **settings})
    return protocols.get("finetune").fit(backbone, data.development, config, seed)


class Leaving(Given):
    """A person who breaks a training off after fifteen steps."""

    def heard(self, words: str, images: float, trained: bool = True, points: Sequence[Point] = ()) -> None:
        super().heard(words, images, trained, points)
        if "step 15/" in words:
            raise KeyboardInterrupt


def weights_of(backbone: Given) -> dict[str, torch.Tensor]:
    assert backbone.kept is not None
    return backbone.kept.state_dict()
