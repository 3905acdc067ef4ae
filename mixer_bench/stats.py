"""Intervals: how far a number may be off."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

Interval = tuple[float, float]


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Mean of repeated measurements and half the width of its Student interval.

    Args:
        values: one a seed.
        confidence: two-sided level.

    Returns:
        The mean and the half-width; with a single value the half-width is NaN: one seed says nothing about spread.
    """
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return mean, math.nan
    from scipy.special import stdtrit  # noqa: PLC0415  a tenth of a second that verbs without a table need not spend

    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    quantile = float(stdtrit(count - 1, 0.5 + confidence / 2))
    return mean, quantile * math.sqrt(variance / count)


def proportion_interval(right: int, count: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval (1927) for a proportion: what another test sample of this size could have shown."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = right / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_per_class_interval(prediction: np.ndarray, label: np.ndarray, confidence: float = 0.95) -> Interval:
    """Interval of the mean per-class accuracy: Wilson's interval for each class, half-widths added in squares.

    Classes are independent samples, so the variances of their shares add; Wilson's half-width keeps a class of few
    pictures that are all right from counting as certain.
    """
    centres, halves = [], []
    for number in np.unique(label):
        members = prediction[label == number] == number
        low, high = proportion_interval(int(members.sum()), len(members), confidence)
        centres.append(float(members.mean()))
        halves.append((high - low) / 2)
    mean, half = float(np.mean(centres)), math.sqrt(math.fsum(h * h for h in halves)) / len(halves)
    return max(0.0, mean - half), min(1.0, mean + half)
