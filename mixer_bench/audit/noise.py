"""How many labels are wrong, and which: a mixture of right labels and of others, fitted to out-of-fold scores.

As in confident learning (Northcutt et al. 2021, JAIR 70:1373) each image is judged by a probe that has not seen it, and
ranked by the probability of its own label ("self-confidence"). What is said of it is calibrated on all images at once:
the probe's log-odds are divided by a temperature T (Guo et al. 2017), and a share s of the labels is taken to be wrong,
any other class being as likely. The likelihood of the labels as they are,

    sum over images of log((1 - s) p + s (1 - p) / (K - 1)),    p: softmax(log-odds / T) at the label,

decides T, and which penalty the probe has; its profile over s gives the estimate and the interval of s. An image that
looks like another class and is none counts as a wrong label: of features alone the two cannot be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixer_bench.stats.intervals import Interval
from mixer_bench.stats.scores import softmax

TEMPERATURES = np.geomspace(0.1, 20, 32)
SHARES = np.concatenate([[0.0], np.geomspace(1e-5, 0.9, 160)])
HALF_CHI2 = 1.92  # half the 95 % quantile of chi-square with one degree of freedom
SMALLEST = 1e-300  # keeps logarithms finite


@dataclass(frozen=True)
class Noise:
    """What is thought of N labels of K classes."""

    likely: np.ndarray  # calibrated probabilities of the classes, [N, K]
    own: np.ndarray  # that of the label, [N]
    wrong: np.ndarray  # probability that the label is wrong, [N]; the higher, the lower ``own``
    share_ci95: Interval  # of labels that are wrong, whose mean estimate is that of ``wrong``


def fitted(log_odds: np.ndarray, labels: np.ndarray, classes: int) -> Noise:
    """Return what the mixture of the highest likelihood says, averaged over s by its likelihood.

    Args:
        log_odds: of several probes, [P, N, K]; finite at the labels.
        labels: int [N].
        classes: how many occur.
    """
    tables = [_log_likelihoods(odds, labels, classes) for odds in log_odds]
    probe = int(np.argmax([table.max() for table in tables]))
    table, odds = tables[probe], log_odds[probe]
    likely = softmax(odds / TEMPERATURES[np.unravel_index(table.argmax(), table.shape)[0]])
    own = likely[np.arange(len(labels)), labels]
    profile = table.max(axis=0) - table.max()
    weights = np.exp(profile) * np.gradient(SHARES)
    wrong = np.zeros(len(labels))
    for share, weight in zip(SHARES, weights / weights.sum(), strict=True):
        flipped = share * (1 - own) / (classes - 1)
        wrong += weight * flipped / np.maximum((1 - share) * own + flipped, SMALLEST)
    inside = SHARES[profile >= -HALF_CHI2]
    return Noise(likely, own, wrong, (float(inside.min()), float(inside.max())))


def _log_likelihoods(odds: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the likelihood at each temperature and share, [T, S]."""
    table = np.empty((len(TEMPERATURES), len(SHARES)))
    for row, temperature in zip(table, TEMPERATURES, strict=True):
        own = softmax(odds / temperature)[np.arange(len(labels)), labels]
        other = (1 - own) / (classes - 1)
        row[:] = [np.log((1 - share) * own + share * other + SMALLEST).sum() for share in SHARES]
    return table
