"""Answers of linear probes to images that they were not fitted on, and how these depend on the number of labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixer_bench.protocols.base import standardiser
from mixer_bench.protocols.linear import EPSILON
from mixer_bench.training import logistic

FOLDS = 5
GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the penalty: the middle of the linear probe's
TOLERANCE, STEPS = 1e-4, 100  # no answer depends on more digits
SHARES = (0.25, 0.5, 0.75, 1.0)  # of the training images, at which a curve is measured
SEED = 0


def dealt(labels: np.ndarray, hands: int) -> np.ndarray:
    """Return for each image, int [N], one of so many hands, class by class in turn: int64 [N]."""
    order = np.random.default_rng(SEED).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    hand = np.empty(len(labels), np.int64)
    hand[order] = np.arange(len(labels)) % hands
    return hand


def out_of_fold(x: np.ndarray, labels: np.ndarray, device: str) -> tuple[np.ndarray, float]:
    """Return the class that a probe fitted on the other four fifths gives each image, and the penalty C chosen by that.

    Logistic regression as the protocol ``linear`` has it; the strongest penalty of equals.

    Args:
        x: features, float32 [N, D].
        labels: int [N], of two classes or more.
        device: where to compute.

    Returns:
        int64 [N], and a value of ``GRID``.
    """
    fold, answers = dealt(labels, FOLDS), np.empty((len(GRID), len(labels)), np.int64)
    for number in range(FOLDS):
        answers[:, fold == number] = _answers(x, labels, fold != number, fold == number, GRID, device)
    best = int((answers == labels).mean(axis=1).argmax())
    return answers[best], GRID[best]


def errors(x: np.ndarray, labels: np.ndarray, penalty: float, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Return how often probes of fewer labels are wrong: numbers of labels [S], shares of each fold's images [F, S].

    Args:
        x: features, float32 [N, D].
        labels: int [N].
        penalty: C of all of them.
        device: where to compute.
    """
    fold, hand = dealt(labels, FOLDS), dealt(labels, FOLDS * len(SHARES)) // FOLDS
    sizes, wrong = np.zeros(len(SHARES)), np.empty((FOLDS, len(SHARES)))
    for number in range(FOLDS):
        test = fold == number
        for place in range(len(SHARES)):
            train = ~test & (hand <= place)
            answers = _answers(x, labels, train, test, (penalty,), device)[0]
            sizes[place] += train.sum() / FOLDS
            wrong[number, place] = (answers != labels[test]).mean()
    return sizes, wrong


def gain(sizes: np.ndarray, wrong: np.ndarray, now: int, more: int, images: int) -> np.ndarray:
    """Return by how much ``more`` labels would lower each fold's share of wrong answers, [F].

    A power law is laid through each fold's shares, as learning curves mostly are (Hestness et al. 2017, section 4).

    Args:
        sizes: numbers of labels [S].
        wrong: shares [F, S].
        now: labels there are.
        more: labels to come.
        images: a fold's, on average: a share of 0 counts as half an image.
    """
    logs = np.log(np.maximum(wrong, 0.5 / images))
    slope, offset = np.polyfit(np.log(sizes), logs.T, 1)
    return np.asarray(np.exp(offset + slope * np.log(now)) - np.exp(offset + slope * np.log(now + more)))


def _answers(
    x: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray, grid: Sequence[float], device: str
) -> np.ndarray:
    """Return the classes that probes fitted on ``train`` give ``test`` for each penalty, int64 [G, n]."""
    classes, numbered = np.unique(labels[train], return_inverse=True)
    if len(classes) == 1:
        return np.full((len(grid), int(test.sum())), classes[0])
    standardise = standardiser(x[train], EPSILON)
    # Two classes have two rows of weights here and one in scikit-learn, with half the squared norm.
    scale = 2 if len(classes) == 2 else 1  # noqa: PLR2004
    optima = logistic.optima(
        standardise(x[train]), numbered, [c / scale for c in grid], TOLERANCE, STEPS, device=device
    )
    seen = standardise(x[test])
    return np.stack([classes[(seen @ optimum.weights.T + optimum.bias).argmax(axis=1)] for optimum in optima])
