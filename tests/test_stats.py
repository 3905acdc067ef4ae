"""Intervals against scipy, and their coverage against simulation."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from mixer_bench import stats


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_mean_interval_is_scipys_student_interval(count: int) -> None:
    values = list(np.random.default_rng(count).uniform(0.3, 0.6, count))
    mean, half = stats.mean_interval(values)
    low, high = scipy_stats.t.interval(0.95, count - 1, loc=np.mean(values), scale=scipy_stats.sem(values))
    assert (mean - half, mean + half) == pytest.approx((low, high))


def test_one_value_has_no_spread_to_speak_of() -> None:
    mean, half = stats.mean_interval([0.4])
    assert mean == 0.4
    assert math.isnan(half)


@pytest.mark.parametrize(("right", "count"), [(0, 10), (3, 10), (10, 10), (500, 655), (1, 1)])
def test_proportion_interval_is_scipys_wilson(right: int, count: int) -> None:
    expected = scipy_stats.binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert stats.proportion_interval(right, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_mean_per_class_interval_covers_as_it_says() -> None:
    """Simulated tests of a classifier with known class accuracies: 95 % intervals hold the truth about that often."""
    generator = np.random.default_rng(0)
    truth, sizes = np.array([0.9, 0.5, 0.7]), np.array([40, 60, 100])
    label = np.repeat(np.arange(3), sizes)
    held = 0
    for _ in range(400):
        prediction = np.where(generator.random(len(label)) < truth[label], label, (label + 1) % 3)
        low, high = stats.mean_per_class_interval(prediction, label)
        held += low <= truth.mean() <= high
    assert 0.92 <= held / 400 <= 0.985


def test_mean_per_class_interval_of_few_right_answers_is_not_certainty() -> None:
    label = np.array([0, 0, 1, 1])
    low, high = stats.mean_per_class_interval(label, label)
    assert low < 0.9
    assert high == 1.0
