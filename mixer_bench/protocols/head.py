"""The checkpoint's own classifier: nothing is trained, and nothing is chosen.

On a task of the classes that a checkpoint was trained to tell apart, with the evaluation its makers state (the card's
own preprocessing), it must come near the score that they published: weights, loading and preprocessing are proved in
one number. Of a task with some of the classes only, such as ImageNet-A's 200
(Hendrycks et al. 2021), the others are left out of account, as in timm's results-imagenet-a.csv.

Departure: the classifier is applied in float64 to the features, whatever precision these were computed in.
"""

from __future__ import annotations

import numpy as np

from mixer_bench.data.examples import Development
from mixer_bench.models import imagenet_classes
from mixer_bench.protocols.base import Affine, ClassifyingBackbone, Fitted, Protocol, probed
from mixer_bench.system.schema import Frozen

VERSION = 1


class Config(Frozen):
    """There is nothing to set."""


def fit(backbone: ClassifyingBackbone, development: Development, config: Config, seed: int) -> Fitted:
    """Return the checkpoint's classifier, for the task's classes. ``config`` and ``seed`` change nothing.

    Raises:
        WeightsError: the checkpoint has no classifier, or it tells other classes apart.
    """
    del config, seed
    weight, bias = backbone.classifier()
    columns = imagenet_classes.columns(development.class_names, len(bias))
    weight, bias = weight[columns].astype(np.float64), bias[columns].astype(np.float64)
    width = weight.shape[1]
    return probed(backbone, Affine(np.zeros(width), np.ones(width), weight, bias))


PROTOCOL = Protocol(VERSION, Config, fit, seeded=False, trained_classes=True)
