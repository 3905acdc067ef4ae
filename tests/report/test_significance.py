"""Marks and differences in tables: paired tests in the right places, and nothing where nothing is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from mixer_bench.cli import app
from mixer_bench.errors import ResultsError
from mixer_bench.report import report, significance
from mixer_bench.report.cells import Cell, cell_of, mean_of
from mixer_bench.report.significance import Judge
from mixer_bench.report.tables.table import MATRIX, Row, Table
from mixer_bench.results.record import Measured, Record
from mixer_bench.results.store import Predictions, Store
from mixer_bench.stats import intervals, paired
from tests.builders import a_record, a_run, tables_of

COUNT = 400
SHARES = {"mixer_nano": 0.60, "vit_nano": 0.59, "resnet_nano": 0.45, "pixels": 0.10}


class Study:
    """Records and predictions of models that share what is hard: paired tests see more than intervals do."""

    def __init__(self, task: str = "colours", seeds: int = 3, metric: str = "top1", seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self.label = label = np.sort(generator.integers(0, 4, COUNT) ** 2 % 5)
        self.records: list[Record] = []
        self.kept: dict[str, Predictions] = {}
        self.right: dict[str, np.ndarray] = {}
        self.asked = 0
        hard = generator.normal(size=COUNT)
        for number, (model, share) in enumerate(SHARES.items()):
            answers = []
            for draw in range(seeds):
                shift = np.quantile(hard, share) + 0.02 * generator.normal()
                right = hard + 0.2 * generator.normal(size=COUNT) < shift
                answers.append(right)
                run = a_run(model=model, weights=f"{number}" * 64, task=task, seed=draw, metric=metric)
                ends = intervals.proportion_interval(int(right.sum()), COUNT)
                per_class = np.mean([right[label == c].mean() for c in np.unique(label)])
                values = {metric: float(right.mean()), "mean_per_class": float(per_class)}
                measured = {name: Measured(value=value, ci95=ends) for name, value in values.items()}
                self.records.append(a_record(run=run, metrics=measured, n_test=COUNT))
                self.kept[run.key] = Predictions(label, np.where(right, label, label + 1), np.ones(COUNT, np.float32))
            self.right[model] = np.array(answers)

    def of(self, *models: str) -> list[Record]:
        return [record for record in self.records if record.run.model in models]

    def paired(self, a: str, b: str, weights: np.ndarray | None = None) -> paired.Comparison:
        return paired.compare(self.right[a], self.right[b], weights)

    def answers(self, record: Record) -> tuple[np.ndarray, np.ndarray]:
        self.asked += 1
        key = record.run.key
        if key not in self.kept:
            raise ResultsError(f"{key}.npz: no predictions")
        return self.kept[key].label, self.kept[key].prediction

    def table(self, judge: Judge | None = None) -> Table:
        table, *_ = tables_of(self.records)
        return significance.marked(table, judge) if judge else table


def standings(table: Table) -> dict[str, str]:
    return {row.model: row.cells["5-shot"].standing for row in table.rows}


def test_the_best_is_marked_and_what_is_not_significantly_worse() -> None:
    study = Study()
    marks = {"mixer_nano": "best", "vit_nano": "tied", "resnet_nano": "", "pixels": ""}
    assert standings(study.table(Judge(study.answers))) == marks
    assert study.paired("mixer_nano", "vit_nano").p > 0.05, "else this shows nothing"
    cells = {row.model: row.cells["5-shot"] for row in study.table().rows}
    rows = (Row("colours", cells), Row("the same", cells))
    beside = replace(study.table(), kind=MATRIX, columns=tuple(cells), rows=rows)
    marked = significance.marked(beside, Judge(study.answers))
    assert {model: cell.standing for model, cell in marked.rows[0].cells.items()} == marks
    assert list(marked.legend) == ["●", "○"]
    assert significance.differences(beside, Judge(study.answers), "mixer_nano") == []


def test_far_worse_cells_are_known_without_reading_their_predictions() -> None:
    study = Study(seeds=10)
    study.table(Judge(study.answers))
    assert study.asked == 30, "all but those of pixels, too far off for any doubt"


@pytest.mark.parametrize("seeds", [1, 3, 10])
def test_the_bound_is_never_below_the_paired_p(seeds: int) -> None:
    for draw in range(5):
        study = Study(seeds=seeds, seed=draw)
        cells = {row.model: row.cells["5-shot"] for row in study.table().rows}
        for other in ("vit_nano", "resnet_nano", "pixels"):
            p = study.paired("mixer_nano", other).p
            assert significance.bound(cells["mixer_nano"], cells[other]) > p or p < 1e-12


@pytest.mark.parametrize(
    ("best", "other"),
    [
        ((0.6, 0.6, 0.6), (0.45, 0.5, 0.55)),
        ((0.55, 0.6, 0.65), (0.5, 0.5, 0.5)),
        ((0.55, 0.6, 0.65), (0.45, 0.5, 0.55)),
    ],
)
def test_the_bound_adds_up_the_errors_of_both_models(best: tuple[float, ...], other: tuple[float, ...]) -> None:
    cells = [
        cell_of([a_record(value, a_run(seed=seed)) for seed, value in enumerate(values)], "top1")
        for values in (best, other)
    ]
    through_seeds = sum(np.std(values, ddof=1) for values in (best, other)) / 3**0.5
    ratio = 0.1 / (through_seeds + 2 * 0.04 / 1.96)  # half of a record's interval is 0.04
    assert significance.bound(*cells) == pytest.approx(2 * student.sf(ratio, 2) + 2 * norm.sf(ratio))


def test_a_difference_is_that_of_the_paired_comparison() -> None:
    study = Study()
    (less,) = significance.differences(study.table(), Judge(study.answers), "vit_nano")
    assert [row.model for row in less.rows] == ["mixer_nano", "pixels", "resnet_nano"]
    cell = less.rows[2].cells["5-shot"]
    expected = study.paired("resnet_nano", "vit_nano")
    assert cell.mean == pytest.approx(expected.difference)
    assert cell.half == pytest.approx((expected.ci95[1] - expected.ci95[0]) / 2)
    assert cell.standing == "worse"
    assert cell.text.startswith("-1")
    assert cell.text.endswith("▼")
    assert "difference from vit_nano in points" in less.title
    assert not any("± is over seeds alone" in note for note in less.notes)


def test_the_same_labels_count_by_each_metric_in_its_own_way() -> None:
    by_image, by_class = Study(), Study(task="by class", metric="mean_per_class")
    judge = Judge(lambda record: (by_image if record.run.task == "colours" else by_class).answers(record))
    for study, weights in ((by_image, None), (by_class, 1 / np.bincount(by_class.label)[by_class.label])):
        expected = study.paired("mixer_nano", "vit_nano", weights)
        compared = judge.compare(study.of("mixer_nano"), study.of("vit_nano"))
        assert compared.difference == pytest.approx(expected.difference)
        assert judge.problems == []
    means = [r.metrics["mean_per_class"].value for r in by_class.records]
    (less,) = significance.differences(by_class.table(), judge, "vit_nano")
    assert less.rows[0].cells["5-shot"].mean == pytest.approx(np.mean(means[:3]) - np.mean(means[3:6]))


def test_over_tasks_the_variances_of_the_mean_add_up() -> None:
    studies = {f"task {number}": Study(task=f"task {number}", seed=number) for number in range(4)}
    judge = Judge(lambda record: studies[record.run.task].answers(record))
    cells = [mean_of([cell_of(s.of(model), "top1") for s in studies.values()]) for model in ("mixer_nano", "vit_nano")]
    difference = judge.difference(*cells)
    single = [study.paired("mixer_nano", "vit_nano") for study in studies.values()]
    assert difference.value == pytest.approx(np.mean([task.difference for task in single]))
    parts = np.array([task.seed_variance + task.sampling_variance for task in single])
    degrees = parts.sum() ** 2 / (parts**2 / [task.degrees for task in single]).sum()
    error = parts.sum() ** 0.5 / 4
    assert difference.half() == pytest.approx(student.ppf(0.975, degrees) * error, rel=1e-6)
    assert difference.p == pytest.approx(2 * student.sf(abs(difference.value) / error, degrees), rel=1e-6)


@pytest.mark.parametrize("tasks", [2, 5])
def test_means_of_equal_models_are_told_apart_as_often_as_the_level_says(tasks: int) -> None:
    """Three seeds, models that differ by seed, example and their interaction alone."""
    generator = np.random.default_rng(tasks)

    def side(hard: np.ndarray) -> np.ndarray:
        return hard + generator.normal(size=(3, 200)) + 0.1 * generator.normal(size=(3, 1)) < 0

    alarms = 0
    for _ in range(400):
        hard = generator.normal(size=(tasks, 200))
        alarms += significance.combined([paired.compare(side(task), side(task)) for task in hard]).p < 0.05
    assert 0.02 < alarms / 400 < 0.08


def test_the_other_may_be_better_on_the_seeds_that_both_have() -> None:
    study = Study()
    kept = study.of("resnet_nano")[:1]
    for record in study.of("mixer_nano"):  # worse with the one seed that both have, better with the others
        share = 0.9 if record.run.seed else 0.3
        prediction = np.where(np.arange(COUNT) < share * COUNT, study.label, study.label + 1)
        study.kept[record.run.key] = Predictions(study.label, prediction, np.ones(COUNT, np.float32))
        measured = {"top1": Measured(value=share, ci95=record.metrics["top1"].ci95)}
        kept.append(record.model_copy(update={"metrics": measured}))
    marked = significance.marked(tables_of(kept)[0], Judge(study.answers))
    assert standings(marked) == {"mixer_nano": "best", "resnet_nano": "tied"}
    assert "unfinished: resnet_nano 5-shot on colours lacks seeds 1, 2" in marked.notes


def test_only_shared_seeds_are_compared() -> None:
    study = Study(seeds=4)
    mixer, resnet = study.of("mixer_nano"), study.of("resnet_nano")
    expected = paired.compare(study.right["mixer_nano"][1:3], study.right["resnet_nano"][1:3])
    assert Judge(study.answers).compare(mixer[1:], resnet[:3]) == expected
    assert Judge(study.answers).compare(mixer[:1], resnet[1:]) is None


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (None, "no predictions"),
        (lambda label, prediction: (label[:9], prediction[:9]), "9 predictions for 400"),
        (lambda label, prediction: (label[::-1], prediction), "do not give the record's value"),
        (lambda label, prediction: (label[::-1], prediction[::-1]), "not the same examples"),
    ],
)
def test_a_model_without_whole_predictions_is_not_compared_and_its_file_is_named(
    damage: Callable[..., tuple[np.ndarray, np.ndarray]] | None, said: str
) -> None:
    study = Study()
    key = study.of("vit_nano")[1].run.key
    whole = study.kept.pop(key)
    if damage is not None:
        study.kept[key] = Predictions(*damage(whole.label, whole.prediction), whole.score)
    judge = Judge(study.answers)
    table = study.table(judge)
    assert standings(table) == {"mixer_nano": "best", "vit_nano": "unknown", "resnet_nano": "", "pixels": ""}
    assert any(note.startswith("? not compared") and "vit_nano 5-shot" in note for note in table.notes)
    assert len(judge.problems) == 1
    assert said in judge.problems[0]


@pytest.mark.parametrize("count", [0, 1])
def test_of_fewer_than_two_test_images_nothing_is_said(count: int) -> None:
    study = Study()
    study.records = [record.model_copy(update={"n_test": count}) for record in study.records]
    study.kept = {
        key: Predictions(*(a[:count] for a in vars(kept).values() if a is not None)) for key, kept in study.kept.items()
    }
    judge = Judge(study.answers)
    assert set(standings(study.table(judge)).values()) == {""}
    assert f"{count} test images; not compared" in judge.problems[0]


def test_real_is_not_judged_by_the_labels_of_imagenet() -> None:
    study = Study(metric="real")
    table = study.table()
    assert significance.marked(table, Judge(study.answers)) == table
    assert significance.differences(table, Judge(study.answers), "vit_nano") == []


def test_the_command_marks_compares_and_names_what_is_missing(tmp_path: Path, capsys) -> None:
    study, store = Study(), Store(tmp_path)
    for record in study.records:
        store.save(record, study.kept[record.run.key])
    command = ["report", "--results", str(tmp_path)]
    assert app.main([*command, "--baseline", "vit_nano"]) == 0
    told = capsys.readouterr().out
    assert told.count("●") == 2, "a cell and the note"
    assert "difference from vit_nano in points" in told
    assert app.main([*command, "--format", "markdown"]) == 0
    assert "●** |" in capsys.readouterr().out
    assert app.main([*command, "--format", "json", "--baseline", "vit_nano"]) == 2
    assert "csv has the differences" in capsys.readouterr().err
    assert app.main([*command, "--format", "json", "--figures", str(tmp_path / "figures")]) == 0
    assert json.loads(capsys.readouterr().out), "the report and nothing else"
    assert app.main([*command, "--baseline", "vit_nan"]) == 2
    assert "did you mean vit_nano" in capsys.readouterr().err
    store.place(study.records[0].run, ".npz").unlink()
    assert app.main(command) == 1
    shown = capsys.readouterr()
    assert "no predictions" in shown.err
    assert "vit_nano" in shown.out
    for record in study.records:
        if record.run.model == "vit_nano":
            store.place(record.run, ".json").write_text("{", encoding="utf-8")
    assert app.main([*command, "--baseline", "vit_nano"]) == 1
    shown = capsys.readouterr()
    assert shown.err.count("not a whole record") == 3
    assert "--baseline vit_nano: no record of it can be read" in shown.err
    assert "resnet_nano" in shown.out


def test_names_cannot_steer_a_terminal() -> None:
    record = a_record(0.5, a_run(model="mixer\x1b[31m\nred"))
    for fmt in ("table", "markdown", "latex"):
        text = report.write([record], fmt)
        assert "\x1b" not in text
        assert "red" in text


class Nearly(Judge):
    """Every difference is significant alone (p = 0.03), and none among two."""

    def difference(self, a: Cell, b: Cell) -> significance.Difference:
        return significance.Difference(a.mean - b.mean, 0.03, 3, lambda: 0.01)


@pytest.mark.parametrize(
    ("models", "marks", "less"),
    [  # without pixels: near enough that p is asked for
        (("mixer_nano", "vit_nano", "resnet_nano"), ["best", "tied", "tied"], {""}),
        (("mixer_nano", "vit_nano"), ["best", ""], {"better"}),
    ],
)
def test_marks_and_differences_are_corrected_within_a_column(
    models: tuple[str, ...], marks: list[str], less: set[str]
) -> None:
    study = Study()
    judge = Nearly(study.answers)
    table = significance.marked(tables_of(study.of(*models))[0], judge)
    assert standings(table) == dict(zip(models, marks, strict=True))
    (differences,) = significance.differences(table, judge, "vit_nano")
    assert {row.cells["5-shot"].standing for row in differences.rows} == less
