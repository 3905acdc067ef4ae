"""Did accuracy move between two measurements of one thing? The same runs twice, by the same seeds on the same examples.

Two models differ by more than chance flips, so ``paired.compare`` must count on seeds that treat them differently, and
with three seeds it has two degrees of freedom for that: no drop of a few points can then be significant after a
correction over many groups. Here both sides are the same code, and what a seed draws is the same twice. What is left is
which answers flip, and in training on GPUs whole runs that end a little better or worse. The first is seen in every
example; the second, if there is any, is in all groups of one setting alike and is estimated from them together.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from mixer_bench.stats import intervals
from mixer_bench.stats.intervals import Interval


class Excess(NamedTuple):
    """How much more the seeds' differences scatter than independent flips would: a ratio of variances."""

    ratio: float
    degrees: int  # of freedom it was estimated with; 0: from nothing


@dataclass(frozen=True)
class Change:
    """Accuracy now less that of before, in [-1, 1], and how sure it is."""

    difference: float
    ci95: Interval
    p_drop: float  # one-sided, of no drop
    p_rise: float
    flipped: float | None  # share of answers, right now and wrong before or the other way round; None: unknown


NO_EXCESS = Excess(1.0, 0)
ROUNDING = 1e-12  # a variance below is the rounding of a sum that should be 0: a single flip has 1 / N^2


def changes(groups: Sequence[tuple[np.ndarray, np.ndarray | None, str]]) -> list[Change]:
    """Return the change of each group, scatter among seeds judged from all groups of its setting.

    Args:
        groups: correctness now less before [S, N], weights of the examples [N] or None, and the setting's name.
    """
    settings = {name for _, _, name in groups}
    scatter = {name: excess([(d, w) for d, w, setting in groups if setting == name]) for name in settings}
    return [change(difference, weights, scatter[name]) for difference, weights, name in groups]


def excess(groups: Sequence[tuple[np.ndarray, np.ndarray | None]]) -> Excess:
    """Pool the scatter among seeds over groups of one setting.

    In each group the variance of the seeds' mean differences is divided by what it would be if answers flipped by
    themselves: the interaction of seeds and examples. Groups without a flip or with one seed say nothing.
    """
    total, degrees = 0.0, 0
    for difference, weight in groups:
        share = intervals.example_shares(weight, difference.shape[1])
        if len(difference) > 1 and (expected := intervals.interaction(difference, share)) > ROUNDING:
            total += (len(difference) - 1) * float((difference @ share).var(ddof=1)) / expected
            degrees += len(difference) - 1
    return Excess(total / degrees, degrees) if degrees else NO_EXCESS


def change(difference: np.ndarray, weights: np.ndarray | None, scatter: Excess) -> Change:
    """Test the mean of ``difference`` [S, N] against none.

    Student's test over the examples' means over seeds, its variance widened by ``scatter`` where seeds scatter more
    than flips explain, degrees of freedom after Satterthwaite (1946). Where there is no such excess and examples count
    the same, p is never below that of the exact test that flips the sign of each example's difference: few flipped
    answers are no normal distribution. With one seed that is McNemar's test.

    Args:
        difference: correctness now less before, in [-1, 1]; N at least 2.
        weights: of the examples [N].
        scatter: of the group's setting.
    """
    seeds, examples = difference.shape
    share = intervals.example_shares(weights, examples)
    by_example = difference.mean(axis=0)
    mean = float(by_example @ share)
    flipped = float((difference != 0).mean())
    if not difference.any():
        return Change(0.0, (0.0, 0.0), 1.0, 1.0, flipped)
    sampling = intervals.variance_over_examples(by_example, share)
    extra = max(0.0, scatter.ratio - 1) * intervals.interaction(difference, share) / seeds if seeds > 1 else 0.0
    variance = max(sampling + extra, float(share @ share) / (12 * examples * seeds))  # equal by chance: off by rounding
    degrees = variance**2 / (
        sampling**2 / intervals.effective_degrees(share) + extra**2 / max(1, scatter.degrees) + 1e-300
    )
    t, half = mean / math.sqrt(variance), float(stdtrit(degrees, 0.975)) * math.sqrt(variance)
    drop, rise = float(stdtr(degrees, t)), float(stdtr(degrees, -t))
    if np.ptp(share) == 0:
        exact = _by_signs(np.rint(difference.sum(axis=0)).astype(np.int64))
        drop, rise = max(drop, exact[0]), max(rise, exact[1])
    return Change(mean, (max(-1.0, mean - half), min(1.0, mean + half)), drop, rise, flipped)


def _by_signs(sums: np.ndarray) -> tuple[float, float]:
    """Return exact one-sided p of a sum this low, and this high, if each of ``sums`` [N] could be its negative."""
    chance = np.ones(1)  # of each count of units among those that are positive
    for size, count in zip(*np.unique(np.abs(sums[sums != 0]), return_counts=True), strict=True):
        coins = np.zeros(size * count + 1)
        coins[::size] = _binomial(int(count))
        chance = np.convolve(chance, coins)
    positive = int(sums[sums > 0].sum())
    return min(1.0, float(chance[: positive + 1].sum())), min(1.0, float(chance[positive:].sum()))


@functools.cache  # counts come again in every group
def _binomial(count: int) -> np.ndarray:
    """Return the chance of 0 to ``count`` heads of a fair coin."""
    from scipy.stats import binom

    return np.asarray(binom.pmf(np.arange(count + 1), count, 0.5))
