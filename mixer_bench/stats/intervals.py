"""Intervals: how far a number may be off, through seeds and through test examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

Interval = tuple[float, float]


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Mean of repeated measurements and half the width of its Student interval.

    Args:
        values: one a seed.
        confidence: two-sided level.

    Returns:
        The mean and the half-width; with a single value the half-width is NaN: one seed says nothing about spread.
    """
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return mean, math.nan
    from scipy.special import stdtrit

    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    quantile = float(stdtrit(count - 1, 0.5 + confidence / 2))
    return mean, quantile * math.sqrt(variance / count)


def proportion_interval(right: int, count: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval (1927) for a proportion: what another test sample of this size could have shown."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = right / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_per_class_interval(prediction: np.ndarray, label: np.ndarray, confidence: float = 0.95) -> Interval:
    """Interval of the mean per-class accuracy: Wilson's interval for each class, half-widths added in squares.

    Classes are independent samples, so the variances of their shares add; Wilson's half-width keeps a class of few
    images that are all right from counting as certain.
    """
    centres, halves = [], []
    for number in np.unique(label):
        members = prediction[label == number] == number
        low, high = proportion_interval(int(members.sum()), len(members), confidence)
        centres.append(float(members.mean()))
        halves.append((high - low) / 2)
    mean, half = float(np.mean(centres)), math.sqrt(math.fsum(h * h for h in halves)) / len(halves)
    return max(0.0, mean - half), min(1.0, mean + half)


@dataclass(frozen=True)
class Crossed:
    """Mean over seeds x examples, and the parts of its variance, each as a variance of that mean."""

    mean: float
    seed: float  # among the seeds' means: what more seeds would shrink
    example: float  # among the examples' means over seeds
    sampling: float  # of that, what seeds do not explain: only more examples would shrink it
    variance: float  # of the mean, for other seeds and other examples: seed + sampling
    degrees: float  # of freedom of that variance

    def half(self, confidence: float = 0.95) -> float:
        """Half the width of the mean's interval, for other seeds and other examples."""
        from scipy.special import stdtrit

        return float(stdtrit(self.degrees, 0.5 + confidence / 2)) * math.sqrt(self.variance)


# With few seeds the variance among them comes out too low more often than too high, and Satterthwaite's formula then
# promises far too many degrees of freedom: 8 % false alarms with three seeds, 12 % with two. The seeds' part enters
# the degrees of freedom at its upper bound of this confidence instead. Of 0.5 to 0.9 it keeps the rate nearest to 5 %
# whatever the seeds' part of the variance: 3.2 to 6.6 % with two seeds, 3.9 to 5.4 % with three, 4.7 to 5.3 % with 5.
UPPER_SEED = 0.7


def crossed(values: np.ndarray, weights: np.ndarray | None = None) -> Crossed:
    """Variance of the mean of ``values`` [S, N] under value = mean + seed + example + interaction, all random.

    Seeds and examples are crossed: each seed is tested on the same examples. The variance is (MS_seed + MS_example -
    MS_interaction) / (S N) with the mean squares of the two-way table, its last two terms never below 0 together: the
    form of multi-reader studies (Hillis 2007, Statistics in Medicine 26:596), with readers for seeds and cases for
    examples. Degrees of freedom after Satterthwaite (1946), the seeds' part at an upper bound (see ``UPPER_SEED``).

    Args:
        values: finite, S and N at least 2.
        weights: of the examples [N], in any unit; the same for all if None. The examples' part is then that of a
            weighted mean by linearisation, which does not know of classes: strata can only make it smaller.

    Raises:
        ValueError: fewer than two seeds or examples, or weights that are none.
    """
    seeds, examples = values.shape
    if min(seeds, examples) < 2:  # noqa: PLR2004  variance needs two
        raise ValueError(f"{seeds} seeds x {examples} examples: each needs two at least")
    from scipy.special import chdtri

    share = example_shares(weights, examples)
    by_seed, by_example = values @ share, values.mean(axis=0)
    mean = float(by_seed.mean())
    seed = float(by_seed.var(ddof=1)) / seeds
    example = variance_over_examples(by_example, share)
    residual = values - by_seed[:, None] - by_example + mean
    squares = float((residual**2 @ share**2).sum())
    interaction = squares * examples / ((examples - 1) * (seeds - 1) * seeds)
    sampling = max(example - interaction, 0.0)
    # Seeds' means are multiples of one example; by chance equal, they are still off by the variance of that rounding.
    among = max(seed, float(share @ share) / (12 * examples * seeds))
    upper = among * (seeds - 1) / float(chdtri(seeds - 1, UPPER_SEED))
    degrees = (upper + sampling) ** 2 / (upper**2 / (seeds - 1) + sampling**2 / effective_degrees(share))
    return Crossed(mean, seed, example, sampling, among + sampling, degrees)


def example_shares(weights: np.ndarray | None, examples: int) -> np.ndarray:
    """Weights [N] that add up to 1.

    Raises:
        ValueError: they are not one a test example, negative, not finite or all 0.
    """
    if weights is None:
        return np.full(examples, 1 / examples)
    if weights.shape != (examples,):
        raise ValueError(f"weights of shape {weights.shape} for {examples} examples")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ValueError("weights must be finite, not negative and not all 0")
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def variance_over_examples(values: np.ndarray, share: np.ndarray) -> float:
    """Variance of the weighted mean of ``values`` [N] for another sample of examples; ``share`` [N] adds up to 1."""
    count = len(values)
    return float(share**2 @ (values - values @ share) ** 2) * count / (count - 1)


def effective_degrees(share: np.ndarray) -> float:
    """Degrees of freedom of a weighted mean's variance: Kish's effective number of examples less 1; N - 1 if equal."""
    return max(1.0, 1 / float(share @ share) - 1)


@dataclass(frozen=True)
class Spread:
    """Mean of a metric and halves of its 95 % intervals, in the metric's unit."""

    mean: float
    seed_half: float | None  # other seeds, the same examples; None with one seed, which says nothing about others
    sampling_half: float  # other examples, the same seeds
    total_half: float | None  # other seeds and other examples; None with one seed


def spread(right: np.ndarray, weights: np.ndarray | None = None) -> Spread:
    """Spread of a model's accuracy over seeds and over test examples, told apart.

    Seeds: Student's interval over the seeds' means. Examples: the same over each example's mean over seeds; if all are
    alike it is 0. Total: the crossed model (see ``crossed``), and never less than either: with few seeds Student's
    quantile for the seeds alone can be the larger.

    Args:
        right: whether, or how far, an answer was right, in [0, 1]: [S, N], seeds x examples.
        weights: of the examples [N]; 1 / class size gives the mean per-class accuracy.

    Raises:
        ValueError: fewer than two examples, or weights that are none.
    """
    right = np.asarray(right, dtype=np.float64)
    seeds, examples = right.shape
    if examples < 2:  # noqa: PLR2004  variance needs two
        raise ValueError(f"{examples} examples: two are needed at least")
    from scipy.special import stdtrit

    share = example_shares(weights, examples)
    sampling = float(stdtrit(effective_degrees(share), 0.975))
    if seeds == 1:
        return Spread(
            float(right[0] @ share), None, sampling * math.sqrt(variance_over_examples(right[0], share)), None
        )
    parts = crossed(right, weights)
    seed_half = float(stdtrit(seeds - 1, 0.975)) * math.sqrt(parts.seed)
    sampling_half = sampling * math.sqrt(parts.example)
    return Spread(parts.mean, seed_half, sampling_half, max(parts.half(), seed_half, sampling_half))
