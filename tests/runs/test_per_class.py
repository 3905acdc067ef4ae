"""A record class by class, against scikit-learn and against the task's own images."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, recall_score

import mixer_bench
from mixer_bench.cli import app
from mixer_bench.results.store import Store
from mixer_bench.stats import intervals, scores
from tests.builders import a_run, right_of, save_answers


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    command = ["run", "--task", "digits", "--model", "pixels", "--protocol", "knn", "--limit", "150"]
    assert app.main([*command, "--output-dir", str(folder)]) == 0
    return folder


def test_classes_are_scikit_learns_and_images_have_their_names(results: Path, capsys) -> None:
    (record,) = Store(results).records()[0]
    kept = Store(results).predictions(record)
    told = mixer_bench.per_class(record.run.key[:8], results)
    np.testing.assert_array_equal(told.confusion, confusion_matrix(kept.label, kept.prediction, labels=range(10)))
    expected = recall_score(kept.label, kept.prediction, labels=range(10), average=None)
    assert [each.accuracy for each in told.classes] == pytest.approx(expected.tolist())
    assert all(each.ci95 == intervals.proportion_interval(each.right, each.images) for each in told.classes)
    test = mixer_bench.load_task("digits").limited(150).test
    assert len(told.wrong) == (kept.label != kept.prediction).sum()
    for wrong in told.wrong:
        assert (wrong.image, int(wrong.label)) == (test.names[wrong.index], kept.label[wrong.index])
        assert int(wrong.prediction) == kept.prediction[wrong.index]
        assert wrong.confidence == pytest.approx(kept.confidence[wrong.index])
    assert [wrong.confidence for wrong in told.wrong] == sorted((w.confidence for w in told.wrong), reverse=True)
    bins = scores.reliability(kept.confidence, kept.label == kept.prediction)
    assert [*told.reliability] == bins
    error = sum(b.answers * abs(b.confidence - b.accuracy) for b in told.reliability) / len(kept.label)
    assert record.metrics["ece"].value == pytest.approx(error, abs=1e-6)
    place = str(Store(results).place(record.run, ".json"))
    assert app.main(["per-class", place]) == 0
    assert told.wrong[0].image in capsys.readouterr().out
    assert app.main(["per-class", place, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [[int(row[f"as {number}"]) for number in range(10)] for row in rows] == [*map(list, told.confusion)]
    assert app.main(["per-class", place, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told.model_dump(mode="json")


def test_without_images_there_are_numbers_and_without_probabilities_no_calibration(tmp_path: Path, capsys) -> None:
    save_answers(tmp_path, a_run(), right_of(0))
    told = mixer_bench.per_class(a_run().key, tmp_path)
    assert [each.name for each in told.classes] == ["0", "1", "2"]
    assert (told.reliability, told.wrong[0].confidence, told.wrong[0].image[:5]) == (None, None, "test ")
    assert "names are not here" in told.remarks[0]
    assert "no probabilities" in told.remarks[1]
    assert app.main(["per-class", a_run().key, "--results", str(tmp_path), "--json", "--csv"]) == 2
    assert app.main(["per-class", "nothing", "--results", str(tmp_path)]) == 1
    assert "0 records" in capsys.readouterr().err
