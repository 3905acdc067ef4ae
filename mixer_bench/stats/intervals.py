"""Intervals: how far a number may be off, through seeds and through test examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Interval = tuple[float, float]


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of repeated measurements and half the width of its 95 % Student interval.

    With a single value the half-width is NaN: one seed says nothing about spread.
    """
    count, mean = len(values), math.fsum(values) / len(values)
    if count == 1:
        return mean, math.nan
    # What scipy.stats.sem and t.ppf give, without the half second that importing them adds to every report.
    from scipy.special import stdtrit

    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return mean, float(stdtrit(count - 1, 0.975)) * math.sqrt(variance / count)


def proportion_interval(right: int, count: int) -> Interval:
    """Return Wilson's 95 % interval (1927) of a proportion: what another test sample of this size could have shown."""
    from scipy.stats import binomtest

    ends = binomtest(right, count).proportion_ci(0.95, method="wilson")
    return float(ends.low), float(ends.high)


@dataclass(frozen=True)
class Crossed:
    """Mean over seeds x examples, and the parts of its variance, each as a variance of that mean."""

    mean: float
    seed: float | None  # among the seeds' means: what more seeds would shrink; None with one, which tells nothing of it
    sampling: float  # among the examples, less what seeds explain: only more examples would shrink it
    variance: float  # of the mean, for other seeds and other examples: seed + sampling
    degrees: float  # of freedom of that variance


# With few seeds the variance among them comes out too low more often than too high, and Satterthwaite's formula then
# promises far too many degrees of freedom: 8 % false alarms with three seeds, 12 % with two. The seeds' part enters
# the degrees of freedom at its upper bound of this confidence instead. Of 0.5 to 0.9 it keeps the rate nearest to 5 %
# whatever the seeds' part of the variance: 3.2 to 6.6 % with two seeds, 3.9 to 5.4 % with three, 4.7 to 5.3 % with 5.
UPPER_SEED = 0.7


def crossed(values: np.ndarray, weights: np.ndarray | None = None) -> Crossed:
    """Split the variance of the mean of ``values`` [S, N]: value = mean + seed + example + interaction, all random.

    Seeds and examples are crossed: each seed is tested on the same examples. The variance is (MS_seed + MS_example -
    MS_interaction) / (S N) with the mean squares of the two-way table, its last two terms never below 0 together: the
    form of multi-reader studies (Hillis 2007, Statistics in Medicine 26:596), with readers for seeds and cases for
    examples. Degrees of freedom after Satterthwaite (1946), the seeds' part at an upper bound (see ``UPPER_SEED``).

    Args:
        values: finite, N at least 2.
        weights: of the examples [N], in any unit; the same for all if None. The examples' part is then that of a
            weighted mean by linearisation, which does not know of classes: strata can only make it smaller.
    """
    from scipy.special import chdtri

    seeds, examples = values.shape
    share = example_shares(weights, examples)
    by_seed = values @ share
    mean, example = float(by_seed.mean()), variance_over_examples(values.mean(axis=0), share)
    if seeds == 1:
        return Crossed(mean, None, example, example, effective_degrees(share))
    seed = float(by_seed.var(ddof=1)) / seeds
    sampling = max(example - interaction(values, share) / seeds, 0.0)
    # Seeds' means are multiples of one example; by chance equal, they are still off by the variance of that rounding.
    among = max(seed, float(share @ share) / (12 * examples * seeds))
    upper = among * (seeds - 1) / float(chdtri(seeds - 1, UPPER_SEED))
    degrees = (upper + sampling) ** 2 / (upper**2 / (seeds - 1) + sampling**2 / effective_degrees(share))
    return Crossed(mean, seed, sampling, among + sampling, degrees)


def interaction(values: np.ndarray, share: np.ndarray) -> float:
    """Return the variance of one seed's mean of ``values`` [S, N] if seeds moved each example by itself; S from 2."""
    seeds, examples = values.shape
    by_seed, by_example = values @ share, values.mean(axis=0)
    residual = values - by_seed[:, None] - by_example + by_seed.mean()
    squares = float((residual**2 @ share**2).sum())
    return float(squares * examples / ((examples - 1) * (seeds - 1)))


def example_shares(weights: np.ndarray | None, examples: int) -> np.ndarray:
    """Return weights [N] that add up to 1."""
    return np.full(examples, 1 / examples) if weights is None else np.asarray(weights / weights.sum(), np.float64)


def variance_over_examples(values: np.ndarray, share: np.ndarray) -> float:
    """Return the variance of the mean of ``values`` [N], weighted by ``share`` [N], for another sample of examples."""
    count = len(values)
    return float(share**2 @ (values - values @ share) ** 2) * count / (count - 1)


def effective_degrees(share: np.ndarray) -> float:
    """Return Kish's effective number of examples less 1, a weighted mean's degrees of freedom; N - 1 if equal."""
    return max(1.0, 1 / float(share @ share) - 1)
