"""Intervals against scipy, and their coverage against simulation."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from mixer_bench.stats import intervals


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_mean_interval_is_scipys_student_interval(count: int) -> None:
    values = list(np.random.default_rng(count).uniform(0.3, 0.6, count))
    mean, half = intervals.mean_interval(values)
    low, high = scipy_stats.t.interval(0.95, count - 1, loc=np.mean(values), scale=scipy_stats.sem(values))
    assert (mean - half, mean + half) == pytest.approx((low, high))


def test_one_value_has_no_spread_to_speak_of() -> None:
    mean, half = intervals.mean_interval([0.4])
    assert mean == 0.4
    assert math.isnan(half)


@pytest.mark.parametrize(("right", "count"), [(0, 10), (3, 10), (10, 10), (500, 655), (1, 1)])
def test_proportion_interval_is_scipys_wilson(right: int, count: int) -> None:
    expected = scipy_stats.binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert intervals.proportion_interval(right, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_mean_per_class_interval_covers_as_it_says() -> None:
    """Simulated tests of a classifier with known class accuracies: 95 % intervals hold the truth about that often."""
    generator = np.random.default_rng(0)
    truth, sizes = np.array([0.9, 0.5, 0.7]), np.array([40, 60, 100])
    label = np.repeat(np.arange(3), sizes)
    held = 0
    for _ in range(400):
        prediction = np.where(generator.random(len(label)) < truth[label], label, (label + 1) % 3)
        low, high = intervals.mean_per_class_interval(prediction, label)
        held += low <= truth.mean() <= high
    assert 0.92 <= held / 400 <= 0.985


def test_mean_per_class_interval_of_few_right_answers_is_not_certainty() -> None:
    label = np.array([0, 0, 1, 1])
    low, high = intervals.mean_per_class_interval(label, label)
    assert low < 0.9
    assert high == 1.0


def test_spread_is_students_interval_over_seeds_and_over_examples() -> None:
    right = np.random.default_rng(4).random((5, 200)) < np.random.default_rng(5).random(200)
    result = intervals.spread(right)
    seeds, examples = right.mean(axis=1), right.mean(axis=0)
    assert result.mean == pytest.approx(right.mean())
    assert result.seed_half == pytest.approx(intervals.mean_interval(list(seeds))[1])
    assert result.sampling_half == pytest.approx(scipy_stats.t.isf(0.025, 199) * scipy_stats.sem(examples))
    assert result.total_half is not None
    assert result.total_half >= max(result.seed_half, result.sampling_half)


def test_spread_of_one_seed_says_nothing_about_seeds() -> None:
    right = np.arange(100)[None] < 70
    result = intervals.spread(right)
    assert result.mean == pytest.approx(0.7)  # a BLAS product: its last digit is the processor's
    assert (result.seed_half, result.total_half) == (None, None)
    low, high = intervals.proportion_interval(70, 100)
    assert result.sampling_half == pytest.approx((high - low) / 2, rel=0.05)


def test_spread_of_weighted_examples_is_that_of_the_mean_per_class_accuracy() -> None:
    label = np.repeat([0, 1], [20, 60])
    right = np.random.default_rng(6).random((3, 80)) < 0.6
    expected = (right[:, label == 0].mean() + right[:, label == 1].mean()) / 2
    assert intervals.spread(right, 1 / np.array([20, 60])[label]).mean == pytest.approx(expected)


def test_spread_refuses_a_single_example() -> None:
    with pytest.raises(ValueError, match="two are needed"):
        intervals.spread(np.ones((3, 1)))
    with pytest.raises(ValueError, match="two at least"):
        intervals.crossed(np.ones((1, 9)))


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_crossed_interval_covers_as_it_says(seeds: int) -> None:
    """Means of simulated seeds x examples, with effects of both and of each pair: 95 % intervals hold the truth."""
    generator, held = np.random.default_rng(8), 0
    for _ in range(1000):
        values = generator.normal(0, 0.02, (seeds, 1)) + generator.normal(0, 0.3, (1, 300))
        parts = intervals.crossed(values + generator.normal(0, 0.2, (seeds, 300)))
        held += abs(parts.mean) <= parts.half()
    assert 0.93 <= held / 1000 <= 0.97
