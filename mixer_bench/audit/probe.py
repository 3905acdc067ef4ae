"""Out-of-fold scores: what a probe of the features says of each image that it was not fitted on."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from mixer_bench.errors import DataError
from mixer_bench.protocols.base import standardiser

FOLDS = 5
GRID = (1e-4, 1e-3, 1e-2, 1e-1)  # of C; which of them is taken, the likelihood of the labels out of fold decides
EPSILON, TOLERANCE, STEPS = 1e-5, 1e-5, 200  # added to deviations; of the optimum; of Newton's method
FEWEST = 2  # images of a class, of which one is held out


def log_odds(
    features: np.ndarray, labels: np.ndarray, alike: np.ndarray, classes: int, heard: Callable[[str], object]
) -> np.ndarray:
    """Return the out-of-fold log-odds of each C of ``GRID``, [C, N, classes]; -inf for a class that was not seen.

    They are those of scikit-learn's ``LogisticRegression`` on standardised features, by its ``StratifiedKFold``.

    Args:
        features: [N, D].
        labels: int [N].
        alike: a number for each image [N], the same for images that are one: such share a fold.
        classes: number of them.
        heard: told how far it is.

    Raises:
        DataError: there is one class only, or none has two images.
    """
    from mixer_bench.training import logistic

    sizes = np.unique(labels, return_counts=True)[1]
    if len(sizes) < 2:  # noqa: PLR2004
        raise DataError(f"all {len(labels):,} images are of one class: there is nothing to mix it up with")
    if sizes.max() < FEWEST:
        raise DataError(f"none of the {len(sizes):,} classes has two images: none can be judged by the others")
    odds = np.full((len(GRID), len(labels), classes), -np.inf)
    for number, (fitted, held) in enumerate(_folds(labels, alike, min(FOLDS, int(sizes.max())))):
        standardise = standardiser(features[fitted], EPSILON)
        seen, numbered = np.unique(labels[fitted], return_inverse=True)
        x, x_held = standardise(features[fitted]), standardise(features[held])
        # scikit-learn gives two classes one row of weights, w: two rows of +-w/2 say the same.
        grid = [c / 2 for c in GRID] if len(seen) == 2 else GRID  # noqa: PLR2004
        heard(f"probe {number + 1} of {FOLDS}")
        for place, optimum in enumerate(logistic.optima(x, numbered, grid, TOLERANCE, STEPS)):
            odds[place][np.ix_(held, seen)] = x_held @ optimum.weights.T + optimum.bias
    return odds


def _folds(labels: np.ndarray, alike: np.ndarray, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return what each probe is fitted on and what it then judges, positions."""
    kind = StratifiedKFold if len(np.unique(alike)) == len(alike) else StratifiedGroupKFold
    with warnings.catch_warnings(action="ignore"):  # of small classes, which the audit tells itself
        folds = kind(count, shuffle=True, random_state=0).split(labels, labels, alike)
        return [(fitted, held) for fitted, held in folds if len(held) and len(np.unique(labels[fitted])) > 1]
