"""Linear probe: L2-regularised logistic regression on frozen features, the whole training split.

The linear evaluation of Kornblith et al. 2019 ("Do better ImageNet models transfer better?", section 3 and appendix
A.4) and CLIP (Radford et al. 2021, appendix A.3): scikit-learn's L-BFGS, the penalty swept on a logarithmic grid and
chosen on val, then refitted on train + val. Departures: features are standardised by the training features' mean and
deviation, so that one grid suits backbones of any scale, and it has 8 values where Kornblith et al. try 45; they score
Pets, Flowers and Caltech101 by the mean over classes, here a task's own metric decides (top-1).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveInt

from mixer_bench.data.examples import Development
from mixer_bench.errors import DataError
from mixer_bench.protocols.base import Fitted, FrozenBackbone, Protocol, choose, standardiser
from mixer_bench.system.schema import Frozen, Positive

VERSION = 1
EPSILON = 1e-5


class Config(Frozen):
    """``C`` is scikit-learn's: the weight of the summed loss against half the squared norm of the weights."""

    C: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    max_iter: PositiveInt = 2000
    tol: Positive = 1e-6  # largest gradient component of the mean loss at which it stops


def fit(backbone: FrozenBackbone, development: Development, config: Config, seed: int) -> Fitted:
    """Sweep C on train, choose on val, refit on both. The problem is convex: ``seed`` changes nothing.

    Raises:
        DataError: train holds one class only.
    """
    del seed
    train, val = development.train, development.val
    if len(np.unique(train.labels)) < 2:  # noqa: PLR2004
        raise DataError("train holds a single class; two or more are needed")
    x_train, x_val = backbone.features(train), backbone.features(val)
    standardise = standardiser(x_train, EPSILON)
    grid = tuple(sorted(config.C))
    swept = _sweep(standardise(x_train), train.labels, grid, config)
    classes = development.num_classes
    predicted = (model.scores(standardise(x_val), classes).argmax(axis=1) for model in swept)
    selection = choose("C", grid, predicted, development)  # the strongest penalty of equals
    x_both, labels = np.concatenate([x_train, x_val]), np.concatenate([train.labels, val.labels])
    both = standardiser(x_both, EPSILON)
    (final,) = _sweep(both(x_both), labels, (selection.chosen,), config)
    stopped = [f"C = {c:g}" for c, model in zip(grid, swept, strict=True) if not model.converged]
    notes = [f"not converged on train at {', '.join(stopped)}"] if stopped else []
    if not final.converged:
        notes.append(f"the final fit did not converge in {config.max_iter} iterations")

    return Fitted(
        lambda examples: final.scores(both(backbone.features(examples)), classes),
        selection,
        converged=final.converged,
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class Linear:
    """A fitted classifier of the K classes that its examples showed."""

    classes: np.ndarray  # [K]
    weights: np.ndarray  # [K, D]
    bias: np.ndarray  # [K]
    converged: bool

    def scores(self, x: np.ndarray, num_classes: int) -> np.ndarray:
        """Return log-odds [N, num_classes]; -inf for a class never seen, which is then never predicted."""
        table = np.full((len(x), num_classes), -np.inf)
        table[:, self.classes] = x @ self.weights.T + self.bias
        return table


def _sweep(x: np.ndarray, labels: np.ndarray, grid: tuple[float, ...], config: Config) -> list[Linear]:
    """Fit one classifier for each C, each started from the one before: neighbours have similar optima."""
    # Imported here: scikit-learn takes a second to load and `list` and `report` do without it.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # The penalised optimum lies in the span of the examples: with fewer examples than features, an orthonormal basis
    # of that span is an exact change of variables, and the problem shrinks from D to N unknowns a class.
    basis = np.linalg.qr(x.T)[0] if x.shape[0] < x.shape[1] else None
    reduced = x if basis is None else x @ basis
    model = LogisticRegression(solver="lbfgs", tol=config.tol, max_iter=config.max_iter, warm_start=True)
    swept = []
    for c in grid:
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            model.set_params(C=c).fit(reduced, labels)
        converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in raised)
        weights = model.coef_.copy() if basis is None else model.coef_ @ basis.T
        bias = model.intercept_.copy()
        if len(model.classes_) == 2:  # noqa: PLR2004  two classes share one row in scikit-learn
            weights, bias = np.vstack([-weights / 2, weights / 2]), np.concatenate([-bias / 2, bias / 2])
        swept.append(Linear(model.classes_, weights, bias, converged))
    return swept


PROTOCOL = Protocol(VERSION, Config, fit, seeded=False)
