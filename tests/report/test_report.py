"""Tables from hand-written records: golden text for each format, and nothing mixed that differs."""

import csv
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest

from mixer_bench.cli import app
from mixer_bench.report import report
from mixer_bench.report.cells import cell_of, mean_of
from mixer_bench.results.record import Drawn, Record, Selection
from mixer_bench.results.store import Predictions, Store
from tests.builders import a_record, a_run, tables_of

GOLDEN = Path(__file__).parents[1] / "golden"
PREDICTIONS = Predictions(np.zeros(1), np.zeros(1), np.zeros(1))


def a_study() -> list[Record]:
    """Two models and a control on one task: shots, seeds, a linear probe that did not converge."""
    means = {"mixer_nano": 0.5, "random:mixer_nano": 0.2, "pixels": 0.25}
    weights = {"mixer_nano": "a" * 64, "random:mixer_nano": "b" * 64, "pixels": "c" * 64}
    records = []
    for model, mean in means.items():
        for shots in (10, 1):
            for seed in range(3):
                run = a_run(model=model, weights=weights[model], config={"shots": shots, "l2": [1024.0]}, seed=seed)
                records.append(a_record(mean + 0.01 * seed + 0.01 * shots, run))
    run = a_run(model="mixer_nano", weights="a" * 64, protocol="linear", config={"C": [0.1, 1.0]})
    records.append(a_record(0.61, run, converged=False))
    return records


