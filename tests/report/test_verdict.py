"""The verdict in words: of the column that scores do not choose, each claim on its cell, and honest on small sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mixer_bench.report import report, significance
from mixer_bench.report.index import Index
from mixer_bench.report.models import About
from mixer_bench.report.significance import Judge
from mixer_bench.report.verdict import Verdict, of_cells, verdicts
from mixer_bench.results.record import Drawn, Measured, Record
from mixer_bench.stats.intervals import proportion_interval
from mixer_bench.task.task import tasks
from tests.builders import a_record, a_run, tables_of
from tests.report.test_averages import VTAB, measured
from tests.report.test_main_table import whole
from tests.report.test_significance import Study


def of(records: list[Record], judge: Judge | None = None) -> list[Verdict]:
    built = report.build(Index(records, About(), tasks()), judge)
    return verdicts(built)


def test_the_best_its_equals_and_the_next_are_told_with_the_gap() -> None:
    study = Study()
    (told,) = of(study.records, Judge(study.answers))
    assert told.best.model == "mixer_nano"
    assert [claim.model for claim in told.tied] == ["vit_nano"]
    assert [claim.model for claim in told.worse] == ["resnet_nano", "pixels"]
    means = {model: float(np.mean(right)) for model, right in study.right.items()}
    gap = 100 * (means["mixer_nano"] - means["resnet_nano"])
    assert f"resnet_nano ({100 * means['resnet_nano']:.1f}) is significantly worse, by {gap:.1f} points" in told.text
    assert "and so is 1 more." in told.text
    assert f"vit_nano ({100 * means['vit_nano']:.1f}) cannot be told apart from it." in told.text
    assert "Evidence: 400 test images, 3 seeds; paired by seed and test image" in told.text
    claims = [part.claim for sentence in told.sentences for part in sentence if part.claim]
    assert all(claim.cell.percent in part.text for s in told.sentences for part in s if (claim := part.claim))
    assert {claim.model for claim in claims} == {"mixer_nano", "vit_nano", "resnet_nano"}


def test_models_that_none_is_told_apart_from_are_no_victory() -> None:
    study = Study()
    (told,) = of(study.of("mixer_nano", "vit_nano"), Judge(study.answers))
    assert "no model stands out" in told.text
    assert "is best." not in told.text
    (alone,) = of(study.of("pixels"), Judge(study.answers))
    assert "there is no other model to compare it with" in alone.text
    (untested,) = of(study.of("mixer_nano", "pixels"))
    assert "is best." not in untested.text
    assert "pixels (" in untested.text and "could not be compared with it" in untested.text
    assert verdicts([]) == []


def in_setting(model: str, value: float, shots: int, **changes: object) -> Record:
    run = a_run(model=model, weights=model[0] * 64, config={"shots": shots, "l2": [1024.0]})
    drawn = Drawn(images=3 * shots, pool=90, short=0, fewest=shots)
    return a_record(value, run, drawn=drawn, **changes)


def test_the_column_is_that_of_most_models_and_then_of_most_labels_never_that_of_the_highest_score() -> None:
    records = [in_setting("alpha", 0.9, 1), in_setting("alpha", 0.5, 5), in_setting("beta", 0.95, 1)]
    assert of([*records, in_setting("beta", 0.4, 5)])[0].best.column == "5-shot"
    assert of(records)[0].best.column == "1-shot"


def test_columns_that_another_wins_are_named() -> None:
    study = Study()
    (table,) = tables_of(study.records)
    rows = significance.marked(table, Judge(study.answers)).rows
    cells = [row.cells["5-shot"] for row in rows]
    rotated = [cells[-1], *cells[:-1]]
    turned = [replace(row, cells={"a": a, "b": b}) for row, a, b in zip(rows, cells, rotated, strict=True)]
    (told,) = verdicts([replace(table, rows=tuple(turned), columns=("a", "b"))])
    assert (told.best.column, told.best.model) == ("b", "pixels"), "of equals the last"
    assert [(claim.column, claim.model) for claim in told.elsewhere] == [("a", rows[0].model)]
    assert f"in 1 of 2 columns; best in a is {rows[0].model} (" in told.text


def test_a_mean_of_a_group_stands_for_its_tasks() -> None:
    records = [*whole("mixer_b16"), *whole("vit_b16"), a_record(0.5, a_run(task="digits"))]
    told = of(records)
    assert [verdict.on.partition(",")[0] for verdict in told][-1] == "digits"
    assert all(len(verdict.best.cell.by_task) > 1 for verdict in told[:-1])
    assert "tasks with" in told[0].text


def test_of_a_group_the_column_is_the_whole_mean_unless_more_models_have_a_part() -> None:
    every = [measured(task, 0.5, model=model, weights=model) for model in ("mixer_b16", "vit_b16") for task in VTAB]
    (told,) = of(every)
    assert told.best.column == "Mean (19)"
    lacking = [r for r in every if r.run.model == "vit_b16" or not r.run.task.startswith("vtab/clevr")]
    (told,) = of(lacking)
    assert told.best.column == "Natural (7)", "the largest part that both have"


@pytest.mark.parametrize(("images", "mark"), [(99, True), (100, False)])
def test_few_test_images_are_marked_and_said(images: int, mark: bool) -> None:
    (table,) = tables_of([a_record(0.5, n_test=images)])
    (cell,) = table.rows[0].cells.values()
    assert ("‡" in cell.marks) == mark == ("fewer than 100" in of_cells("x", "5-shot", {"toy": cell}).text)
    assert ("‡" in table.legend) == mark


def test_an_interval_that_rounds_to_nothing_is_not_nothing() -> None:
    (table,) = tables_of([a_record(0.5 + 1e-5 * seed, a_run(seed=seed)) for seed in range(3)])
    assert table.rows[0].cells["5-shot"].text == "50.0 ±<0.1"
    (table,) = tables_of([a_record(0.3, a_run(seed=seed)) for seed in range(3)])
    assert table.rows[0].cells["5-shot"].text == "30.0 ±–"
    assert "±–" in table.legend


def test_one_test_image_is_reported_and_compared_with_nothing() -> None:
    known = {"top1": Measured(value=1, ci95=proportion_interval(1, 1))}
    records = [a_record(1, a_run(model=m, weights=m * 64), metrics=known, n_test=1) for m in ("a", "b")]
    judge = Judge(lambda _: (np.array([1]), np.array([1])))
    (told,) = of(records, judge)
    assert "a (100.0 % ±39.7) has the highest number. b (100.0) could not be compared with it." in told.text
    assert "1 test image, fewer than 100" in told.text
