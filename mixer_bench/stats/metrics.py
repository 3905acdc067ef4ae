"""Metrics: predictions and labels to numbers in [0, 1], one frozen object each. Percent is a matter of tables.

A metric is one entry here, or an entry point of the group ``mixer_bench.metrics`` that names a ``Metric`` and bears its
name. Nothing else of the program knows metrics by their names.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mixer_bench.errors import UsageError, unknown
from mixer_bench.stats import intervals, scores
from mixer_bench.stats.intervals import Interval
from mixer_bench.stats.scores import Scale
from mixer_bench.system import plugins

GROUP = "mixer_bench.metrics"  # of entry points
VERSION = 1  # of the metrics here: raised whenever a score could change
ROUNDING = 1e-6  # of a value's last digits


@dataclass(frozen=True)
class Metric:
    """How predictions become one number.

    ``score`` and ``interval`` take what is ``given``, the truth (labels int [N], or ReaL's accepted classes, N
    collections) and the number of classes. A score that is undefined on such images is NaN.
    """

    name: str  # as task files and records spell it
    words: str  # heading of a table
    score: Callable[[np.ndarray, Any, int], float]  # in [0, 1]
    interval: Callable[[np.ndarray, Any, int], Interval]  # 95 %, for another test sample
    truth: Literal["label", "accepted"] = "label"
    # Predicted classes int [N]; scores [N, K] that can be compared between images; or probabilities [N, K]. A task's
    # own metric is of classes: settings are selected, and stored answers compared, by these.
    given: Literal["classes", "scores", "probabilities"] = "classes"
    pairs: bool = False  # the score is a mean over examples of right answers, so that models can be paired by example
    weights: Callable[[np.ndarray], np.ndarray] | None = None  # of examples [N] in it, by label; None: all the same
    always: bool = False  # in every record; otherwise where it is the task's own metric
    version: int = 1  # raised whenever a score could change: part of a run's identity

    def example_weights(self, label: np.ndarray) -> np.ndarray | None:
        """Return what each example [N] counts for; None where all count the same."""
        return self.weights(label) if self.weights else None


def top1(prediction: np.ndarray, label: np.ndarray, _classes: int) -> float:
    """Return the share of examples predicted right; int [N], int [N]."""
    return float(np.mean(prediction == label))


def _top1_interval(prediction: np.ndarray, label: np.ndarray, _classes: int) -> Interval:
    return intervals.proportion_interval(int((prediction == label).sum()), len(label))


def mean_per_class(prediction: np.ndarray, label: np.ndarray, _classes: int) -> float:
    """Return the mean over the classes that occur in ``label`` of the share predicted right; int [N], int [N]."""
    from sklearn.metrics import balanced_accuracy_score

    # Of classes that are rare, or predicted and not there: no fault here.
    with warnings.catch_warnings(action="ignore"):
        return float(balanced_accuracy_score(label, prediction))


def _mean_per_class_interval(prediction: np.ndarray, label: np.ndarray, _classes: int) -> Interval:
    """Add the half-widths of each class's Wilson interval in squares.

    Classes are independent samples, so the variances of their shares add; Wilson's half-width keeps a class of few
    images that are all right from counting as certain.
    """
    sizes, hits = (np.bincount(values, minlength=label.max() + 1) for values in (label, label[prediction == label]))
    ends = [intervals.proportion_interval(int(hit), int(size)) for hit, size in zip(hits, sizes, strict=True) if size]
    half = math.hypot(*((high - low) / 2 for low, high in ends)) / len(ends)
    return _within(mean_per_class(prediction, label, _classes), half)


def _one_by_class_size(label: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(label, return_inverse=True, return_counts=True)
    return np.asarray(1 / counts[inverse])


def macro_f1(prediction: np.ndarray, label: np.ndarray, _classes: int) -> float:
    """Return the plain mean of the classes' F1, over the classes that occur in ``label`` or are predicted."""
    from sklearn.metrics import f1_score

    with warnings.catch_warnings(action="ignore"):
        return float(f1_score(label, prediction, average="macro", zero_division=0))


def _macro_f1_interval(prediction: np.ndarray, label: np.ndarray, _classes: int) -> Interval:
    """Linearise the score in each example (Takahashi et al. 2022, Applied Intelligence 52:4961).

    F1 of a class is 2 TP / (its labels + its predictions). Where all answers are right the linear part vanishes: half
    the width is that of the plain accuracy's Wilson interval at least.
    """
    classes, coded = np.unique(np.concatenate([label, prediction]), return_inverse=True)
    true, guess = coded[: len(label)], coded[len(label) :]
    count = np.bincount(true, minlength=len(classes)) + np.bincount(guess, minlength=len(classes))
    f1 = 2 * np.bincount(true[true == guess], minlength=len(classes)) / count
    influence = 2 * (true == guess) / count[true] - f1[true] / count[true] - f1[guess] / count[guess]
    error = math.sqrt(float(influence.var(ddof=1)) * len(label)) / len(classes) if len(label) > 1 else 0.0
    low, high = _top1_interval(prediction, label, _classes)
    return _within(float(f1.mean()), max(1.96 * error, (high - low) / 2))


