"""A metric of another package, from the task file to the report."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mixer_bench.cli import app
from mixer_bench.results.record import Measured
from mixer_bench.results.store import Predictions, Store
from mixer_bench.stats import metrics
from tests.builders import ANSWERS, a_record, a_run, install, labels_in_turn

ROOT = Path(__file__).parents[2]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Make a package that adds the metric, installed as pip would do it; a test may name other entry points."""
    points = getattr(request, "param", {"worst_class": "worst_class:METRIC"})
    install(tmp_path / "site", "worst-class", metrics.GROUP, points)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.syspath_prepend(ROOT / "tests" / "stats" / "examples")
    for cached in (metrics.get, metrics.names):
        cached.cache_clear()
    yield
    for cached in (metrics.get, metrics.names):
        cached.cache_clear()


@pytest.mark.usefixtures("package")
def test_a_task_is_measured_selected_and_reported_by_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "tasks" / "digits.toml").read_text(encoding="utf-8").replace('"top1"', '"worst_class"')
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "worst_digits.toml").write_text(text, encoding="utf-8")
    command = ["run", "--task", "worst_digits", "--include", str(tmp_path / "tasks"), "--model", "pixels"]
    assert app.main([*command, "--protocol", "knn", "--limit", "200", "--output-dir", str(tmp_path)]) == 0
    (record,) = Store(tmp_path).records()[0]
    predictions = Store(tmp_path).predictions(record)
    shares = [np.mean(predictions.prediction[predictions.label == digit] == digit) for digit in range(10)]
    assert record.metrics["worst_class"].value == pytest.approx(min(shares))
    assert record.run.metric == "worst_class"
    capsys.readouterr()
    assert app.main(["report", "--results", str(tmp_path)]) == 0
    assert "worst_digits: accuracy of the worst class" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ({}, "its metric 'worst_class' is of a package that is not here"),
        ({"worst_class": "no_such_module:METRIC"}, "of package worst-class 1.0 cannot be imported"),
        (
            {"worst_class": "worst_class:score"},
            "of package worst-class 1.0: it must be a Metric with name='worst_class'",
        ),
    ],
    indirect=["package"],
)
@pytest.mark.usefixtures("package")
def test_records_of_a_metric_that_cannot_be_had_are_reported(
    tmp_path: Path, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    value, labels = Measured(value=1.0, ci95=(0.9, 1.0)), labels_in_turn()
    for model in ("toy", "other"):
        run = a_run(metric="worst_class", model=model, weights=f"{len(model)}" * 64)
        record = a_record(run=run, metrics={"worst_class": value}, n_test=ANSWERS)
        Store(tmp_path).save(record, Predictions(labels, labels, np.ones(ANSWERS, np.float32)))
    assert app.main(["report", "--results", str(tmp_path)]) == 0
    assert "colours: worst_class in %" in capsys.readouterr().out
    assert app.main(["compare", "toy", "other", "--results", str(tmp_path)]) == 1
    assert said in capsys.readouterr().err
