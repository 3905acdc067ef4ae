"""L2-regularised logistic regression to its one optimum, for a whole grid of penalties.

Minimises, over weights W [K, D] and biases b [K], the mean cross-entropy of softmax(x W' + b) plus |W|^2 / (2 C N):
scikit-learn's ``LogisticRegression`` divided by C N; biases are free. Newton's method, each step solved by conjugate
gradients only as exactly as the outer step deserves (Dembo, Eisenstat and Steihaug 1982, "Inexact Newton methods",
theorem 3.3), with a line search on the exact loss (Armijo). What makes it fast, and leaves the optimum where it is:

- the start: the optimum of the penalty before, and at first that of the strongest penalty;
- features in the basis of their second moments, where the Hessian is nearly diagonal as long as classes are unsure;
- once that is not enough, a Cholesky factor for each class of the Hessian's own block, made of the examples that weigh
  most in it (K blocks are the Hessian but for what classes share);
- products with the Hessian in float32: they decide the direction. The gradient, which decides when it is over, and the
  loss are float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

PATIENCE = 20  # conjugate gradients of a step after which the next gets factors of blocks
REUSED = 2  # steps that blocks are good for
WEIGHTIEST = 2  # times D: the examples a block is made of
LARGEST = 2**30  # bytes that the factors of all blocks may take
INNER = 1000  # conjugate gradients a step may take
FLOOR = 1e-12  # keeps what is divided by or factorised above zero


@dataclass(frozen=True)
class Optimum:
    """A fitted classifier of K classes, and how exactly it was found."""

    weights: np.ndarray  # [K, D]
    bias: np.ndarray  # [K], mean 0
    gradient: float  # its largest component there, of the loss as above
    steps: int


def optima(
    x: np.ndarray,
    labels: np.ndarray,
    grid: Sequence[float],
    tolerance: float,
    max_steps: int,
    start: Optimum | None = None,
) -> Iterator[Optimum]:
    """Give the optimum for each C of ``grid``, each search started from the one before.

    Args:
        x: features, float64 [N, D], each of mean 0.
        labels: 0 .. K - 1, each of which occurs; int [N].
        grid: values of C, best ascending: neighbours have similar optima.
        tolerance: the largest gradient component at which a search is over.
        max_steps: Newton steps a search may take.
        start: where the first begins; None: at the optimum of the strongest penalty, the classes' log-priors.
    """
    # The penalised optimum lies in the span of the examples: with fewer examples than features, an orthonormal basis
    # of that span is an exact change of variables, and the problem shrinks from D to N unknowns a class.
    features = torch.from_numpy(x)
    basis = torch.linalg.qr(features.T)[0] if x.shape[0] < x.shape[1] else torch.eye(x.shape[1], dtype=torch.float64)
    reduced = features @ basis
    moments, directions = torch.linalg.eigh(reduced.T @ reduced / len(reduced))
    basis = basis @ directions
    problem = _Problem.of(features @ basis, moments.clamp(min=0), torch.from_numpy(labels.astype(np.int64)))
    theta = torch.zeros(problem.classes, basis.shape[1] + 1, dtype=torch.float64)
    theta[:, -1] = problem.truth.mean(dim=0).log()
    if start:
        theta = torch.from_numpy(np.hstack([start.weights @ basis.numpy(), start.bias[:, None]]))
    for c in grid:
        penalty = torch.full_like(theta[0], 1 / (c * len(x)))
        penalty[-1] = 0
        theta, gradient, steps = _minimised(problem, penalty, theta, basis, tolerance, max_steps)
        bias = theta[:, -1] - theta[:, -1].mean()
        yield Optimum((theta[:, :-1] @ basis.T).numpy(), bias.numpy(), gradient, steps)


@dataclass(frozen=True)
class _Problem:
    """The examples in the basis of their second moments, with a last feature of 1."""

    x: Tensor  # float64 [N, D + 1]
    single: Tensor  # the same in float32
    moments: Tensor  # of each feature, [D + 1]
    truth: Tensor  # 1 for the example's class, [N, K]

    @classmethod
    def of(cls, x: Tensor, moments: Tensor, labels: Tensor) -> _Problem:
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        truth = torch.nn.functional.one_hot(labels).to(x.dtype)
        return cls(x, x.float(), torch.cat([moments, torch.ones_like(moments[:1])]), truth)

    @property
    def classes(self) -> int:
        return self.truth.shape[1]

    def loss(self, theta: Tensor, penalty: Tensor) -> tuple[float, Tensor]:
        """Return the loss, and the logits [N, K]."""
        logits = self.x @ theta.T
        entropy = (logits.logsumexp(dim=1) - (logits * self.truth).sum(dim=1)).mean()
        return float(entropy + (penalty * theta**2).sum() / 2), logits

    def gradient(self, theta: Tensor, penalty: Tensor, probabilities: Tensor) -> Tensor:
        return (probabilities - self.truth).T @ self.x / len(self.x) + penalty * theta

    def curvature(self, penalty: Tensor, probabilities: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the product of the Hessian with a direction."""
        p = probabilities.float()

        def product(direction: Tensor) -> Tensor:
            logits = self.single @ direction.float().T
            logits = p * (logits - (p * logits).sum(dim=1, keepdim=True))
            return (logits.T @ self.single).double() / len(self.x) + penalty * direction

        return product

    def by_feature(self, penalty: Tensor, probabilities: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the inverse of the Hessian's diagonal if all examples of a class weighed the same."""
        weight = (probabilities * (1 - probabilities)).mean(dim=0)
        diagonal = weight[:, None] * self.moments + penalty + FLOOR
        return lambda residual: residual / diagonal

    def by_block(self, penalty: Tensor, probabilities: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the inverse of the Hessian's K blocks, of the weightiest examples exactly and the rest on average."""
        weight = probabilities * (1 - probabilities) / len(self.x)
        top, chosen = weight.topk(min(len(weight), WEIGHTIEST * len(penalty)), dim=0)
        rest = (weight.sum(dim=0) - top.sum(dim=0)).clamp(min=0)
        diagonal = rest[:, None] * self.moments + penalty + FLOOR
        blocks = torch.diag_embed(diagonal)
        for block, weights, examples in zip(blocks, top.T, chosen.T, strict=True):
            part = self.x[examples] * weights.sqrt()[:, None]
            block.addmm_(part.T, part)
        factors = torch.linalg.cholesky(blocks)
        return lambda residual: torch.cholesky_solve(residual[:, :, None], factors)[:, :, 0]


def _minimised(
    problem: _Problem, penalty: Tensor, theta: Tensor, basis: Tensor, tolerance: float, max_steps: int
) -> tuple[Tensor, float, int]:
    """Return the optimum from a start, [K, D + 1], the gradient's largest component there, and Newton steps taken."""
    loss, logits = problem.loss(theta, penalty)
    blocks_fit = problem.classes * len(penalty) ** 2 * theta.element_size() <= LARGEST
    blocks_cost = WEIGHTIEST * len(penalty) ** 2 / 2 / len(problem.x)  # as many products with the Hessian
    taken, blocks = 0, 0  # conjugate gradients of the last step; steps since blocks were needed
    for step in range(max_steps + 1):
        probabilities = logits.softmax(dim=1)
        gradient = problem.gradient(theta, penalty, probabilities)
        # In the features' own basis: what is certified does not depend on how it was found.
        largest = max(float((gradient[:, :-1] @ basis.T).abs().max()), float(gradient[:, -1].abs().max()))
        if largest <= tolerance or step == max_steps:
            break
        if not blocks and (not blocks_fit or taken <= max(PATIENCE, blocks_cost)):
            inverse = problem.by_feature(penalty, probabilities)
        else:
            if blocks % REUSED == 0:
                inverse = problem.by_block(penalty, probabilities)
            blocks += 1
        product = problem.curvature(penalty, probabilities)
        direction, taken = _solved(product, inverse, -gradient, 0.3 * tolerance / largest)
        slope, length = float((gradient * direction).sum()), 1.0
        # The last term is what float64 can tell apart.
        while (moved := problem.loss(theta + length * direction, penalty))[0] > (
            loss + 1e-4 * length * slope + 1e-14 * abs(loss)
        ) and length > FLOOR:
            length /= 2
        theta, (loss, logits) = theta + length * direction, moved
    return theta, largest, step


def _solved(
    product: Callable[[Tensor], Tensor], inverse: Callable[[Tensor], Tensor], right: Tensor, enough: float
) -> tuple[Tensor, int]:
    """Solve ``product(direction) = right`` by preconditioned conjugate gradients, [K, D + 1]; and how many it took.

    It ends where the residual has shrunk to its own length to begin with, by which Newton's method converges
    quadratically, or to ``enough`` of it.
    """
    direction, residual = torch.zeros_like(right), right
    steered = search = inverse(residual)
    length = first = float((residual * steered).sum())
    goal = max(min(0.3, first**0.5), enough) ** 2 * first
    taken = 0
    while taken < INNER:
        taken += 1
        curved = product(search)
        step = length / float((search * curved).sum())
        direction, residual = direction + step * search, residual - step * curved
        steered = inverse(residual)
        length, before = float((residual * steered).sum()), length
        if length <= goal:
            break
        search = steered + length / before * search
    return direction, taken
