"""Few-shot linear probe: k images a class, closed-form ridge regression on frozen features.

Follows big_vision's ``evaluators/fewshot_lsr.py`` and ``configs/common_fewshot.py``, the "linear 5-shot" of Tolstikhin
et al. 2021, section 3 (metrics): features standardised by the shots' own mean and deviation (+ 1e-5), a constant
feature of 100 after that, targets -1 and +1, l2 = 2^10 on every weight, top-1 over the whole test split.

Departures: float64 instead of float32, and the task's own preprocessing instead of resize 256 and crop 224.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveInt

from mixer_bench.data.examples import Development
from mixer_bench.errors import DataError
from mixer_bench.protocols.base import Fitted, FrozenBackbone, Protocol, choose, standardiser
from mixer_bench.system.schema import Frozen, Positive
from mixer_bench.task import splits

VERSION = 1
BIAS = 100.0  # a feature this large makes the intercept almost free of the penalty
EPSILON = 1e-5


class Config(Frozen):
    """``shots`` images a class. One ``l2`` is used as it is; of several the best on val is chosen, without test."""

    shots: PositiveInt = 10
    l2: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1024.0,)


def ridge(x: np.ndarray, y: np.ndarray) -> Callable[[float], np.ndarray]:
    """Decompose a ridge problem once; return what gives its solution [D, C] for any penalty, at the cost of a product.

    Minimises |X W - Y|^2 + l2 |W|^2 for X [N, D], Y [N, C], by the eigenvectors of X'X or, where examples are fewer
    than features, of XX'.
    """
    few = x.shape[0] < x.shape[1]
    values, vectors = np.linalg.eigh(x @ x.T if few else x.T @ x)
    left, right = (x.T @ vectors, vectors.T @ y) if few else (vectors, vectors.T @ (x.T @ y))
    # Rounding can push an eigenvalue of 0 below 0; a small l2 must not turn that into a division by zero.
    return lambda l2: left @ (right / (np.maximum(values, 0.0) + l2)[:, None])


def fit(backbone: FrozenBackbone, development: Development, config: Config, seed: int) -> Fitted:
    """Draw the shots from train, solve, and choose l2 on val if there is a choice.

    Raises:
        DataError: the draw holds fewer than two classes.
    """
    train = development.train
    drawn = splits.few_shot(train.labels, development.num_classes, config.shots, seed)
    labels = train.labels[drawn]
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:  # noqa: PLR2004
        raise DataError(f"the {config.shots}-shot draw holds {len(classes)} class; two or more are needed")
    shots = backbone.features(train)[drawn]
    standardise = standardiser(shots, EPSILON)

    def design(features: np.ndarray) -> np.ndarray:
        scaled = standardise(features)
        return np.hstack([scaled, np.full((len(scaled), 1), BIAS)])

    targets = 2.0 * np.eye(development.num_classes)[labels] - 1.0
    solution = ridge(design(shots), targets)
    selection = None
    if len(config.l2) > 1:
        val = design(backbone.features(development.val))
        predicted = ((val @ solution(l2)).argmax(axis=1) for l2 in config.l2)
        selection = choose("l2", config.l2, predicted, development)
    weights = solution(selection.chosen if selection else config.l2[0])
    short = development.num_classes - int((counts == config.shots).sum())
    return Fitted(
        scores=lambda examples: design(backbone.features(examples)) @ weights,
        selection=selection,
        notes=(f"classes with fewer than {config.shots} training images: {short}",) if short else (),
    )


PROTOCOL = Protocol(VERSION, Config, fit, sweep={"shots": (1, 5, 10, 25)})
