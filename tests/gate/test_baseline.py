"""The gate's baseline: what it keeps, and what is no baseline."""

import json
import os
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from mixer_bench.gate import baseline
from mixer_bench.results.answers import Answers, Reader, pair
from mixer_bench.results.made import Made
from mixer_bench.results.record import Measured
from mixer_bench.results.store import Predictions, Store
from tests.builders import ANSWERS, a_record, a_run, labels_in_turn, resealed, right_of, save_answers
from tests.gate.checks import SEEDS, check, fill


def test_the_baseline_gives_back_what_it_was_made_of(before: Path, tmp_path: Path) -> None:
    runs, store = baseline.read(before), Store(tmp_path / "old")
    assert len(runs) == 2 * SEEDS
    reader = Reader(store.answers)
    expected = {record.run.key: reader.answers(record) for record in store.records()[0]}
    for answers in runs:
        np.testing.assert_array_equal(answers.right, expected[answers.run.key].right)
        assert (answers.run, answers.value) == (expected[answers.run.key].run, expected[answers.run.key].value)
        assert answers.labels == expected[answers.run.key].labels
    text = before.read_text()
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"
    assert all("seed" not in group["run"] for group in json.loads(text)["groups"])
    assert check(before, tmp_path / "old", "--update") == 0
    assert before.read_text() == text, "the same results give the same file"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[: len(text) // 2], "not a whole baseline"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 2'), "schema version 2"),
        (lambda text: text.replace('"seed": 1', '"seed": 8'), "was changed"),
        (lambda text: text.replace('"n_test": 600', '"n_test": 700'), "has not 700 answers"),
        (lambda text: text.replace('"right": "e', '"right": "?'), "not a whole baseline"),
        (lambda text: text.replace('"value": 0.7', '"value": 0.9', 1), "not what its answers give"),
        (lambda text: text.replace('"value": 0.7', '"value": NaN', 1), "not a whole baseline"),
        (lambda text: text.replace('"limit": null', '"limit": "a"'), "key 'limit'"),
        (lambda text: text.replace("top1", "mean_per_class").replace('"value": 0.7', '"value": 1.7'), "not a whole"),
        (lambda _: '{"schema_version": 1, "made": [], "groups": []}', "holds no runs"),
        (lambda _: "[]", "its content is no object"),
    ],
)
def test_a_damaged_baseline_is_named(before: Path, tmp_path: Path, spoil, said: str, capsys) -> None:
    before.write_text(resealed(spoil(before.read_text())))
    assert check(before, tmp_path / "old") == 1
    error = capsys.readouterr().err
    assert said in error
    assert str(before) in error
    assert len(error.splitlines()) == 1


