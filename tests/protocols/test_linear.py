"""The linear probe reaches scikit-learn's own optimum, says so when it does not, and chooses on val."""

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from mixer_bench.data.examples import TaskData
from mixer_bench.errors import DataError
from mixer_bench.protocols import linear
from tests.builders import Given, colours, make_examples


def standardised(data: TaskData) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = np.concatenate([Given().features(data.train), Given().features(data.val)]).astype(np.float64)
    mean, scale = x.mean(0), x.std(0) + 1e-5
    y = np.concatenate([data.train.labels, data.val.labels])
    return (x - mean) / scale, y, (Given().features(data.test) - mean) / scale


def objective(weights: np.ndarray, bias: np.ndarray, x: np.ndarray, y: np.ndarray, c: float) -> float:
    """Half the squared norm plus C times the summed cross-entropy, written out."""
    logits = x @ weights.T + bias
    losses = logsumexp(logits, axis=1) - logits[np.arange(len(y)), y]
    return float(0.5 * (weights**2).sum() + c * losses.sum())


@pytest.mark.parametrize("c", [1e-4, 1e-2, 1.0])
def test_the_optimum_is_sklearns(c: float) -> None:
    data = colours(noise=90.0)
    x, y, test_x = standardised(data)
    ours = linear._sweep(x, y, (c,), linear.Config())[0]
    # Another solver, run to its limit: Newton's method with exact Hessians.
    best = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(x, y)
    reached = objective(ours.weights, ours.bias, x, y, c)
    optimum = objective(best.coef_, best.intercept_, x, y, c)
    assert ours.converged
    assert reached == pytest.approx(optimum, rel=1e-6)
    assert (ours.scores(test_x, 3).argmax(1) == best.predict(test_x)).all()


def test_more_features_than_examples_is_the_same_problem_in_fewer_unknowns() -> None:
    data = colours(counts=(40, 10, 90), noise=90.0)
    x, y, _ = standardised(data)
    assert x.shape[0] < x.shape[1]
    ours = linear._sweep(x, y, (0.01,), linear.Config())[0]
    direct = LogisticRegression(C=0.01, tol=1e-10, max_iter=5000).fit(x, y)
    reached = objective(ours.weights, ours.bias, x, y, 0.01)
    assert reached == pytest.approx(objective(direct.coef_, direct.intercept_, x, y, 0.01), rel=1e-6)
    np.testing.assert_allclose(ours.weights, direct.coef_, atol=1e-4)


def test_warm_starts_lead_to_the_same_place_as_cold_ones() -> None:
    data = colours(noise=90.0)
    x, y, test_x = standardised(data)
    swept = linear._sweep(x, y, (1e-4, 1e-2, 1.0), linear.Config())
    cold = linear._sweep(x, y, (1.0,), linear.Config())[0]
    np.testing.assert_allclose(swept[-1].scores(test_x, 3), cold.scores(test_x, 3), atol=1e-3)


def test_c_is_chosen_on_val_and_the_refit_uses_both() -> None:
    data = colours(noise=90.0)
    config = linear.Config(C=(1e-4, 1e-2, 1.0))
    fitted = linear.fit(Given(), data.development, config, 0)
    assert fitted.selection is not None and fitted.converged
    scores = []
    train_x, val_x = Given().features(data.train).astype(float), Given().features(data.val).astype(float)
    mean, scale = train_x.mean(0), train_x.std(0) + 1e-5
    for c in config.C:
        model = LogisticRegression(C=c, tol=1e-8, max_iter=5000).fit((train_x - mean) / scale, data.train.labels)
        scores.append(model.score((val_x - mean) / scale, data.val.labels))
    assert fitted.selection.scores == pytest.approx(scores)
    assert fitted.selection.chosen == config.C[int(np.argmax(scores))]
    x, y, test_x = standardised(data)
    refit = LogisticRegression(C=fitted.selection.chosen, tol=1e-8, max_iter=5000).fit(x, y)
    assert (fitted.scores(data.test).argmax(1) == refit.predict(test_x)).all()


def test_a_fit_that_stops_early_says_so() -> None:
    fitted = linear.fit(Given(), colours(noise=90.0).development, linear.Config(C=(1.0, 100.0), max_iter=2), 0)
    assert fitted.converged is False
    assert any("C = 100" in note for note in fitted.notes)
    assert any("final fit did not converge in 2" in note for note in fitted.notes)


def test_a_class_that_train_does_not_show_is_never_predicted() -> None:
    data = colours(classes=3)
    seen = data.train.labels != 1
    train = data.train.take(np.flatnonzero(seen))
    val = data.val.take(np.flatnonzero(data.val.labels != 1))
    development = data.development.__class__(train, val, 3, "top1")
    scores = linear.fit(Given(), development, linear.Config(C=(1.0,)), 0).scores(data.test)
    assert scores.shape == (len(data.test), 3)
    assert set(scores.argmax(1)) == {0, 2}
    assert np.mean(scores.argmax(1)[data.test.labels != 1] == data.test.labels[data.test.labels != 1]) > 0.8


def test_one_class_is_refused() -> None:
    images, labels = np.zeros((4, 1, 1, 3), np.uint8), np.zeros(4, int)
    only = make_examples(images, labels, "train")
    with pytest.raises(DataError, match="single class"):
        linear.fit(Given(), colours().development.__class__(only, only, 2, "top1"), linear.Config(), 0)
