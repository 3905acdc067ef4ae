"""The runs that a page's verdicts name, class by class: on the page, with and without their images."""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

import mixer_bench
from mixer_bench.cli import app
from mixer_bench.errors import ResultsError
from mixer_bench.report import report
from mixer_bench.report.formats import by_class
from mixer_bench.report.formats.by_class import Closer, Look
from mixer_bench.report.verdict import of_cells, verdicts
from mixer_bench.results.by_class import OfClass, PerClass, Wrong
from mixer_bench.results.record import Measured, Record
from mixer_bench.results.store import Predictions, Store
from mixer_bench.stats import intervals
from mixer_bench.system import arrays
from tests.builders import a_record, a_run, right_of, save_answers, tables_of
from tests.report.test_page import HOSTILE, Parsed, the_page

LIMIT = 90


def on_digits(folder: Path) -> tuple[Record, Predictions]:
    """A run on real images: every third is taken for the next class, the surer the later it stands."""
    data = mixer_bench.load_task("digits").limited(LIMIT)
    label = data.test.labels
    prediction = np.where(np.arange(LIMIT) % 3 == 0, (label + 1) % 10, label)
    sure = np.linspace(0.2, 0.999, LIMIT)
    kept = Predictions(label, prediction, sure, sure)
    value = Measured(value=float((label == prediction).mean()), ci95=(0, 1))
    run = a_run(task="digits", data=data.fingerprint, limit=LIMIT, subset=data.subset)
    metrics = {"top1": value, "ece": Measured(value=0.123, ci95=(0, 1))}
    record = a_record(run=run, metrics=metrics, n_test=LIMIT, num_classes=10)
    Store(folder).save(record, kept)
    return record, kept


def test_the_page_shows_the_best_run_class_by_class_and_images_only_where_asked_for(tmp_path: Path) -> None:
    record, kept = on_digits(tmp_path)
    page = Parsed(mixer_bench.report(tmp_path, "html").text)
    assert f"toy on digits, fewshot, seed 0 {record.run.key}" in page.text
    squares = re.findall(r"(\d) as (\d): (\d+) of (\d+)", page.text)
    drawn = np.zeros((10, 10), int)
    for row, column, images, _ in squares:
        drawn[int(row), int(column)] = int(images)
    np.testing.assert_array_equal(drawn, confusion_matrix(kept.label, kept.prediction))
    zeros = kept.label == 0
    low, high = intervals.proportion_interval(int((kept.prediction[zeros] == 0).sum()), int(zeros.sum()))
    assert f"{100 * low:.1f} to {100 * high:.1f}" in page.text
    assert "Expected calibration error 12.3\N{NO-BREAK SPACE}%" in page.text and "no probabilities" not in page.text
    missed = np.flatnonzero(kept.label != kept.prediction)[::-1][: by_class.SHOWN]
    test = mixer_bench.load_task("digits").limited(LIMIT).test
    places = [page.text.index(test.names[index]) for index in missed]
    assert places == sorted(places), "the surest first"
    assert "img" not in [tag for tag, _ in page.elements]
    shown = Parsed(mixer_bench.report(tmp_path, "html", thumbnails=True).text)
    sources = [element["src"] or "" for tag, element in shown.elements if tag == "img"]
    assert len(sources) == by_class.SHOWN
    for index, source in zip(missed, sources, strict=True):
        seen = Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))))
        assert np.abs(np.asarray(seen).astype(int) - test.images[index]).mean() < 8, "JPEG of that very image"


def test_without_images_there_are_numbers_no_path_and_no_calibration_of_what_is_no_probability(tmp_path: Path) -> None:
    save_answers(tmp_path / "s", a_run(), right_of(0))
    text = mixer_bench.report(tmp_path / "s", "html", thumbnails=True).text
    page = Parsed(text)
    assert "Classes and images are numbers" in page.text and "0 as 1:" in page.text
    assert "its scores are no probabilities" in page.text and "Reliability" not in page.text
    assert "img" not in [tag for tag, _ in page.elements] and str(tmp_path) not in text


