"""The linear probe's sweep of C against scikit-learn's, both to the same norm of the gradient, in one run.

    OMP_NUM_THREADS=1 python benchmarks/linear.py [--size 600x256x102 ...] [--features FILE.npz] [--tolerance 1e-8]
                                                  [--minutes 40]

A size is examples x features x classes, of random features whose spectrum falls off as that of networks does; FILE.npz
has x_train, y_train, x_test of real ones. Both sweep the probe's grid in ascending order, each fit started from the one
before. Seconds are of processor time, which other programs on the machine disturb least. "Differ" counts the examples,
as many as were fitted, whose predicted class is not that of the optimum, found to a gradient of 1e-12; the last row of
each size is scikit-learn at the tolerance it had here before. With --minutes each row of scikit-learn's begins no fit
after so many of processor time, the ratio is of the C that both fitted, and the optimum is what the probe found.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import sklearn
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from tabulate import tabulate

from mixer_bench.protocols.base import standardiser
from mixer_bench.protocols.linear import EPSILON, Config
from mixer_bench.system import machine
from mixer_bench.training import logistic

GRID = Config().C
Sweep = Callable[[np.ndarray, np.ndarray, float], Iterator[tuple[np.ndarray, np.ndarray]]]


def ours(x: np.ndarray, labels: np.ndarray, tolerance: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Sweep with the probe's own solver."""
    for optimum in logistic.optima(x, labels, GRID, tolerance, Config().max_iter):
        yield optimum.weights, optimum.bias


def scikit_learn(x: np.ndarray, labels: np.ndarray, tolerance: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Sweep with L-BFGS."""
    # With fewer examples than features, both solve in the span of the examples.
    basis = np.linalg.qr(x.T)[0] if x.shape[0] < x.shape[1] else np.eye(x.shape[1])
    model = LogisticRegression(solver="lbfgs", tol=tolerance, max_iter=100_000, warm_start=True)
    for c in GRID:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of line searches that float64 ends; the gradient's norm is printed
            model.set_params(C=c).fit(x @ basis, labels)
        yield model.coef_ @ basis.T, model.intercept_.copy()


def largest_gradient(fit: tuple[np.ndarray, np.ndarray], x: np.ndarray, labels: np.ndarray, c: float) -> float:
    """The largest component of the gradient of the mean loss, in numpy."""
    weights, bias = fit
    error = softmax(x @ weights.T + bias, axis=1)
    error[np.arange(len(x)), labels] -= 1
    return float(max(np.abs(error.T @ x / len(x) + weights / (c * len(x))).max(), np.abs(error.mean(0)).max()))


def drawn(count: int, features: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [2 N, D] and labels of half of them: class means in noise of a falling spectrum, cut off below."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(2 * count) % classes)
    spectrum = np.arange(1, features + 1.0)
    x = rng.normal(size=(2 * count, features)) * 5 * spectrum**-0.7
    x += (rng.normal(size=(classes, features)) * spectrum**-0.5)[labels]
    x = np.maximum(x @ np.linalg.qr(rng.normal(size=(features, features)))[0], -0.1)
    return x[:count], labels[:count], x[count:]


def timed(
    sweep: Sweep, x: np.ndarray, labels: np.ndarray, tolerance: float, most: float
) -> tuple[list[float], list[tuple[np.ndarray, np.ndarray]]]:
    """Processor seconds of each fit of a sweep, and the fits; none begins after ``most`` seconds."""
    seconds, fits = list[float](), []
    start = time.process_time()
    for fit in sweep(x, labels, tolerance):
        seconds.append(time.process_time() - start)
        fits.append(fit)
        print(f"  {GRID[len(fits) - 1]:g}: {seconds[-1]:.1f} s", file=sys.stderr, flush=True)
        if sum(seconds) >= most:
            break
        start = time.process_time()
    return seconds, fits


def predicted(x: np.ndarray, fits: Sequence[tuple[np.ndarray, np.ndarray]]) -> Iterator[np.ndarray]:
    """The classes that each fit predicts."""
    return ((x @ weights.T + bias).argmax(axis=1) for weights, bias in fits)


def compared(
    name: str, x: np.ndarray, labels: np.ndarray, others: np.ndarray, tolerance: float, minutes: float | None
) -> list[list[object]]:
    """The rows of one size."""
    standardise = standardiser(x, EPSILON)
    x, others = standardise(x), standardise(others)
    labels = np.unique(labels, return_inverse=True)[1]
    best = [] if minutes else [*ours(x, labels, 1e-12)]
    rows: list[list[object]] = []
    first: list[float] = []
    for what, sweep, tol in (
        ("mixer-bench", ours, tolerance),
        ("scikit-learn", scikit_learn, tolerance),
        ("scikit-learn", scikit_learn, 1e-6),
    ):
        most = 60 * minutes if minutes and sweep is scikit_learn else math.inf
        seconds, fits = timed(sweep, x, labels, tol, most)
        total = sum(seconds)
        first, best = first or seconds, best or fits
        norm = max(largest_gradient(fit, x, labels, c) for fit, c in zip(fits, GRID, strict=False))
        pairs = zip(predicted(others, fits), predicted(others, best), strict=False)
        wrong = [int((classes != true).sum()) for classes, true in pairs]
        ratio = total / sum(first[: len(fits)])
        each = " ".join(f"{part:.3g}" for part in seconds)
        rows.append([name, what, f"{norm:.0e}", f"{total:.2f}", f"{ratio:.1f}", each, " ".join(map(str, wrong))])
        print(*rows[-1], sep=" | ", flush=True)
    return rows


def main() -> None:
    """Compare all sizes, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", help="examples x features x classes, such as 600x256x102")
    parser.add_argument("--features", type=Path, help=".npz with x_train, y_train and x_test")
    parser.add_argument("--examples", type=int, default=5000, help="of FILE.npz that are fitted")
    parser.add_argument("--tolerance", type=float, default=Config().tol)
    parser.add_argument("--minutes", type=float)
    told = parser.parse_args()
    rows = []
    if told.features:
        with np.load(told.features) as kept:
            x, labels, others = kept["x_train"], kept["y_train"], kept["x_test"]
        chosen = np.random.default_rng(0).permutation(len(x))[: told.examples]
        name = f"{len(chosen)}x{x.shape[1]}x{len(np.unique(labels[chosen]))}, {told.features.stem}"
        rows += compared(name, x[chosen], labels[chosen], others, told.tolerance, told.minutes)
    for size in told.size or ([] if told.features else ["600x256x102", "5000x256x100"]):
        rows += compared(size, *drawn(*map(int, size.split("x"))), told.tolerance, told.minutes)
    heads = ["examples", "solver", "gradient", "s", "ratio", "s by C", "differ by C"]
    print(f"\n{machine.processor()}, {torch.get_num_threads()} threads", end=", ")
    print(f"torch {torch.__version__}, scikit-learn {sklearn.__version__}\n")
    print(tabulate(rows, heads, tablefmt="github"))


if __name__ == "__main__":
    main()
