"""Linear probe: L2-regularised logistic regression on frozen features, the whole training split.

The linear evaluation of Kornblith et al. 2019 ("Do better ImageNet models transfer better?", section 3 and appendix
A.4) and CLIP (Radford et al. 2021, appendix A.3): scikit-learn's L-BFGS, the penalty swept on a logarithmic grid and
chosen on val, then refitted on train + val. Departure: features are standardised by the training features' mean and
deviation, so that one grid suits backbones of any scale.
"""

from __future__ import annotations

import warnings
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from mixer_bench.data.examples import Development, Examples
from mixer_bench.errors import DataError
from mixer_bench.protocols.base import Fitted, FrozenBackbone, standardiser
from mixer_bench.results.record import Selection
from mixer_bench.stats import metrics

VERSION = 1
SEEDED = False  # nothing is drawn: one run says it all
EPSILON = 1e-5


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Config(BaseModel):
    """``C`` is scikit-learn's: the weight of the summed loss against half the squared norm of the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    metric, classes = metrics.get(development.metric).score, development.num_classes
    scores = [metric(model.scores(standardise(x_val), classes).argmax(1), val.labels, classes) for model in swept]
    selection = Selection.best("C", grid, scores, len(val.labels))  # the strongest penalty of equals
    both = standardiser(np.concatenate([x_train, x_val]), EPSILON)
    labels = np.concatenate([train.labels, val.labels])
    final = _sweep(both(np.concatenate([x_train, x_val])), labels, (selection.chosen,), config)[0]
    stopped = [f"C = {c:g}" for c, model in zip(grid, swept, strict=True) if not model.converged]
    notes = [f"not converged on train at {', '.join(stopped)}"] if stopped else []
    if not final.converged:
        notes.append(f"the final fit did not converge in {config.max_iter} iterations")

    def judge(examples: Examples) -> np.ndarray:
        return final.scores(both(backbone.features(examples)), classes)

    return Fitted(judge, selection, converged=final.converged, notes=tuple(notes))


class Linear:
    """A fitted classifier that knows all of the task's classes, also those its examples did not show."""

    def __init__(self, classes: np.ndarray, weights: np.ndarray, bias: np.ndarray, converged: bool) -> None:
        """Keep ``weights`` [K, D] and ``bias`` [K] of the ``classes`` [K] that were seen."""
        self.classes, self.weights, self.bias, self.converged = classes, weights, bias, converged

    def scores(self, x: np.ndarray, num_classes: int) -> np.ndarray:
        """Log-odds [N, num_classes]; -inf for a class never seen, which is then never predicted."""
        table = np.full((len(x), num_classes), -np.inf)
        table[:, self.classes] = x @ self.weights.T + self.bias
        return table


def _sweep(x: np.ndarray, labels: np.ndarray, grid: tuple[float, ...], config: Config) -> list[Linear]:
    """One classifier for each C, each started from the one before: neighbours have similar optima."""
    # Imported here: scikit-learn takes a second to load and `list` and `report` do without it.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # The penalised optimum lies in the span of the examples: with fewer examples than features, an orthonormal basis
    # of that span is an exact change of variables, and the problem shrinks from D to N unknowns a class.
    basis = np.linalg.qr(x.T)[0] if x.shape[0] < x.shape[1] else None
    reduced = x if basis is None else x @ basis
    model = LogisticRegression(solver="lbfgs", tol=config.tol, max_iter=config.max_iter, warm_start=True)
    found = []
    for c in grid:
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            model.set_params(C=c).fit(reduced, labels)
        converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in raised)
        weights = model.coef_.copy() if basis is None else model.coef_ @ basis.T
        bias = model.intercept_.copy()
        if len(model.classes_) == 2:  # noqa: PLR2004  two classes share one row in scikit-learn
            weights, bias = np.vstack([-weights / 2, weights / 2]), np.concatenate([-bias / 2, bias / 2])
        found.append(Linear(model.classes_, weights, bias, converged))
    return found
