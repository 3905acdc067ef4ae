"""Models over many tasks, by rank: Demšar (2006), Statistical comparisons of classifiers over multiple data sets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

DIGITS = 12  # decimals in which scores are compared: 0.3 - 0.2 and 0.2 - 0.1 are a tie


def mean_ranks(scores: np.ndarray) -> np.ndarray:
    """Return the mean rank of each model [M] over the tasks of ``scores`` [T, M], higher better.

    1 is best, ties share their mean.
    """
    from scipy.stats import rankdata

    return np.asarray(rankdata(-np.round(scores, DIGITS), axis=1).mean(axis=0))


def wilcoxon(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """Return the exact two-sided p of Wilcoxon's signed-rank test (1945) of two models' scores on the same tasks.

    Tasks without a difference are left out; p is 1 where none differs. The distribution is counted with the ranks that
    are there, so that it is exact with ties as well, where scipy turns to the normal approximation from 14 tasks.
    """
    from scipy.stats import rankdata

    difference = np.round(np.subtract(a, b), DIGITS)
    difference = difference[difference != 0]
    doubled = np.rint(2 * rankdata(np.abs(difference))).astype(np.int64)  # whole numbers even where ranks are shared
    chance = np.ones(1)  # of each sum of doubled ranks, when every sign is a fair coin
    for rank in doubled:
        chance = (np.pad(chance, (0, rank)) + np.pad(chance, (rank, 0))) / 2
    positive = int(doubled[difference > 0].sum())
    smaller = min(positive, int(doubled.sum()) - positive)
    return min(1.0, 2 * math.fsum(chance[: smaller + 1]))


def friedman(scores: np.ndarray) -> float:
    """Return p of Friedman's test (1937) that all models of ``scores`` [T, M] rank alike; 1 where every task is a tie.

    Raises:
        ValueError: fewer than three models.
    """
    from scipy.stats import friedmanchisquare

    rounded = np.round(scores, DIGITS)
    return 1.0 if (np.ptp(rounded, axis=1) == 0).all() else float(friedmanchisquare(*rounded.T).pvalue)


def critical_difference(models: int, tasks: int, alpha: float = 0.05) -> float:
    """Return the difference of mean ranks from which Nemenyi's test (1963) tells models apart (Demšar, 3.2.2)."""
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(1 - alpha, models, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(models * (models + 1) / (6 * tasks))


def cliques(mean_ranks: np.ndarray, critical: float) -> list[tuple[int, ...]]:
    """Return the largest groups of models whose ``mean_ranks`` [M] differ by less than ``critical``: its bars.

    Returns:
        Groups of two models or more, each as indices, best first; a group inside another is left out.
    """
    order = np.argsort(mean_ranks, kind="stable")
    ranks = np.asarray(mean_ranks)[order]
    groups: list[tuple[int, ...]] = []
    reached = 0  # models that some group holds, by rank: a group that reaches no further is inside that one
    for first in range(len(ranks)):
        end = int(np.searchsorted(ranks, ranks[first] + critical, side="left"))
        if end > max(reached, first + 1):
            groups.append(tuple(int(index) for index in order[first:end]))
            reached = end
    return groups