def _within(value: float, half: float) -> Interval:
    return max(0.0, value - half), min(1.0, value + half)


def _judged(prediction: np.ndarray, accepted: Any) -> tuple[int, int]:
    """Count the predictions among the classes accepted for their image, and the images for which some class is."""
    judged = [(int(guess), classes) for guess, classes in zip(prediction, accepted, strict=True) if classes]
    return sum(guess in classes for guess, classes in judged), len(judged)


def real(prediction: np.ndarray, accepted: Any, _classes: int) -> float:
    """Return the share of images predicted as a class that ImageNet's reassessed labels accept.

    An image for which no class is accepted does not count (Beyer et al. 2020, section 4; README of
    google-research/reassessed-imagenet).
    """
    right, count = _judged(prediction, accepted)
    return right / count


def _real_interval(prediction: np.ndarray, accepted: Any, _classes: int) -> Interval:
    return intervals.proportion_interval(*_judged(prediction, accepted))


METRICS = (
    Metric("top1", "top-1 accuracy", top1, _top1_interval, pairs=True, always=True, version=VERSION),
    Metric(
        "mean_per_class",
        "mean accuracy per class",
        mean_per_class,
        _mean_per_class_interval,
        pairs=True,
        weights=_one_by_class_size,
        always=True,
        version=VERSION,
    ),
    Metric("macro_f1", "macro F1", macro_f1, _macro_f1_interval, always=True, version=VERSION),
    Metric("real", "ReaL accuracy", real, _real_interval, truth="accepted", always=True, version=VERSION),
    Metric("auroc", "macro AUROC", scores.area, scores.area_interval, given="scores", always=True, version=VERSION),
    Metric(
        "ece",
        "expected calibration error",
        scores.calibration_error,
        scores.calibration_interval,
        given="probabilities",
        always=True,
        version=VERSION,
    ),
)
_OURS: Mapping[str, Metric] = {metric.name: metric for metric in METRICS}


@functools.cache  # reading what is installed takes as long as reading ten task files
def names() -> list[str]:
    """Return the names of all metrics, those of installed packages included."""
    return sorted({*_OURS, *plugins.names(GROUP)})


@functools.cache
def get(name: str) -> Metric:
    """Return the metric of that name.

    Raises:
        UsageError: there is none, or an installed package names one that cannot be had; names the package.
    """
    if name not in names():
        raise unknown("metric", name, names())
    if name in _OURS and name not in plugins.names(GROUP):
        return _OURS[name]

    def fault(metric: Any) -> str:
        return "" if isinstance(metric, Metric) and metric.name == name else f"it must be a Metric with {name=}"

    metric: Metric = plugins.load("metric", GROUP, name, _OURS, fault=fault)
    return metric


def words(name: str) -> str:
    """Return the words for a metric of a record; its name where its package is not here or does not work."""
    metric = _of_record(name)
    return metric.words if metric else name


def pairs(name: str) -> bool:
    """Return whether models can be paired by a metric of a record, whose package may not be here or not work."""
    metric = _of_record(name)
    return metric is not None and metric.pairs


def of_classes(name: str) -> bool:
    """Return whether equal predictions give equal values of a metric of a record."""
    metric = _of_record(name)
    return metric is None or metric.given == "classes"


def _of_record(name: str) -> Metric | None:
    try:
        return get(name) if name in names() else None
    except UsageError:
        return None


@dataclass(frozen=True)
class Given:
    """What a model says of N images of K classes."""

    classes: np.ndarray  # predicted, int [N]
    scores: np.ndarray  # probabilities where there are, else as they are, [N, K]
    probabilities: np.ndarray | None  # [N, K]; None where the scores are none

    @staticmethod
    def of(values: np.ndarray, scale: Scale) -> Given:
        """Return what scores [N, K] on such a scale say."""
        likely = scores.probabilities(values, scale)
        return Given(values.argmax(axis=1), values if likely is None else likely, likely)

    @property
    def confidence(self) -> np.ndarray | None:
        """The probability of the predicted class, [N]."""
        return None if self.probabilities is None else self.probabilities.max(axis=1)


def measured(
    given: Given, label: np.ndarray, accepted: Any, num_classes: int, own: str
) -> dict[str, tuple[float, Interval]]:
    """Return each recorded metric's score and 95 % interval; none of those that are undefined on such images.

    Args:
        given: what the model says.
        label: int [N].
        accepted: the classes ReaL accepts of each image, N collections; None where the task has none.
        num_classes: of the task.
        own: the task's own metric.
    """
    values = {}
    for metric in dict.fromkeys([*(metric for metric in METRICS if metric.always), get(own)]):
        truth, answers = label if metric.truth == "label" else accepted, getattr(given, metric.given)
        if answers is not None and (metric.truth == "label" or any(accepted or ())):
            arguments = answers, truth, num_classes
            values[metric.name] = (metric.score(*arguments), metric.interval(*arguments))
    return {name: value for name, value in values.items() if name == own or not math.isnan(value[0])}