@pytest.mark.posix
def test_a_pipe_is_written_through_and_stays(before: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert check(before, tmp_path / "old", "--junit", str(pipe)) == 0
        assert ET.fromstring(os.read(reader, 1 << 16)).tag == "testsuites"
        assert check(pipe, tmp_path / "old", "--update") == 0
        assert os.read(reader, 1 << 16) == before.read_bytes()
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_link_leads_to_the_baseline(before: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(before)
    text = before.read_text()
    before.write_text("")
    assert check(link, tmp_path / "old", "--update") == 0
    assert link.is_symlink()
    assert before.read_text() == text


def test_no_baseline_says_how_to_make_one(tmp_path: Path, capsys) -> None:
    assert check(tmp_path / "none.json", tmp_path) == 1
    assert "--update" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seed", "spoil"),
    [
        (2, lambda store: store.place(a_run(seed=2), ".npz").unlink()),
        (2, lambda store: store.place(a_run(seed=2), ".json").write_text("{")),
        (9, lambda store: store.save_failure(a_run(seed=9), ValueError("no"))),
    ],
)
def test_an_incomplete_baseline_is_never_written(before: Path, tmp_path: Path, seed: int, spoil, capsys) -> None:
    text = before.read_text()
    spoil(Store(tmp_path / "old"))
    assert check(before, tmp_path / "old", "--update") == 1
    error = capsys.readouterr().err
    assert a_run(seed=seed).key in error
    assert "left as it was" in error
    assert before.read_text() == text
    assert check(tmp_path / "none.json", tmp_path / "empty", "--update") == 1
    assert not (tmp_path / "none.json").exists()


def test_no_path_of_this_machine_leaves_it(before: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    new = fill(tmp_path / "new")
    (new / "runs" / "colours" / "toy" / "x.json").write_text("{")
    Store(new).save_failure(a_run(seed=9), ValueError("no"))
    Store(new).place(a_run(seed=1), ".npz").unlink()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    capsys.readouterr()
    assert check(before, new, "--json", "--junit", str(tmp_path / "junit.xml")) == 1
    told = [capsys.readouterr().out, (tmp_path / "junit.xml").read_text(), (tmp_path / "summary.md").read_text()]
    suite = ET.fromstring(told[1].encode()).find("testsuite")
    counted = {"tests": "testcase", "errors": ".//error", "failures": ".//failure", "skipped": ".//skipped"}
    assert {name: len(suite.findall(path)) for name, path in counted.items()} == {
        name: int(suite.get(name)) for name in counted
    }
    for text in told:
        assert str(tmp_path) not in text.replace("\\", "")
        assert "runs/colours/toy/x.json" in text
    assert json.loads(told[0])["notes"] == [f"failed: runs/colours/toy/fewshot-{a_run(seed=9).key}.failed.json"]
    assert check(before, new) == 1
    shown = capsys.readouterr().out
    assert f"damaged or missing: {new}" in shown.replace("\n", " ")
    assert f"note: failed: {new}" in shown.replace("\n", " ")
    assert "2 files damaged or missing" in shown.splitlines()[-1]


def test_each_run_of_a_baseline_keeps_what_made_it(tmp_path: Path) -> None:
    """Of runs that differ by that alone; names stand as they are."""
    made = [Made(code={}, environment={}, extraction_environment=None, day=f"2026-01-0{day}") for day in (2, 1, 3)]
    right = np.arange(13) % 3 > 0
    runs = [
        Answers(a_run(model="modèle", seed=seed), float(right.mean()), 13, "", right, kept)
        for seed, kept in enumerate(made)
    ]
    baseline.write(tmp_path / "b.json", runs)
    assert "modèle" in (tmp_path / "b.json").read_text(encoding="utf-8")
    back = {answers.run.seed: answers for answers in baseline.read(tmp_path / "b.json")}
    assert [back[seed].made for seed in range(3)] == made
    assert [back[seed].right.tolist() for seed in range(3)] == [right.tolist()] * 3


def test_a_single_test_image_is_compared_with_nothing(tmp_path: Path) -> None:
    one = [a_record(run=a_run(model=model), n_test=1) for model in ("toy", "other")]
    reader = Reader(lambda _run: (np.zeros(1, int), np.zeros(1, int)))
    paired = pair(one[:1], one[1:], reader)
    assert (paired.seeds, paired.problems) == ((), ("colours: 1 test images; not compared",))


def test_a_record_whose_metric_needs_more_than_labels_has_no_answers() -> None:
    measured = {"real": Measured(value=1.0, ci95=(0.9, 1.0))}
    record = a_record(run=a_run(metric="real"), metrics=measured, n_test=ANSWERS)
    answers = Reader(lambda _record: (labels_in_turn(), labels_in_turn())).answers(record)
    assert answers.right is None
    assert "its metric 'real' needs more than labels" in answers.problem


@pytest.mark.parametrize(
    ("metric", "label", "prediction", "said"),
    [
        ("top1", labels_in_turn(), labels_in_turn(), "do not give the record's value"),
        ("macro_f1", labels_in_turn(), labels_in_turn(), "do not give the record's value"),
        ("top1", labels_in_turn()[:9], labels_in_turn()[:9], "9 predictions for 600 test images"),
        ("top1", labels_in_turn(), labels_in_turn()[None], "600 predictions for 600 test images"),
    ],
)
def test_predictions_that_contradict_their_record_are_none(metric: str, label, prediction, said: str, tmp_path) -> None:
    save_answers(tmp_path, a_run(metric=metric), right_of(0))
    store = Store(tmp_path)
    (record,), _ = store.records()
    assert Reader(store.answers).answers(record).right is not None
    store.save(record, Predictions(label, prediction, np.ones(ANSWERS, np.float32)))
    answers = Reader(store.answers).answers(record)
    assert answers.right is None
    assert said in answers.problem
