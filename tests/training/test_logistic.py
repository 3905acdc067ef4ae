"""Each search ends at the optimum that other solvers reach, and says truly how near it is."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from torch._subclasses.fake_tensor import FakeTensorMode

from mixer_bench.protocols import linear
from mixer_bench.protocols.linear import Config
from mixer_bench.training import logistic

GRID = (1e-5, 1e-2, 1.0, 100.0)


def problem(count: int, features: int, classes: int, spread: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Standardised features of a long-tailed spectrum, of classes of very unequal sizes."""
    rng = np.random.default_rng(classes)
    labels = np.minimum(rng.geometric(2 / classes, count) - 1, classes - 1)
    labels[:classes] = np.arange(classes)
    scales = np.arange(1, features + 1) ** -0.7
    x = (rng.normal(size=(classes, features))[labels] + spread * rng.normal(size=(count, features))) * scales
    x = x @ np.linalg.qr(rng.normal(size=(features, features)))[0]
    return (x - x.mean(0)) / x.std(0), labels


@pytest.mark.parametrize(
    ("count", "features", "classes"),
    [(300, 20, 7), (40, 80, 7), (300, 20, 2), (40, 80, 2), (120, 8, 40)],
    ids=["more examples", "more features", "two classes", "two classes, more features", "lone examples"],
)
def test_optima_are_those_of_another_solver(count: int, features: int, classes: int) -> None:
    x, labels = problem(count, features, classes)
    for c, ours in zip(GRID, linear._sweep(x, labels, GRID, Config(tol=1e-10)), strict=True):
        best = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(x, labels)
        scale = np.abs(best.coef_).max()
        rows = best.coef_ if classes > 2 else np.vstack([-best.coef_ / 2, best.coef_ / 2])
        np.testing.assert_allclose(ours.optimum.weights, rows, atol=1e-4 * scale)
        theirs, mine = best.predict_proba(x), softmax(ours.scores(x, classes), axis=1)
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_the_gradient_it_tells_is_the_gradient() -> None:
    x, labels = problem(300, 20, 7)
    truth = np.eye(7)[labels]
    for c, optimum in zip(GRID, logistic.optima(x, labels, GRID, 1e-3, 100), strict=True):
        error = softmax(x @ optimum.weights.T + optimum.bias, axis=1) - truth
        gradient = error.T @ x / 300 + optimum.weights / (c * 300)
        largest = max(np.abs(gradient).max(), np.abs(error.mean(0)).max())
        assert optimum.gradient == pytest.approx(largest, rel=1e-6, abs=1e-12)
        assert optimum.gradient <= 1e-3


def test_blocks_are_inverted_exactly_where_they_are_made_of_all_examples() -> None:
    """A wrong inverse ends at the right optimum too, only later."""
    x, labels = problem(40, 30, 7)
    of_blocks, _ = logistic._prepared(torch.from_numpy(x), torch.from_numpy(labels))
    p = torch.from_numpy(np.random.default_rng(1).dirichlet(np.ones(7), 40))
    penalty, residual = torch.full((31,), 0.01, dtype=torch.float64), torch.randn(7, 31, dtype=torch.float64)
    solved = of_blocks.by_block(penalty, p)(residual).numpy()
    for share, right, direction in zip(p.numpy().T, residual.numpy(), solved, strict=True):
        inner = of_blocks.x.numpy()
        hessian = (inner.T * (share * (1 - share) / 40)) @ inner + 0.01 * np.eye(31)
        np.testing.assert_allclose(hessian @ direction, right, atol=1e-8)


def test_blocks_and_a_start_lead_to_the_same_optimum_in_fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = problem(300, 20, 7)
    (cold,) = logistic.optima(x, labels, [10.0], 1e-9, 100)
    (warm,) = logistic.optima(x[:-3], labels[:-3], [10.0], 1e-9, 100, cold)
    assert warm.steps < cold.steps
    monkeypatch.setattr(logistic, "PATIENCE", 0)
    monkeypatch.setattr(logistic, "WEIGHTIEST", 1)  # at once, and of 21 of 300 examples
    (by_blocks,) = logistic.optima(x, labels, [10.0], 1e-9, 100)
    np.testing.assert_allclose(by_blocks.weights, cold.weights, atol=1e-5)


@pytest.mark.parametrize("ground", [0.0, 1e-4], ids=["constant", "nearly constant"])
def test_features_that_tell_nothing_have_no_weight(ground: float) -> None:
    x, labels = problem(100, 10, 3)
    x = np.hstack([x, ground * np.ones((100, 2)) * np.resize([1, -1], (100, 1))])
    (optimum,) = logistic.optima(x, labels, [1.0], 1e-9, 100)
    assert optimum.gradient <= 1e-9
    assert np.abs(optimum.weights[:, -2:]).max() < 0.01


@pytest.mark.parametrize("shape", [(60, 8), (8, 20)], ids=["more examples", "more features"])
@pytest.mark.parametrize("patience", [-1, 20], ids=["blocks", "features"])
def test_all_of_it_is_on_the_device(shape: tuple[int, int], patience: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors without values, of a GPU that is not here: torch refuses to compute with those of two devices."""
    monkeypatch.setattr(logistic, "float", lambda _value: 0.5, raising=False)
    monkeypatch.setattr(logistic, "PATIENCE", patience)
    monkeypatch.setattr(logistic, "INNER", 2)
    monkeypatch.setattr(torch.Tensor, "bincount", lambda values: values.new_zeros(3))
    with FakeTensorMode():
        features = torch.zeros(shape, dtype=torch.float64, device="cuda")
        labels = torch.zeros(shape[0], dtype=torch.int64, device="cuda")
        problem, basis = logistic._prepared(features, labels)
        penalty = torch.zeros_like(problem.priors[0])
        goal = logistic._Goal("C", 1e-3, 2, print)
        theta, _, steps = logistic._minimised(problem, penalty, problem.priors, basis, goal)
    assert (steps, theta.device.type, basis.device.type) == (2, "cuda", "cuda")


def test_what_it_does_is_told_step_by_step() -> None:
    x, labels = problem(300, 20, 7)
    told: list[str] = []
    (optimum,) = logistic.optima(x, labels, [0.5], 1e-7, 100, heard=told.append)
    assert len(told) == optimum.steps + 1
    assert told[0].startswith("C = 0.5, step 0: gradient 0.")
    assert told[-1] == f"C = 0.5, step {optimum.steps}: gradient {optimum.gradient:.1g} (to 1e-07)"
