"""The linear probe reaches scikit-learn's own optimum, says so when it does not, and chooses on val."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mixer_bench.cli import app
from mixer_bench.data.examples import Development, TaskData
from mixer_bench.errors import DataError
from mixer_bench.protocols import linear
from mixer_bench.protocols.base import Fitted
from mixer_bench.system.progress import ProgressLog
from tests.builders import Given, colours
from tests.restated_rules import penalised


def standardised(data: TaskData) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = np.concatenate([Given().features(data.train), Given().features(data.val)]).astype(np.float64)
    mean, scale = x.mean(0), x.std(0) + 1e-5
    y = np.concatenate([data.train.labels, data.val.labels])
    return (x - mean) / scale, y, (Given().features(data.test) - mean) / scale


@pytest.mark.parametrize("counts", [(260, 30, 90), (40, 10, 90)], ids=["more examples", "more features"])
def test_each_optimum_of_a_sweep_is_sklearns(counts: tuple[int, int, int]) -> None:
    """Started from the one before, and with fewer examples than features solved in fewer unknowns."""
    data = colours(counts=counts, noise=90.0)
    x, y, test_x = standardised(data)
    assert (x.shape[0] < x.shape[1]) == (counts[0] == 40)
    grid = (1e-4, 1e-2, 1.0)
    for c, ours in zip(grid, linear._sweep(x, y, grid, linear.Config()), strict=True):
        # Another solver, run to its limit: Newton's method with exact Hessians.
        best = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(x, y)
        reached = penalised(ours.optimum.weights, ours.optimum.bias, x, y, c)
        assert ours.optimum.gradient <= 1e-8
        assert reached == pytest.approx(penalised(best.coef_, best.intercept_, x, y, c), rel=1e-9)
        np.testing.assert_allclose(ours.optimum.weights, best.coef_, atol=1e-4)
        assert (ours.scores(test_x, 3).argmax(1) == best.predict(test_x)).all()


def test_c_is_chosen_on_val_and_the_refit_uses_both() -> None:
    data = colours(noise=90.0)
    config = linear.Config(C=(1e-4, 1e-2, 1.0))
    fitted = linear.fit(Given(), data.development, config, 0)
    assert fitted.selection is not None and fitted.converged
    assert fitted.gradient is not None and 0 < fitted.gradient <= config.tol
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


def test_the_strongest_penalty_of_equals_is_chosen_in_whatever_order_they_are_given() -> None:
    selection = linear.fit(Given(), colours(noise=5.0).development, linear.Config(C=(1.0, 0.01, 0.1)), 0).selection
    assert selection is not None
    assert (selection.grid, selection.scores, selection.chosen) == ((0.01, 0.1, 1.0), (1, 1, 1), 0.01)


def test_scores_of_two_classes_are_sklearns_log_odds() -> None:
    x = np.random.default_rng(0).normal(size=(60, 4))
    y = (x[:, 0] + 0.3 * x[:, 1] > 0).astype(int)
    (ours,) = linear._sweep(x, y, (1.0,), linear.Config())
    scores = ours.scores(x, 2)
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(x, y).decision_function(x)
    np.testing.assert_allclose(scores[:, 1] - scores[:, 0], theirs, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(scores.sum(axis=1), 0, atol=1e-6)


def test_a_fit_that_stops_early_says_so() -> None:
    fitted = linear.fit(Given(), colours(noise=90.0).development, linear.Config(C=(1.0, 100.0), max_iter=2), 0)
    assert fitted.converged is False
    assert fitted.gradient is not None and fitted.gradient > 1e-8
    assert any("C = 100" in note for note in fitted.notes)
    assert any("final fit did not converge in 2" in note for note in fitted.notes)


def test_a_class_that_train_does_not_show_is_never_predicted_and_one_class_is_refused() -> None:
    data = colours(classes=3)

    def fitted(*shown: int) -> Fitted:
        parts = [part.take(np.flatnonzero(np.isin(part.labels, shown))) for part in (data.train, data.val)]
        return linear.fit(Given(), Development(*parts, 3, "top1"), linear.Config(C=(1.0,)), 0)

    scores = fitted(0, 2).scores(data.test)
    assert scores.shape == (len(data.test), 3)
    assert set(scores.argmax(1)) == {0, 2}
    seen = data.test.labels != 1
    assert np.mean(scores.argmax(1)[seen] == data.test.labels[seen]) > 0.8
    with pytest.raises(DataError, match="single class"):
        fitted(1)


def test_a_run_tells_how_far_the_fit_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(ProgressLog, "now", lambda _log, text: told.append(text))
    command = ["run", "--task", "digits", "--limit", "30", "--model", "pixels", "--protocol", "linear"]
    assert app.main([*command, "--set", "C=0.01,1", "--device", "cpu", "--output-dir", str(tmp_path)]) == 0
    assert told[0].startswith("pixels on digits, C = 0.01, step 0: gradient 0.")
    assert {text.partition(", step")[0].partition("digits, ")[2] for text in told[1:]} >= {"C = 0.01", "C = 1"}
    assert told[-1].startswith("pixels on digits, final C = ")
