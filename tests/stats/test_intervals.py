"""Intervals against scipy, and their coverage against simulation."""

import math
from statistics import NormalDist

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
def test_proportion_interval_is_wilsons_formula(right: int, count: int) -> None:
    z, share = NormalDist().inv_cdf(0.975), right / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    assert intervals.proportion_interval(right, count) == pytest.approx((centre - half, centre + half), abs=1e-12)


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_crossed_interval_covers_as_it_says(seeds: int) -> None:
    """Means of simulated seeds x examples, with effects of both and of each pair: 95 % intervals hold the truth."""
    generator, held = np.random.default_rng(8), 0
    for _ in range(1000):
        values = generator.normal(0, 0.02, (seeds, 1)) + generator.normal(0, 0.3, (1, 300))
        parts = intervals.crossed(values + generator.normal(0, 0.2, (seeds, 300)))
        held += abs(parts.mean) <= scipy_stats.t.isf(0.025, parts.degrees) * math.sqrt(parts.variance)
    assert 0.93 <= held / 1000 <= 0.97


def test_examples_count_as_many_as_kish_says_less_one_and_never_as_none() -> None:
    assert intervals.effective_degrees(np.full(10, 0.1)) == pytest.approx(9)
    assert intervals.effective_degrees(np.array([0.5, 0.25, 0.25])) == pytest.approx(1 / 0.375 - 1)
    assert intervals.effective_degrees(np.array([0.9, 0.1])) == 1