@pytest.mark.parametrize("fmt", report.FORMATS)
def test_golden(fmt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = report.write(a_study(), fmt)
    file = GOLDEN / f"report.{fmt}.txt"
    assert text == file.read_text(encoding="utf-8"), f"if the new text is meant, write it to {file}"


@pytest.mark.parametrize(
    ("values", "half", "text", "note"),
    [
        (
            (0.35, 0.36, 0.37),
            4.302653 * 0.01 / math.sqrt(3),
            "36.0 ±2.5",
            "± is over seeds alone; for another test sample",
        ),
        ((0.5,), 0.04, "50.0 ±4.0*", "* ± of one run (of one task at least): of the test sample"),
    ],
)
def test_a_cell_is_the_mean_and_students_interval_or_that_of_the_test_sample(
    values: tuple[float, ...], half: float, text: str, note: str
) -> None:
    (table,) = tables_of([a_record(value, a_run(seed=seed)) for seed, value in enumerate(values)])
    cell = table.rows[0].cells["5-shot"]
    assert (cell.mean, cell.half) == (pytest.approx(np.mean(values)), pytest.approx(half, rel=1e-5))
    assert cell.text == text
    assert [line.startswith(note) for line in table.remarks].count(True) == 1


def drawn(images: int, seed: int, task: str = "colours", value: float = 0.5) -> Record:
    """A 25-shot run of three classes that have 24 images in all."""
    run = a_run(seed=seed, task=task, config={"shots": 25, "l2": [1024.0]})
    return a_record(value, run, drawn=Drawn(images=images, pool=24, short=3, fewest=6))


def test_seeds_that_all_drew_the_same_images_are_one_run() -> None:
    (table,) = tables_of([drawn(24, seed) for seed in range(3)])
    cell = table.rows[0].cells["25-shot"]
    assert (cell.text, cell.seeds) == ("50.0 ±4.0*§", 1), "±0.0 over seeds would say that nothing else could come out"
    assert (
        "25-shot: 3 of 3 classes have fewer images, down to 6; on colours every seed drew all there is, "
        "so that its runs count as one"
    ) in table.notes
    (table,) = tables_of([drawn(20, seed) for seed in range(3)])
    assert table.rows[0].cells["25-shot"].text == "50.0 ±–§"
    assert list(table.legend) == ["±–", "§"]
    assert "25-shot: 3 of 3 classes have fewer images, down to 6" in table.notes


def test_a_mean_of_tasks_is_over_seeds_only_where_seeds_drew() -> None:
    whole = cell_of([drawn(24, seed) for seed in range(3)], "top1")
    other = cell_of([drawn(20, seed, "b", 0.5 + seed / 10) for seed in range(3)], "top1")
    assert not mean_of([whole, whole]).over_seeds
    assert mean_of([whole, whole]).half == pytest.approx(0.04 / math.sqrt(2))
    assert mean_of([whole, other]).over_seeds
    assert mean_of([whole, other]).half == pytest.approx(other.half / 2)


@pytest.mark.parametrize(
    ("configs", "columns"),
    [
        ([{"l2": [1024.0]}, {"l2": [1.0]}], {"5-shot l2=1024": 0, "5-shot l2=1": 1}),
        ([{"l2": [1.0, 32.0, 9.0]}, {"l2": [1.0, 2.0, 9.0]}], {"5-shot l2=1,32,9": 0, "5-shot l2=1,2,9": 1}),
        ([{"shots": n} for n in (10, 5, 1, 25)], {"1-shot": 2, "5-shot": 1, "10-shot": 0, "25-shot": 3}),
    ],
)
def test_other_settings_get_their_own_column(configs: list[dict[str, object]], columns: dict[str, int]) -> None:
    runs = [a_run(config={"shots": 5, "l2": [1024.0], **config}) for config in configs]
    (table,) = tables_of([a_record(0.1 * number, run) for number, run in enumerate(runs)])
    assert {name: cell.mean for name, cell in table.rows[0].cells.items()} == {n: 0.1 * v for n, v in columns.items()}
    assert set(table.columns) == set(columns)
    assert len(configs) == 2 or table.columns == tuple(columns), "shots stand in the order of numbers"


def test_settings_that_print_alike_are_two_columns() -> None:
    runs = [a_run(config={"shots": 5, "l2": [value]}) for value in (1.0, 1.0000001)]
    (table,) = tables_of([a_record(0.5, runs[0]), a_record(0.6, runs[1])])
    assert {table.rows[0].cells[column].mean for column in table.columns} == {0.5, 0.6}


def test_other_weights_get_their_own_row() -> None:
    (table,) = tables_of([a_record(0.5), a_record(0.6, a_run(weights="9" * 64))])
    assert len(table.rows) == 2
    assert "99999999" in table.rows[1].model


def test_what_records_note_is_said() -> None:
    run = a_run(protocol="linear", config={"C": [0.1, 1.0]})
    selection = Selection.best("C", (0.1, 1.0), (0.4, 0.5), 30)
    said = {"notes": ("not converged on train at C = 1",), "extraction_notes": ("computed in parts",)}
    (table,) = tables_of([a_record(0.5, run, selection=selection, **said)])
    assert table.notes[-4:] == (
        "chosen at the grid's edge: toy linear",
        "toy linear: not converged on train at C = 1",
        "toy: computed in parts",
        "data: made by the test (official)",
    )


def test_text_from_data_cannot_break_a_markdown_table() -> None:
    record = a_record(0.5, a_run(model="a|b<script>*c*"))
    line = next(line for line in report.write([record], "markdown").splitlines() if "script" in line)
    assert line.count("|") - line.count("\\|") == 5
    assert "\\<script\\>" in line


def test_json_rows_are_those_of_load_results(tmp_path: Path) -> None:
    import mixer_bench

    store = Store(tmp_path)
    for record in a_study():
        store.save(record, PREDICTIONS)
    frame = mixer_bench.load_results(tmp_path)
    rows = json.loads(report.write(store.records()[0], "json"))
    assert len(frame) == len(rows) == len(a_study())
    assert list(frame.columns) == list(rows[0])
    assert frame["value"].tolist() == [row["value"] for row in rows]
    named = {"task", "model", "family", "pretrain", "protocol", "shots", "resolution", "seed", "metric", "value"}
    assert named | {"ci_low", "ci_high", "n_test", "subset", "key"} <= set(frame.columns)


def test_ten_thousand_records_take_seconds_not_minutes() -> None:
    records = [a_record(0.5, a_run(task=f"task {n // 100}", seed=n % 100)) for n in range(10_000)]
    start = time.process_time()
    report.write(records, "table")
    assert time.process_time() - start < 60, "this guards against quadratic work, not against slow machines"


def test_the_terminals_width_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (60, 80, 100, 300):
        monkeypatch.setenv("COLUMNS", str(width))
        lines = report.write(a_study(), "table").splitlines()
        assert max(map(len, lines)) <= width
        assert any("random:mixer_nano" in line and "31.0 ±2.5" in line for line in lines), "no name and number is split"


def test_the_verb_names_what_is_damaged_and_reports_the_rest(tmp_path: Path, capsys) -> None:
    store = Store(tmp_path)
    command = ["report", "--results", str(tmp_path)]
    assert app.main(command) == 1
    assert "no records in" in capsys.readouterr().err
    store.save(a_record(0.5), PREDICTIONS)
    assert app.main([*command, "--format", "csv", "--output", str(tmp_path / "t.csv")]) == 0
    assert capsys.readouterr().out == f"1 records reported in {tmp_path / 't.csv'}\n"
    rows = csv.DictReader((tmp_path / "t.csv").read_text(encoding="utf-8").splitlines())
    assert next(rows)["mean"] == "0.500000"
    broken = store.save(a_record(0.6, a_run(seed=1)), PREDICTIONS)
    broken.write_text("{", encoding="utf-8")
    failed = store.save_failure(a_run(seed=2), RuntimeError("out of memory"))
    assert app.main(command) == 1
    shown = capsys.readouterr()
    assert "50.0" in shown.out
    assert shown.out.splitlines()[-1] == f"1 records in {tmp_path / 'runs'}"
    assert str(broken) in shown.err
    assert f"failed: {failed}" in shown.err
