"""Few-shot linear probe: k images a class, closed-form ridge regression on frozen features.

Follows big_vision's ``evaluators/fewshot_lsr.py`` and ``configs/common_fewshot.py``, the "linear 5-shot" of Tolstikhin
et al. 2021, section 3 (metrics): features standardised by the shots' own mean and deviation (+ 1e-5), a constant
feature of 100 after that, targets -1 and +1, l2 = 2^10 on every weight, top-1 over the whole test split.

The images are drawn as there: class by class by one generator of the seed, ``numpy.random.default_rng``, from train and
val together (nothing is chosen on val) in the source's own order, which is TFDS's where the task's description says so.
Where val is a slice of TFDS's train, the pool is all of that train, as there. A class with fewer than k images gives
all it has, as there; where all do, each seed draws the same, and the runs count as one.

Departures:
 - preparation: the task's own, to the model's resolution with the model's filter, where big_vision squashes every image
   to 256 x 256 px (bilinear, without antialiasing, cut to whole grey levels) and takes the central 224;
 - pool: ImageNet's whole train, where big_vision takes its first 65,000 images; Caltech101 and DTD as VTAB's tasks of
   1,000 images, where it takes the whole train; its Cars and UC-Merced (first 1,000 images) are no tasks here;
 - order: that of the source, where its rows have no key to TFDS's; the task's description says so;
 - float64 instead of float32;
 - with several ``l2`` the shots are drawn from train alone, and one is chosen on val.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveInt

from mixer_bench.data.examples import Development
from mixer_bench.errors import DataError
from mixer_bench.protocols.base import Affine, Fitted, FrozenBackbone, Protocol, Shape, choose, probed, standardiser
from mixer_bench.results.record import Drawn
from mixer_bench.system.schema import Frozen, Positive
from mixer_bench.task import splits

VERSION = 2  # 1 drew from train without val
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
    """Draw the shots from train and val and solve; if there is a choice of l2, draw from train and choose on val.

    Raises:
        DataError: the draw holds fewer than two classes.
    """
    train, val = development.train, development.val
    chooses = len(config.l2) > 1
    pool = np.arange(len(train)) if chooses else development.pool
    pool_labels = development.of_pool(train.labels, val.labels, pool)
    chosen = splits.few_shot(pool_labels, development.num_classes, config.shots, seed)
    labels = pool_labels[chosen]
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:  # noqa: PLR2004
        raise DataError(f"the {config.shots}-shot draw holds {len(classes)} class; two or more are needed")
    shots = development.of_pool(backbone.features(train), backbone.features(val), pool[chosen])
    standardise = standardiser(shots, EPSILON)

    def design(features: np.ndarray) -> np.ndarray:
        scaled = standardise(features)
        return np.hstack([scaled, np.full((len(scaled), 1), BIAS)])

    solution = ridge(design(shots), 2.0 * np.eye(development.num_classes)[labels] - 1.0)
    selection = None
    if chooses:
        on_val = design(backbone.features(val))
        predicted = ((on_val @ solution(l2)).argmax(axis=1) for l2 in config.l2)
        selection = choose("l2", config.l2, predicted, development)
    weights = solution(selection.chosen if selection else config.l2[0])
    short = development.num_classes - int((counts == config.shots).sum())
    of_features, of_constant = np.ascontiguousarray(weights[:-1].T), BIAS * weights[-1]
    return probed(
        backbone,
        Affine(standardise.mean, standardise.scale, of_features, of_constant, "order"),
        selection=selection,
        drawn=Drawn(images=len(chosen), pool=len(pool), short=short, fewest=int(counts.min())),
    )


def arithmetic(config: Config, shape: Shape) -> float:
    """Return what a draw takes: eigenvectors, at some 20 multiply-adds an element cubed, and products."""
    shots, features = config.shots * shape.classes, shape.features
    fewer = min(shots, features)
    return 20.0 * fewer**3 + shots * features * fewer + shape.test * features * shape.classes


PROTOCOL = Protocol(VERSION, Config, fit, sweep={"shots": (1, 5, 10, 25)}, arithmetic=arithmetic)
