"""Did accuracy move in several groups of runs together? Drops too small to be seen in any of them add up.

What is reported is what a reader expects, the plain mean of the groups' differences. What is tested is the sum of the
groups' differences each in its own standard errors (Stouffer's): tasks of 700 and of 70,000 test images count the same,
and none by its noise. Groups that answer the same examples are not independent of each other, so an example counts
once, with all that it moved in all groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from mixer_bench.stats import intervals
from mixer_bench.stats.change import NO_EXCESS, ROUNDING, Change, excess

# P(sum of +-a_i >= t |a|) <= 3.1787 P(normal >= t) for whatever a_i, and for no smaller factor (Bentkus & Dzindzalieta
# 2015, Bernoulli 21:1231). That holds for a single flip as for thousands, which a normal distribution alone does not.
OF_SIGNS = 3.1787


class Group(NamedTuple):
    """The same runs twice, which differ by seed alone."""

    difference: np.ndarray  # correctness now less before [S, N]
    weights: np.ndarray | None  # of the examples [N]; None: the same
    examples: str  # their name: groups of one name were asked about the same ones, in one order


def together(groups: Sequence[Group]) -> Change:
    """Test whether all groups together moved, against signs that are coins: each example's moves could be reversed.

    The mean's interval and p are widened where seeds scatter more than flips explain, as in ``change.change``, by what
    all groups say of that together.

    Args:
        groups: N of those with examples of one name must be the same.
    """
    scatter = excess([(group.difference, group.weights) for group in groups])
    scatter = scatter if scatter.ratio > 1 else NO_EXCESS
    parts = [_moves(group) for group in groups]
    standard = [1 / error if (error := math.sqrt(float(moves @ moves))) else 0.0 for moves in parts]

    def spread(scales: Sequence[float]) -> tuple[float, float, float]:
        """Return the sum of the groups' differences so scaled, its variance, and that one's degrees of freedom."""
        sums: dict[str, np.ndarray] = {}
        extra = 0.0
        for group, moves, scale in zip(groups, parts, scales, strict=True):
            sums[group.examples] = sums.get(group.examples, 0.0) + scale * moves
            extra += (scatter.ratio - 1) * scale**2 * _interaction(group)
        signs = sum(float(moves @ moves) for moves in sums.values())
        degrees = (signs + extra) ** 2 * scatter.degrees / extra**2 if extra else math.inf
        return sum(float(moves.sum()) for moves in sums.values()), signs + extra, degrees

    mean, variance, degrees = spread([1 / len(groups)] * len(groups))
    half = float(stdtrit(degrees, 0.975)) * math.sqrt(variance)
    tested, null, degrees = spread(standard)
    t = tested / math.sqrt(null) if null > ROUNDING else 0.0  # what rose and fell on the same examples cancels out
    flipped = float(np.mean([np.mean(group.difference != 0) for group in groups]))
    drop, rise = (min(1.0, OF_SIGNS * float(stdtr(degrees, side))) for side in (t, -t))
    return Change(mean, (max(-1.0, mean - half), min(1.0, mean + half)), drop, rise, flipped)


def _moves(group: Group) -> np.ndarray:
    """Return what each example adds to the group's difference, [N]."""
    share = intervals.example_shares(group.weights, group.difference.shape[1])
    return np.asarray(group.difference.mean(axis=0) * share)


def _interaction(group: Group) -> float:
    """Return the variance of the group's mean over seeds if seeds moved each example by itself; 0 with one seed."""
    seeds, examples = group.difference.shape
    share = intervals.example_shares(group.weights, examples)
    return intervals.interaction(group.difference, share) / seeds if seeds > 1 else 0.0
