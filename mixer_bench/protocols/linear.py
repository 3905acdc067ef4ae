"""Linear probe: L2-regularised logistic regression on frozen features, the whole training split.

The linear evaluation of Kornblith et al. 2019 ("Do better ImageNet models transfer better?", section 3 and appendix
A.4) and CLIP (Radford et al. 2021, appendix A.3): the optimum that scikit-learn's LogisticRegression defines, the
penalty swept on a logarithmic grid and chosen on val, then refitted on train + val. Departures: features are
standardised by the training features' mean and deviation, so that one grid suits backbones of any scale, and it has 8
values where Kornblith et al. try 45; they score Pets, Flowers and Caltech101 by the mean over classes, here a task's
own metric decides (top-1).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field, PositiveInt

from mixer_bench.data.examples import Development
from mixer_bench.errors import DataError
from mixer_bench.protocols.base import Affine, Fitted, FrozenBackbone, Protocol, Shape, choose, probed, standardiser
from mixer_bench.system.progress import unheard
from mixer_bench.system.schema import Frozen, Positive

if TYPE_CHECKING:
    from mixer_bench.training.logistic import Optimum

VERSION = 2
EPSILON = 1e-5


class Config(Frozen):
    """``C`` is scikit-learn's: the weight of the summed loss against half the squared norm of the weights."""

    C: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    max_iter: PositiveInt = 200  # Newton steps
    tol: Positive = 1e-8  # largest gradient component of the mean loss at which it stops


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
    sweep = functools.partial(_sweep, config=config, device=str(backbone.device))
    swept = sweep(standardise(x_train), train.labels, grid, heard=backbone.heard)
    classes = development.num_classes
    predicted = (model.scores(standardise(x_val), classes).argmax(axis=1) for model in swept)
    selection = choose("C", grid, predicted, development)  # the strongest penalty of equals
    x_both, labels = np.concatenate([x_train, x_val]), np.concatenate([train.labels, val.labels])
    both = standardiser(x_both, EPSILON)
    nearby = swept[grid.index(selection.chosen)]
    (final,) = sweep(
        both(x_both), labels, (selection.chosen,), start=nearby, heard=lambda words: backbone.heard(f"final {words}")
    )
    stopped = [f"C = {c:g}" for c, model in zip(grid, swept, strict=True) if model.optimum.gradient > config.tol]
    notes = [f"not converged on train at {', '.join(stopped)}"] if stopped else []
    converged = final.optimum.gradient <= config.tol
    if not converged:
        notes.append(f"the final fit did not converge in {config.max_iter} steps")
    weight, bias = np.zeros((classes, x_both.shape[1])), np.full(classes, -np.inf)
    weight[final.classes], bias[final.classes] = final.optimum.weights, final.optimum.bias
    return probed(
        backbone,
        Affine(both.mean, both.scale, weight, bias),
        selection=selection,
        converged=converged,
        gradient=final.optimum.gradient,
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class Linear:
    """A fitted classifier of the K classes that its examples showed."""

    classes: np.ndarray  # [K]
    optimum: Optimum

    def scores(self, x: np.ndarray, num_classes: int) -> np.ndarray:
        """Return log-odds [N, num_classes]; -inf for a class never seen, which is then never predicted."""
        table = np.full((len(x), num_classes), -np.inf)
        table[:, self.classes] = x @ self.optimum.weights.T + self.optimum.bias
        return table


def _sweep(
    x: np.ndarray,
    labels: np.ndarray,
    grid: Sequence[float],
    config: Config,
    start: Linear | None = None,
    device: str = "cpu",
    heard: Callable[[str], object] = unheard,
) -> list[Linear]:
    """Fit one classifier for each C, ascending; ``start`` is one of nearly the same examples and the first C."""
    # Imported here: torch takes a second to load, and `list` and `report` do without it.
    from mixer_bench.training import logistic

    classes, numbered = np.unique(labels, return_inverse=True)
    # scikit-learn gives two classes one row of weights, w: two rows of +-w/2 say the same, with half its squared norm.
    halves = 2 if len(classes) == 2 else 1  # noqa: PLR2004
    begin = start.optimum if start and np.array_equal(start.classes, classes) else None
    optima = logistic.optima(x, numbered, [c / halves for c in grid], config.tol, config.max_iter, begin, device, heard)
    return [Linear(classes, optimum) for optimum in optima]


def arithmetic(config: Config, shape: Shape) -> float:
    """Return what a sweep and the refit take, from benchmarks/linear.md: 60 passes of all, and 50 ms of small steps."""
    passes = 60.0 * shape.train * min(shape.features, shape.train) * shape.classes
    return (len(config.C) + 1) * (5e8 + passes)


PROTOCOL = Protocol(VERSION, Config, fit, seeded=False, arithmetic=arithmetic)
