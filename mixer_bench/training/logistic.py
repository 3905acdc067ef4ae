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

from mixer_bench.system.progress import unheard

PATIENCE = 20  # conjugate gradients of a step after which the next gets factors of blocks
REUSED = 2  # steps that blocks are good for
WEIGHTIEST = 2  # times D: the examples a block is made of
LARGEST = 2**31  # bytes that the factors of all blocks may take
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
    device: str = "cpu",
    heard: Callable[[str], object] = unheard,
) -> Iterator[Optimum]:
    """Give the optimum for each C of ``grid``, each search started from the one before.

    Memory holds the examples three times, four arrays [N, K], and up to ``LARGEST`` bytes of factors.

    Args:
        x: features, float64 [N, D], each of mean 0.
        labels: 0 .. K - 1, each of which occurs; int [N].
        grid: values of C, best ascending: neighbours have similar optima.
        tolerance: the largest gradient component at which a search is over.
        max_steps: Newton steps a search may take.
        start: where the first begins; None: at the optimum of the strongest penalty, the classes' log-priors.
        device: where to compute; one without float64, such as MPS, leaves it to the CPU.
        heard: told after each step how far the search is.
    """
    where = torch.device(device if device.startswith("cuda") else "cpu")
    problem, basis = _prepared(torch.from_numpy(x).to(where), torch.from_numpy(labels.astype(np.int64)).to(where))
    theta = problem.priors
    if start:
        weights, bias = (torch.from_numpy(part).to(where) for part in (start.weights, start.bias))
        theta = torch.hstack([weights @ basis, bias[:, None]])
    for c in grid:
        goal = _Goal(f"C = {c:g}", tolerance, max_steps, heard)
        penalty = torch.full_like(theta[0], 1 / (c * len(x)))
        penalty[-1] = 0
        theta, gradient, steps = _minimised(problem, penalty, theta, basis, goal)
        bias = theta[:, -1] - theta[:, -1].mean()
        yield Optimum((theta[:, :-1] @ basis.T).cpu().numpy(), bias.cpu().numpy(), gradient, steps)


@dataclass(frozen=True)
class _Goal:
    """When a search is over, and who hears of it."""

    name: str
    tolerance: float
    max_steps: int
    heard: Callable[[str], object]


def _prepared(features: Tensor, labels: Tensor) -> tuple[_Problem, Tensor]:
    """Return the problem in the basis of the features' second moments, and that basis, [D, at most D]."""
    # The penalised optimum lies in the span of the examples: with fewer examples than features, an orthonormal basis
    # of that span is an exact change of variables, and the problem shrinks from D to N unknowns a class.
    span = torch.linalg.qr(features.T)[0] if len(features) < features.shape[1] else None
    reduced = features if span is None else features @ span
    moments, directions = torch.linalg.eigh(reduced.T @ reduced / len(reduced))
    basis = directions if span is None else span @ directions
    return _Problem.of(features @ basis, moments.clamp(min=0), labels), basis


@dataclass(frozen=True)
class _Problem:
    """The examples in the basis of their second moments, with a last feature of 1."""

    x: Tensor  # float64 [N, D + 1]
    single: Tensor  # the same in float32
    moments: Tensor  # of each feature, [D + 1]
    labels: Tensor  # int64 [N]
    priors: Tensor  # the optimum of the strongest penalty, [K, D + 1]

    @classmethod
    def of(cls, x: Tensor, moments: Tensor, labels: Tensor) -> _Problem:
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        shares = labels.bincount() / len(labels)
        priors = x.new_zeros(len(shares), x.shape[1])
        priors[:, -1] = shares.to(x.dtype).log()
        return cls(x, x.float(), torch.cat([moments, torch.ones_like(moments[:1])]), labels, priors)

    @property
    def classes(self) -> int:
        return len(self.priors)

    def loss(self, theta: Tensor, penalty: Tensor) -> tuple[float, Tensor]:
        """Return the loss, and the logits [N, K]."""
        logits = self.x @ theta.T
        entropy = (logits.logsumexp(dim=1) - logits.gather(1, self.labels[:, None])[:, 0]).mean()
        return float(entropy + (penalty * theta**2).sum() / 2), logits

    def gradient(self, theta: Tensor, penalty: Tensor, probabilities: Tensor) -> Tensor:
        error = probabilities.scatter_add(1, self.labels[:, None], -torch.ones_like(self.x[:, :1]))
        return error.T @ self.x / len(self.x) + penalty * theta

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
            block.copy_(torch.linalg.cholesky(block.addmm_(part.T, part)))  # in its place: all are not held twice

        def solved(residual: Tensor) -> Tensor:
            # Not cholesky_solve, which copies all factors each time: ten times as long for 100 of 1,281 x 1,281.
            halfway = torch.linalg.solve_triangular(blocks, residual[:, :, None], upper=False)
            direction: Tensor = torch.linalg.solve_triangular(blocks.mT, halfway, upper=True)
            return direction[:, :, 0]

        return solved


def _minimised(
    problem: _Problem, penalty: Tensor, theta: Tensor, basis: Tensor, goal: _Goal
) -> tuple[Tensor, float, int]:
    """Return the optimum from a start, [K, D + 1], the gradient's largest component there, and Newton steps taken."""
    loss, logits = problem.loss(theta, penalty)
    blocks_fit = problem.classes * len(penalty) ** 2 * theta.element_size() <= LARGEST
    blocks_cost = WEIGHTIEST * len(penalty) ** 2 / 2 / len(problem.x)  # as many products with the Hessian
    taken, blocks = 0, 0  # conjugate gradients of the last step; steps since blocks were needed
    for step in range(goal.max_steps + 1):
        probabilities = logits.softmax(dim=1)
        gradient = problem.gradient(theta, penalty, probabilities)
        # In the features' own basis: what is certified does not depend on how it was found.
        largest = max(float((gradient[:, :-1] @ basis.T).abs().max()), float(gradient[:, -1].abs().max()))
        goal.heard(f"{goal.name}, step {step}: gradient {largest:.1g} (to {goal.tolerance:.1g})")
        if largest <= goal.tolerance or step == goal.max_steps:
            break
        if not blocks and (not blocks_fit or taken <= max(PATIENCE, blocks_cost)):
            inverse = problem.by_feature(penalty, probabilities)
        else:
            if blocks % REUSED == 0:
                inverse = problem.by_block(penalty, probabilities)
            blocks += 1
        product = problem.curvature(penalty, probabilities)
        direction, taken = _solved(product, inverse, -gradient, 0.3 * goal.tolerance / largest)
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
