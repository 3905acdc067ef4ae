"""Predictions and labels to numbers in [0, 1]. Percent is a matter of tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

ROUNDING = 1e-6  # of a value's last digits
Metric = Callable[[np.ndarray, np.ndarray, int], float]


def top1(prediction: np.ndarray, label: np.ndarray, num_classes: int) -> float:
    """Share of examples predicted right; int [N], int [N]."""
    del num_classes  # every metric takes the same arguments
    return float(np.mean(prediction == label))


def mean_per_class(prediction: np.ndarray, label: np.ndarray, num_classes: int) -> float:
    """Mean over the classes that occur in ``label`` of the share predicted right; int [N], int [N]."""
    total = np.bincount(label, minlength=num_classes)
    right = np.bincount(label[prediction == label], minlength=num_classes)
    occurring = total > 0
    return float(np.mean(right[occurring] / total[occurring]))


def example_weights(metric: str, label: np.ndarray) -> np.ndarray | None:
    """What each example [N] counts for: 1 / size of its class in the mean per class; None where all count the same."""
    if metric != "mean_per_class":
        return None
    _, inverse, counts = np.unique(label, return_inverse=True, return_counts=True)
    return np.asarray(1 / counts[inverse])


def gives(value: float, right: np.ndarray, weights: np.ndarray | None) -> bool:
    """Whether answers, right or wrong [N], give the ``value`` that a record has; weights as of ``example_weights``."""
    return abs(float(np.average(right, weights=weights)) - value) <= ROUNDING


METRICS: dict[str, Metric] = {"top1": top1, "mean_per_class": mean_per_class}


def real_counts(prediction: np.ndarray, accepted: Sequence[Sequence[int]]) -> tuple[int, int]:
    """How many predictions are among the classes accepted for their image, and of how many images.

    An image for which no class is accepted does not count (Beyer et al. 2020, section 4; README of
    google-research/reassessed-imagenet).

    Args:
        prediction: int [N].
        accepted: N lists of classes.
    """
    judged = [(int(guess), classes) for guess, classes in zip(prediction, accepted, strict=True) if classes]
    return sum(guess in classes for guess, classes in judged), len(judged)
