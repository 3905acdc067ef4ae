"""Metrics of a model's scores, not of its predicted classes alone: does it rank, and does it know how sure it is?"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from mixer_bench.stats import intervals
from mixer_bench.stats.intervals import Interval
from mixer_bench.system.schema import Frozen

# What scores are: the logarithm of probabilities but for a constant of each image, shares of them, probabilities, or
# numbers of which only the order is known, such as a ridge regression's.
Scale = Literal["logits", "votes", "probabilities", "order"]
BINS = 15  # of equal width, as in Guo et al. 2017 ("On calibration of modern neural networks", section 5)


def probabilities(scores: np.ndarray, scale: Scale) -> np.ndarray | None:
    """Return probabilities [N, K] from scores [N, K]; None where they are none."""
    if scale == "order":
        return None
    if scale == "logits":
        return softmax(scores)
    return scores if scale == "probabilities" else np.asarray(scores / scores.sum(axis=1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities, float64 [N, K], from their logarithms but for a constant of each row."""
    shares = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


class Bin(Frozen):
    """The answers of about one confidence: a point of a reliability diagram."""

    answers: int
    confidence: float  # mean
    accuracy: float


def reliability(confidence: np.ndarray, right: np.ndarray) -> list[Bin]:
    """Return the bins that have answers, by ascending confidence.

    Args:
        confidence: probability of the predicted class, [N].
        right: whether that was right, bool [N].
    """
    places = _bins(confidence)
    members = [places == place for place in np.unique(places)]
    return [
        Bin(answers=int(some.sum()), confidence=float(confidence[some].mean()), accuracy=float(right[some].mean()))
        for some in members
    ]


def _bins(confidence: np.ndarray) -> np.ndarray:
    """Return the bin of each answer: the first reaches from 0 to 1 / BINS, its end included."""
    return np.asarray(np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1))


def calibration_error(given: np.ndarray, label: np.ndarray, _classes: int) -> float:
    """Return the expected calibration error (ECE) of probabilities [N, K]: how far confidence is from accuracy.

    The mean over bins of the predicted class's probability, each weighted by its answers, of the distance between
    their mean probability and the share of them that is right (Guo et al. 2017, equation 3). The best is 0.
    """
    return float(abs(_gaps(given, label).mean()))


def calibration_interval(given: np.ndarray, label: np.ndarray, _classes: int) -> Interval:
    """Return the 95 % interval, linearised in each image with the bins' signs as they are."""
    return _around(_gaps(given, label))


def _gaps(given: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return terms [N] whose mean is the ECE: accuracy less confidence, turned so that its bin's sum is positive."""
    confidence, right = given.max(axis=1), given.argmax(axis=1) == label
    places, terms = _bins(confidence), right - confidence
    return np.asarray(np.sign(np.bincount(places, terms, BINS))[places] * terms)


def area(scores: np.ndarray, label: np.ndarray, _classes: int) -> float:
    """Return the area under the ROC curve (AUROC): how surely an image of a class scores higher for it than others.

    The plain mean over the classes of ``label`` [N], each against all others, by its column of ``scores`` [N, K]; of
    two classes it is the area of either. NaN where ``label`` has one class only.
    """
    areas = [place.mean() for _, place, _ in _placements(scores, label)]
    return float(np.mean(areas)) if areas else math.nan


def area_interval(scores: np.ndarray, label: np.ndarray, _classes: int) -> Interval:
    """Return the 95 % interval after DeLong et al. 1988 (Biometrics 44:837), of the mean over classes.

    An image moves the area of each class, as one of it or as one of the others: those moves are added up.
    """
    moves, every = np.zeros(len(label)), _placements(scores, label)
    for members, of_class, of_others in every:
        moves += of_class.mean()
        moves[members] += (of_class - of_class.mean()) * (len(label) / len(of_class))
        moves[~members] += (of_others - of_others.mean()) * (len(label) / len(of_others))
    return _around(moves / len(every)) if every else (math.nan, math.nan)


def _placements(scores: np.ndarray, label: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return of each class: which images are of it, the share of others below each, and of its own above each other."""
    every = []
    for number in np.unique(label):
        members = label == number
        if members.all():
            break
        own, others = scores[members, number], scores[~members, number]
        every.append((members, _share_below(others, own), 1 - _share_below(own, others)))
    return every


def _share_below(values: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Return for each mark the share of ``values`` that is below; what is equal counts half."""
    ordered = np.sort(values)
    below = ordered.searchsorted(marks, "left") + ordered.searchsorted(marks, "right")
    return np.asarray(below / (2 * len(values)))


def _around(terms: np.ndarray) -> Interval:
    """Return the interval of a mean of terms [N], as wide at least as that of as many answers that are all right."""
    value, count = abs(float(terms.mean())), len(terms)
    error = float(terms.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    half = max(1.96 * error, 1 - intervals.proportion_interval(count, count)[0])
    return max(0.0, value - half), min(1.0, value + half)
