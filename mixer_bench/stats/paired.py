"""Two models on one task: is the difference more than chance? From the same seeds and examples of both."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import bdtr, nctdtrinc, ndtri, stdtr, stdtrit

from mixer_bench.stats import intervals
from mixer_bench.stats.intervals import Crossed, Interval

LEVEL = 0.05
POWER = 0.8
DRAWS = 10_000  # of the bootstrap: other draws would move its interval's ends by 1 % of its width
SMALLEST_SURPRISE = 6  # discordant examples, all for one model: fewer are never significant at 5 % (2 / 2^5 > 0.05)
MCNEMAR = "exact McNemar"
STUDENT = "paired t over examples"
CROSSED = "seeds x examples"


@dataclass(frozen=True)
class Comparison:
    """Difference of two models' accuracy on one task, and how sure it is. Variances are those of the difference."""

    difference: float  # A - B, in [-1, 1]
    p: float  # two-sided, of no difference
    seeds: int
    examples: int
    seed_variance: float | None  # what more seeds would shrink; None with one seed, which says nothing about others
    sampling_variance: float  # what only more test examples would shrink; with one seed, all that can be seen
    degrees: float  # of freedom of both together
    detectable: float  # smallest difference that such data would have shown at the 5 % level in 80 % of cases
    method: str  # for people
    interval: Callable[[], Interval] = field(repr=False, compare=False)

    @functools.cached_property
    def ci95(self) -> Interval:
        """The interval of the difference, worked out when it is asked for: of one seed it takes thousands of draws."""
        return self.interval()


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p of McNemar's test (1947): are the discordant examples a fair coin?

    Never above its level, but below: at 5 % it raises 3.8 to 4.5 % false alarms with 642 to 2,000 examples of which 10
    to 30 % are discordant, 3.2 % with 32 discordant ones and 0.9 % with five.

    ``only_a`` examples only model A has right, ``only_b`` only B; without any discordant example p is 1.
    """
    # Of a fair coin the two tails are alike; they meet where both have the middle.
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def compare(right_a: np.ndarray, right_b: np.ndarray, weights: np.ndarray | None = None) -> Comparison:
    """Compare two models by the correctness of their answers with the same seeds on the same examples.

    One seed: exact McNemar test and paired bootstrap of the examples; it holds for these two trained models, not for
    their recipes. Several: t test in the crossed model of ``intervals.crossed``; it holds for other seeds, too. One
    seed with unequal weights, where McNemar's test does not hold: t test over examples.

    Args:
        right_a: of model A, which answers were right: [S, N], seeds x examples, N at least 2.
        right_b: of model B, in the same order.
        weights: of the examples [N]; 1 / class size compares the mean per-class accuracy.
    """
    difference = np.asarray(right_a, dtype=np.float64) - np.asarray(right_b, dtype=np.float64)
    constant = bool(np.ptp(difference) == 0)  # whatever the seeds and weights: all one can do is count examples
    if constant or (len(difference) == 1 and (weights is None or np.ptp(weights) == 0)):
        return _by_counting(difference)
    return _by_student(difference, intervals.crossed(difference, weights))


def _by_counting(difference: np.ndarray) -> Comparison:
    """Run McNemar's test of one seed's differences [S, N]; of several only where all are the same."""
    seeds, examples = difference.shape
    first = difference[0]
    only_a, only_b = int((first > 0).sum()), int((first < 0).sum())
    mean = float(first.mean())
    return Comparison(
        difference=mean,
        p=mcnemar(only_a, only_b),
        seeds=seeds,
        examples=examples,
        seed_variance=None if seeds == 1 else 0.0,
        sampling_variance=float(first.var(ddof=1)) / examples,
        degrees=examples - 1,
        detectable=_detectable_by_counting(only_a + only_b, examples),
        method=MCNEMAR,
        interval=lambda: _bootstrap(only_a, only_b, examples) if only_a or only_b else (mean, mean),
    )


def _bootstrap(only_a: int, only_b: int, examples: int) -> Interval:
    """Return the percentile interval of the mean difference over resampled examples.

    A resample of values -1, 0 and +1 is known by how often it has each, which is multinomial: the counts are drawn, not
    the examples, the same distribution at a thousandth of the cost.
    """
    shares = np.array([only_a, only_b, examples - only_a - only_b]) / examples
    counts = np.random.default_rng(0).multinomial(examples, shares, size=DRAWS)
    low, high = np.quantile((counts[:, 0] - counts[:, 1]) / examples, (0.025, 0.975))
    return float(low), float(high)


def _detectable_by_counting(discordant: int, examples: int) -> float:
    """Return the difference that the exact test finds with 80 % power at this share of discordant examples.

    Miettinen's condition (1968, Biometrics 24:339), d sqrt(N) = z_level sqrt(share) + z_power sqrt(share - d^2), solved
    for d, and one example more for the exact test's steps.
    """
    level, power = float(ndtri(1 - LEVEL / 2)), float(ndtri(POWER))
    root = power * math.sqrt(max(0.0, examples + power**2 - level**2))
    share = discordant / examples
    difference = math.sqrt(share) * (level * math.sqrt(examples) + root) / (examples + power**2) + 1 / examples
    return min(1.0, max(difference, SMALLEST_SURPRISE / examples))


def _by_student(difference: np.ndarray, parts: Crossed) -> Comparison:
    """Run Student's test of the mean of ``difference`` [S, N]."""
    mean, error = parts.mean, math.sqrt(parts.variance)
    quantile = float(stdtrit(parts.degrees, 1 - LEVEL / 2))
    # How far off 0, in standard errors, the truth must be for the test to pass its quantile in 80 % of cases.
    shift = float(nctdtrinc(parts.degrees, 1 - POWER, quantile))
    return Comparison(
        difference=mean,
        p=2 * float(stdtr(parts.degrees, -abs(mean) / error)),
        seeds=difference.shape[0],
        examples=difference.shape[1],
        seed_variance=parts.seed,
        sampling_variance=parts.sampling,
        degrees=parts.degrees,
        detectable=min(1.0, shift * error),
        method=STUDENT if parts.seed is None else CROSSED,
        interval=lambda: (max(-1.0, mean - quantile * error), min(1.0, mean + quantile * error)),
    )


def holm(ps: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p (1979), in the order of ``ps``.

    They are below 5 % at most by chance in 5 % of such families, whatever their dependence.
    """
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = highest
    return adjusted
