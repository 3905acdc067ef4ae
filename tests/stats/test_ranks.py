"""Rank comparisons against enumeration, published tables and hand counts."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from mixer_bench.stats import ranks


def wilcoxon_by_enumeration(differences: list[float]) -> float:
    """Share of all sign assignments whose smaller rank sum is at most the one seen."""
    differences = [d for d in differences if d != 0]
    sizes = [abs(d) for d in differences]
    rank = [sum(x < y for x in sizes) + (sum(x == y for x in sizes) + 1) / 2 for y in sizes]

    def smaller(signs: tuple[int, ...]) -> float:
        plus = sum(r for r, sign in zip(rank, signs, strict=True) if sign > 0)
        return min(plus, sum(rank) - plus)

    seen = smaller(tuple(int(math.copysign(1, d)) for d in differences))
    every = list(itertools.product((-1, 1), repeat=len(rank)))
    return sum(smaller(signs) <= seen for signs in every) / len(every)


@pytest.mark.parametrize(
    "differences",
    [[1], [1, -2, 3, 4, 5], [1, 1, -1, 2, 2, 3, 3, 3], [0, 0, 4, -1, 2], [5, -5], [1, 2, 3, 4, 5, 6, 7, 8, 9, -10]],
)
def test_wilcoxon_is_the_share_of_sign_assignments(differences: list[float]) -> None:
    base = np.linspace(0.3, 0.6, len(differences))
    p = ranks.wilcoxon(base + np.array(differences) / 100, base)  # in hundredths: floats that only nearly tie
    assert p == pytest.approx(wilcoxon_by_enumeration(differences))


def test_wilcoxon_is_scipys_where_nothing_ties() -> None:
    a, b = np.random.default_rng(0).random((2, 19))
    assert ranks.wilcoxon(a, b) == pytest.approx(scipy_stats.wilcoxon(a, b, method="exact").pvalue)


def test_wilcoxon_of_equal_scores_is_one() -> None:
    assert ranks.wilcoxon([0.1, 0.2], [0.1, 0.2]) == 1.0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=60))
def test_wilcoxon_is_symmetric(pairs: list[tuple[float, float]]) -> None:
    a, b = zip(*pairs, strict=True)
    assert ranks.wilcoxon(a, b) == pytest.approx(ranks.wilcoxon(b, a))
    assert 0 < ranks.wilcoxon(a, b) <= 1


def test_mean_ranks_by_hand() -> None:
    scores = np.array([[0.9, 0.8, 0.7], [0.5, 0.5, 0.1], [0.2, 0.3, 0.3 + 1e-16]])
    assert ranks.mean_ranks(scores) == pytest.approx([(1 + 1.5 + 3) / 3, (2 + 1.5 + 1.5) / 3, (3 + 3 + 1.5) / 3])


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_mean_ranks_add_up(tasks: int, models: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 3, (tasks, models))
    assert ranks.mean_ranks(scores).sum() == pytest.approx(models * (models + 1) / 2)


def test_friedman_is_its_chi_squared() -> None:
    """Demšar's (8) with his table 6: 14 tasks, mean ranks 3.143, 2.000, 2.893 and 1.964 give 9.28."""
    rank = np.array([3.143, 2.000, 2.893, 1.964])
    assert 12 * 14 / (4 * 5) * ((rank**2).sum() - 4 * 25 / 4) == pytest.approx(9.28, abs=0.02)  # the formula below
    scores = np.random.default_rng(3).random((14, 4))
    mean = ranks.mean_ranks(scores)
    squared = 12 * 14 / (4 * 5) * ((mean**2).sum() - 4 * 25 / 4)
    assert ranks.friedman(scores) == pytest.approx(scipy_stats.chi2.sf(squared, 3))


def test_friedman_of_ties_is_one() -> None:
    assert ranks.friedman(np.ones((5, 3))) == 1.0


@pytest.mark.parametrize(("models", "published"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_difference_has_demsars_quantiles(models: int, published: float) -> None:
    """Table 5 (a), alpha = 0.05."""
    expected = published * math.sqrt(models * (models + 1) / (6 * 14))
    assert ranks.critical_difference(models, 14) == pytest.approx(expected, rel=3e-4)


def test_cliques_of_demsars_example() -> None:
    """Figure 1 (a): mean ranks 3.143, 2.000, 2.893, 1.964 on 14 tasks differ from 1.25 on: one group of all."""
    rank = np.array([3.143, 2.000, 2.893, 1.964])
    assert ranks.cliques(rank, ranks.critical_difference(4, 14)) == [(3, 1, 2, 0)]
    assert ranks.cliques(rank, 1.0) == [(3, 1, 2), (2, 0)]
    assert ranks.cliques(rank, 0.01) == []


@given(st.lists(st.integers(1, 12), min_size=1, max_size=7), st.integers(1, 8))
def test_cliques_are_the_largest_sets_within_the_critical_difference(rank: list[int], critical: int) -> None:
    within = [
        set(group)
        for size in range(2, len(rank) + 1)
        for group in itertools.combinations(range(len(rank)), size)
        if max(rank[i] for i in group) - min(rank[i] for i in group) < critical
    ]
    largest = {frozenset(group) for group in within if not any(group < other for other in within)}
    found = ranks.cliques(np.array(rank, dtype=float), critical)
    assert {frozenset(group) for group in found} == largest
    assert len(found) == len(largest)