@pytest.mark.parametrize("spoiled", ["gone", "other"])
def test_predictions_that_are_gone_or_contradict_their_record_are_named_and_not_shown(
    tmp_path: Path, capsys, spoiled: str
) -> None:
    file = save_answers(tmp_path, a_run(), right_of(0)).with_suffix(".npz")
    if spoiled == "gone":
        file.unlink()
    else:
        label = np.arange(600) % 3
        arrays.save(file, label=label, prediction=label, score=label)
    assert app.main(["report", "--results", f"{tmp_path}", "--format", "html"]) == 1
    assert a_run().key in capsys.readouterr().err
    text = Parsed((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "Class by class" not in text
    assert ("no predictions" if spoiled == "gone" else "do not give the record's value") in text


def test_images_are_for_the_page_alone(tmp_path: Path, capsys) -> None:
    assert app.main(["report", "--results", f"{tmp_path}", "--thumbnails"]) == 2
    assert "--format html" in capsys.readouterr().err


def told_of(names: Sequence[str], **changes: Any) -> PerClass:
    """All images of a class are taken for the next one."""
    count = len(names)
    table = np.roll(np.eye(count, dtype=int), 1, axis=1) * np.arange(1, count + 1)[:, None]
    classes = [
        OfClass(name=name, images=place + 1, right=0, predicted=0, accuracy=0.0, ci95=(0.0, 0.5))
        for place, name in enumerate(names)
    ]
    values = {"task": "t", "model": "m", "protocol": "p", "seed": 0, "key": "k" * 16, "metrics": {}, "wrong": ()}
    given = {"classes": classes, "confusion": table.tolist(), "reliability": None, **values, **changes}
    return PerClass.model_validate(given)


def test_of_many_classes_there_are_the_pairs_and_the_lowest() -> None:
    names = [f"class {number}" for number in range(by_class.CLASSES + 1)]
    closer = Closer(Look(told_of(names), named=True), 1)
    assert closer.squares == []
    classes, pairs = closer.lists
    assert len(classes.rows) == by_class.CLASSES
    assert pairs.rows[0] == (f"class {by_class.CLASSES} for class 0", f"{by_class.CLASSES + 1}")
    assert any("per-class" in note for note in closer.notes)
    fewer = Closer(Look(told_of(names[:-1]), named=True), 1)
    assert len(fewer.squares) == by_class.CLASSES and len(fewer.lists) == 1 and not fewer.numbered


def test_names_of_classes_and_images_are_text_and_never_markup() -> None:
    wrong = Wrong(index=0, image=HOSTILE[1], label=HOSTILE[0], prediction=HOSTILE[2], score=1.0, confidence=None)
    harmless, hostile = (
        Parsed(the_page([a_record()], closely=[Closer(Look(told, named=True, images=[np.zeros((4, 4, 3), "u1")]), 1)]))
        for told in (
            told_of("ab", wrong=(wrong.model_copy(update={"image": "i", "label": "a", "prediction": "b"}),)),
            told_of(
                HOSTILE[:2], wrong=(wrong,), model=HOSTILE[0], task=HOSTILE[1], protocol=HOSTILE[2], key=HOSTILE[3]
            ),
        )
    )
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in harmless.elements]
    assert all(string in hostile.text for string in HOSTILE[:3])


def test_of_a_mean_it_is_the_task_where_the_best_is_lowest_and_of_seeds_the_first() -> None:
    from mixer_bench.report.cells import cell_of, mean_of

    parts = [
        cell_of([a_record(value + seed / 100, a_run(task=task, seed=seed)) for seed in (2, 1)], "top1")
        for task, value in (("one", 0.6), ("two", 0.4), ("three", 0.9))
    ]
    seen: list[Record] = []

    def look(record: Record) -> Look:
        seen.append(record)
        return Look(told_of("ab"), named=True)

    (closer,) = by_class.closer([of_cells("", "", {"toy": mean_of(parts)})], look, [])
    assert ([(record.run.task, record.run.seed) for record in seen], closer.seeds) == ([("two", 1)], 2)


def test_no_other_runs_are_looked_at_however_many_there_are(tmp_path: Path) -> None:
    records = [
        a_record(0.5 + number / 1000, a_run(model=f"m{number}", weights=f"{number:064d}")) for number in range(9)
    ]
    seen: list[str] = []

    def gone(record: Record) -> Look:
        seen.append(record.run.model)
        raise ResultsError("gone")

    report.html(records, [tmp_path], looks=gone)
    assert seen == [verdicts(tables_of(records))[0].best.model]
