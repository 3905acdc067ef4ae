"""What is learned of features, once more: numpy and float64, each rule by the words of its source."""

from __future__ import annotations

import math

import numpy as np
import scipy.optimize
import scipy.special


def big_vision(train_x, train_y, test_x, classes, shots, seed, l2=1024.0):
    """facts of fewshot_lsr.py, restated with a plain solve instead of a decomposition."""
    rng = np.random.default_rng(seed)
    draws = [rng.permutation([i for i in range(len(train_y)) if train_y[i] == c])[:shots] for c in range(classes)]
    chosen = np.concatenate(draws).astype(int)
    x, y = train_x[chosen].astype(np.float64), train_y[chosen]
    mean, std = x.mean(0), x.std(0) + 1e-5
    x = np.concatenate([(x - mean) / std, np.full((len(x), 1), 100.0)], axis=1)
    z = np.concatenate([(test_x.astype(np.float64) - mean) / std, np.full((len(test_x), 1), 100.0)], axis=1)
    targets = np.where(y[:, None] == np.arange(classes)[None, :], 1.0, -1.0)
    weights = np.linalg.solve(x.T @ x + l2 * np.eye(x.shape[1]), x.T @ targets)
    return z @ weights


def unit(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)


def neighbours(
    known: np.ndarray, labels: np.ndarray, queries: np.ndarray, k: int, temperature: float, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Votes [Q, classes] by DINO's rule, and how much nearer the last neighbour is than the first that has no vote."""
    votes, gaps = np.zeros((len(queries), classes)), np.full(len(queries), math.inf)
    for row, similarity in enumerate(queries @ known.T):
        order = sorted(range(len(known)), key=lambda i: (-similarity[i], i))
        for i in order[:k]:
            votes[row, labels[i]] += math.exp((similarity[i] - similarity[order[0]]) / temperature)
        if k < len(order):
            gaps[row] = similarity[order[k - 1]] - similarity[order[k]]
    return votes, gaps


def penalised(weights: np.ndarray, bias: np.ndarray, x: np.ndarray, y: np.ndarray, c: float) -> float:
    """Half the squared norm plus C times the summed cross-entropy, written out."""
    logits = x @ weights.T + bias
    losses = scipy.special.logsumexp(logits, axis=1) - logits[np.arange(len(y)), y]
    return float(0.5 * (weights**2).sum() + c * losses.sum())


def logistic(x: np.ndarray, y: np.ndarray, queries: np.ndarray, c: float, classes: int) -> np.ndarray:
    """Log-odds [Q, classes] at the one optimum of ``penalised``; every class must occur."""
    truth = np.eye(classes)[y]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = flat[:-classes].reshape(classes, -1), flat[-classes:]
        error = c * (scipy.special.softmax(x @ weights.T + bias, axis=1) - truth)
        gradient = np.concatenate([(weights + error.T @ x).ravel(), error.sum(0)])
        return penalised(weights, bias, x, y, c) / (c * len(y)), gradient / (c * len(y))

    options = {"maxiter": 20_000, "maxfun": 40_000, "gtol": 1e-9, "ftol": 0.0, "maxcor": 30}
    start = np.zeros(classes * (x.shape[1] + 1))
    flat = scipy.optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
    return queries @ flat[:-classes].reshape(classes, -1).T + flat[-classes:]
