"""A metric of another package, from the task file to the report."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mixer_bench.cli import app
from mixer_bench.results.store import Store
from mixer_bench.stats import metrics
from tests.builders import install

ROOT = Path(__file__).parents[2]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make a package that adds the metric, installed as pip would do it."""
    install(tmp_path / "site", "worst-class", metrics.GROUP, {"worst_class": "worst_class:METRIC"})
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
    predictions = Store(tmp_path).predictions(record.run)
    shares = [np.mean(predictions.prediction[predictions.label == digit] == digit) for digit in range(10)]
    assert record.metrics["worst_class"].value == pytest.approx(min(shares))
    assert record.run.metric == "worst_class"
    capsys.readouterr()
    assert app.main(["report", "--results", str(tmp_path)]) == 0
    assert "worst_digits: accuracy of the worst class" in capsys.readouterr().out
