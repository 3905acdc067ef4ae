"""Tables across tasks: the paper's main table, few-shot means by shots, tasks by models, measured beside published."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import ModuleType

import pytest

from mixer_bench.models import zoo
from mixer_bench.report import published
from mixer_bench.report.formats import terminal as render
from mixer_bench.report.index import Index
from mixer_bench.report.models import About
from mixer_bench.report.tables import against_published, main
from mixer_bench.report.tables.table import MAIN, Table
from mixer_bench.results.record import Measured, Record
from tests.report.test_averages import ALL, AVG5, VTAB, finetuned, measured


def whole(model: str, shift: float = 0.0, side: int = 224, **changes: object) -> list[Record]:
    """Every task of the paper, two seeds, with ReaL where it is; at ``side`` pixels."""
    records = []
    for name in sorted({*AVG5, *VTAB}):
        for seed in (0, 1):
            record = finetuned(name, "mixer-paper", seed)
            value = record.metrics["top1"].value - shift
            scores = {"top1": Measured(value=value, ci95=(value - 0.01, value + 0.01))}
            if name == "imagenet":
                scores["real"] = Measured(value=value + 0.05, ci95=(value, value + 0.1))
            known = {"model": model, "weights": f"{model:0<64}"[:64]}
            squares = zoo.cards()[model].preprocessing.model_copy(update={"resolution": side})
            run = record.run.model_copy(update={**known, "preprocessing": squares, **changes})
            records.append(record.model_copy(update={"run": run, "metrics": scores}))
    return records


def built(module: ModuleType, records: list[Record]) -> list[Table]:
    return module.build(Index(records, About.of(records), ALL))


def test_the_main_table_has_the_papers_columns() -> None:
    table = built(main, [*whole("mixer_b16"), *whole("vit_b16", 0.1)])[-1]
    assert table.title.startswith("Main comparison, finetune mixer-paper")
    assert table.columns == ("ImageNet", "ReaL", "Avg. 5", "VTAB-1k")
    rows = {row.model: row for row in table.rows}
    assert rows["mixer_b16"].cells["ReaL"].mean == pytest.approx(0.945)
    assert rows["vit_b16"].cells["VTAB-1k"].mean == pytest.approx(0.795)
    assert rows["vit_b16"].group == rows["mixer_b16"].group == "in21k"
    assert "core-d" in rows["mixer_b16"].about


def test_a_mean_of_18_tasks_is_withheld_and_the_19th_named() -> None:
    records = [r for r in whole("mixer_b16") if r.run.task != "vtab/dtd"] + whole("vit_b16")
    records += [r for r in whole("mixer_l16") if r.run.task in ("imagenet", "vtab/dtd")]
    records += [r for r in whole("vit_l16") if r.run.task == "imagenet"]  # nothing of VTAB: nothing is said of it
    matrix, *_, table = built(main, records)
    rows = {row.model: set(row.cells) for row in table.rows}
    assert rows == {
        "mixer_b16": {"ImageNet", "ReaL", "Avg. 5"},
        "mixer_l16": {"ImageNet", "ReaL"},
        "vit_l16": {"ImageNet", "ReaL"},
        "vit_b16": {"ImageNet", "ReaL", "Avg. 5", "VTAB-1k"},
    }
    assert table.withheld == (
        "VTAB-1k withheld, mixer_b16: no vtab/dtd",
        "VTAB-1k withheld, mixer_l16: no 18 tasks",
        "Avg. 5 withheld, mixer_l16, vit_l16: no 4 tasks",
    )
    means = {row.model: set(row.cells) for row in matrix.rows if row.model.endswith(")")}
    assert means == {
        "Natural (7)": {"vit_b16"},
        "Specialized (4)": {"mixer_b16", "vit_b16"},
        "Structured (8)": {"mixer_b16", "vit_b16"},
        "Mean (19)": {"vit_b16"},
    }
    assert "mean withheld, mixer_b16: no vtab/dtd" in matrix.withheld


def test_tasks_by_models_fit_the_width_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    models = ["mixer_b16", "mixer_l16", "vit_b16", "vit_b32", "vit_l16", "resnet50", "resnet101"]
    matrix = built(main, [record for model in models for record in whole(model)])[0]
    assert set(matrix.columns) == set(models)
    text = render.terminal([matrix])
    assert max(map(len, text.splitlines())) <= 90
    assert text.count("vtab/dtd") == 2


def test_models_that_are_too_many_to_stand_beside_each_other_are_not_printed_so() -> None:
    (matrix, *_) = built(main, whole("mixer_b16"))
    (row, *_) = matrix.rows
    (cell,) = row.cells.values()
    names = [f"model {number}" for number in range(41)]
    many = replace(matrix, columns=tuple(names), rows=(replace(row, cells=dict.fromkeys(names, cell)),))
    text = render.terminal([many])
    assert "41 models beside each other are in --format html" in text
    assert "model 7" not in text


def test_limited_runs_and_doubled_data_stay_out() -> None:
    records = whole("mixer_b16")
    assert built(main, whole("mixer_b16", limit=10)) == []
    assert records[0].run.task == "cifar10"
    table = built(main, [*records, *whole("mixer_b16", data="9" * 64)[:2]])[-1]
    assert "Avg. 5" not in table.columns
    assert any("more than one variant of their images: cifar10" in note for note in table.notes)


def test_few_shot_means_stand_by_shots() -> None:
    records = [
        measured(task, 0.5 + shots / 100, config={"shots": shots}, model=model, weights=model[-1] * 64)
        for task in VTAB
        for shots in (5, 10)
        for model in ("mixer_b16", "vit_b16", "vit_b32")
        if (task, model) != ("vtab/dtd", "vit_b32")
    ]
    tables = built(main, [*records, *(finetuned(task, "mixer-paper", 0) for task in VTAB)])
    (by_shots,) = (table for table in tables if "by shots" in table.title)
    assert not any(table.kind == MAIN for table in tables), "one column alone says nothing more"
    assert by_shots.columns == ("5-shot", "10-shot")
    assert [row.model for row in by_shots.rows] == ["mixer_b16", "vit_b16"]
    assert by_shots.rows[1].cells["10-shot"].mean == pytest.approx(0.6)
    assert by_shots.withheld == ("mean withheld, vit_b32: no vtab/dtd",)


def test_the_speed_is_the_median_over_all_runs_of_the_row() -> None:
    records = []
    for task, shots in itertools.product(AVG5, (5, 10)):
        record = measured(task, config={"shots": shots})
        cost = record.cost.model_copy(update={"throughput": 20.0 * shots})
        records.append(record.model_copy(update={"cost": cost}))
    by_shots, *_ = built(main, records)
    assert by_shots.rows[0].costs == (150.0,)


def test_by_shots_a_model_at_two_resolutions_is_two_rows() -> None:
    small = measured(VTAB[0]).run.preprocessing
    at = {5: small, 10: small.model_copy(update={"resolution": 16})}
    records = [measured(task, config={"shots": n}, preprocessing=at[n]) for task in VTAB for n in at]
    (by_shots,) = (table for table in built(main, records) if "by shots" in table.title)
    rows = {row.model: set(row.cells) for row in by_shots.rows}
    assert rows == {"mixer_nano (8 px)": {"5-shot"}, "mixer_nano (16 px)": {"10-shot"}}


def test_published_numbers_stand_in_columns_of_their_own() -> None:
    (table,) = built(against_published, [r for r in whole("mixer_b16") if r.run.task in AVG5])
    assert table.columns == ("measured", "published", "difference")
    rows = [row for row in table.rows if row.model == "mixer_b16 avg5"]
    printed = [row for row in published.of("mixer_b16", "avg5") if row.protocol == "finetune"]
    assert len(rows) == len(printed) > 0
    for row, source in zip(rows, printed, strict=True):
        assert row.cells["published"].text == f"{source.value:.1f}"
        assert row.cells["difference"].mean == pytest.approx(0.895 - source.value / 100)
        assert row.about.startswith(source.source)
        assert source.verified in row.about
    assert any("cuts off digits" in note for note in table.notes)
    assert built(against_published, [measured("vtab/dtd")]) == [], "no paper prints our few-shot"
    probe = measured("imagenet", protocol="linear", config={"C": [1.0]}, model="mixer_b16")
    assert built(against_published, [probe]) == [], "printed of fine-tuning alone"
    assert built(against_published, whole("mixer_b16", limit=10)) == []


@pytest.mark.parametrize(
    ("twice", "shown"), [((), {"avg5", "cifar10", "imagenet", "imagenet_real"}), (("imagenet",), {"cifar10"})]
)
def test_a_task_in_two_variants_of_its_images_stands_beside_no_published_number(
    twice: tuple[str, ...], shown: set[str]
) -> None:
    other = [r for r in whole("mixer_b16", data="9" * 64) if r.run.task in twice]
    (table,) = built(against_published, [*(r for r in whole("mixer_b16") if r.run.task in AVG5), *other])
    assert {row.model.removeprefix("mixer_b16 ") for row in table.rows} == shown
    (lossy,) = built(against_published, whole("mixer_b16", subset="official-lossy"))
    assert all("no difference: images official-lossy, published official" in row.about for row in lossy.rows)
    assert not any("difference" in row.cells for row in lossy.rows)


def test_gaps_on_vtab_come_with_the_reading_aid() -> None:
    (table,) = built(against_published, whole("vit_l16_orig"))
    assert any(row.model == "vit_l16_orig vtab" for row in table.rows)
    assert any("gaps under 3 points are within protocol drift" in note for note in table.notes)
