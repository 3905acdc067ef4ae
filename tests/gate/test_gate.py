"""The gate from a results folder to exit code, terminal, JUnit XML and Markdown."""

import json
import os
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from mixer_bench.cli import app
from mixer_bench.cli import check as cli_gate
from mixer_bench.errors import ResultsError
from mixer_bench.gate import baseline
from mixer_bench.gate import check as gate
from mixer_bench.gate import text as gate_report
from mixer_bench.results import answers as answers_module
from mixer_bench.results import naming
from mixer_bench.results.record import Measured, Run
from mixer_bench.results.store import Predictions, Store
from mixer_bench.stats import metrics
from tests.builders import a_record, a_run

COUNT, CLASSES, SEEDS = 600, 3, 3


def label() -> np.ndarray:
    return np.arange(COUNT) % CLASSES


def save(folder: Path, run: Run, right: np.ndarray, truth: np.ndarray | None = None) -> Path:
    truth = label() if truth is None else truth
    prediction = np.where(right, truth, (truth + 1) % CLASSES)
    shares = metrics.get(run.metric).example_weights(truth)
    measured = Measured(value=float(np.average(right, weights=shares)), ci95=(0, 1))
    record = a_record(run=run, metrics={run.metric: measured}, n_test=len(right), num_classes=CLASSES)
    return Store(folder).save(record, Predictions(truth, prediction, np.ones(len(right), np.float32)))


def right_of(seed: int, worse: float = 0.0) -> np.ndarray:
    """70 % right; the first so many of those that were are wrong."""
    right = np.random.default_rng(seed).permutation(COUNT) < 0.7 * COUNT
    right[np.flatnonzero(right)[: round(worse * COUNT)]] = False
    return right


def fill(folder: Path, worse: float = 0.0, **changes: object) -> Path:
    """Two models with three seeds; ``worse`` and ``changes`` go to the first."""
    for seed in range(SEEDS):
        save(folder, a_run(seed=seed, **changes), right_of(seed, worse))
        save(folder, a_run(seed=seed, model="other", weights="5" * 64), right_of(seed + 10))
    return folder


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    file = tmp_path / "baseline.json"
    assert check(file, fill(tmp_path / "old"), "--update") == 0
    return file


def check(file: Path, folder: Path, *more: str) -> int:
    return app.main(["check", str(file), "--results", str(folder), *more])


def test_the_baseline_gives_back_what_it_was_made_of(before: Path, tmp_path: Path) -> None:
    runs = baseline.read(before)
    assert len(runs) == 2 * SEEDS
    store = Store(tmp_path / "old")
    expected = {r.run.key: answers_module.Reader(store.answers).answers(r) for r in store.records()[0]}
    for one in runs:
        np.testing.assert_array_equal(one.right, expected[one.run.key].right)
        assert (one.run, one.value) == (expected[one.run.key].run, expected[one.run.key].value)
        assert one.labels == answers_module.label_digest(label())
    text = before.read_text()
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"
    assert check(before, tmp_path / "old", "--update") == 0
    assert before.read_text() == text, "the same results give the same file"


def test_no_drop_passes(before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(before, fill(tmp_path / "new")) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "2 groups: predictions identical",
        "PASS: no drop in 2 groups",
    ]


def test_three_points_less_fail_by_name(before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(before, fill(tmp_path / "new", 0.03)) == 1
    shown = capsys.readouterr().out
    assert "FAIL: accuracy dropped in 1 of 2 groups" in shown.splitlines()[-1]
    assert max(map(len, shown.splitlines())) <= 100
    row = next(line for line in shown.splitlines() if "drop" in line)
    assert row.split()[:4] == ["colours", "toy", "fewshot", "5-shot"]
    assert "-3.0" in row


def test_less_than_min_drop_passes_and_is_shown(before: Path, tmp_path: Path, capsys) -> None:
    new = fill(tmp_path / "new", 0.03)
    assert check(before, new, "--min-drop", "4") == 0
    assert "-3.0" in capsys.readouterr().out
    assert check(before, new, "--min-drop", "2.9") == 1
    assert check(before, new, "--min-drop", "-1") == 2


def test_three_points_more_are_better_and_pass(before: Path, tmp_path: Path, capsys) -> None:
    worse = tmp_path / "worse.json"
    check(worse, fill(tmp_path / "new", 0.03), "--update")
    assert check(worse, tmp_path / "old") == 0
    assert "better" in capsys.readouterr().out


def test_a_missing_run_fails_by_name(before: Path, tmp_path: Path, capsys) -> None:
    new = fill(tmp_path / "new")
    Store(new).place(a_run(seed=1), ".json").unlink()
    assert check(before, new) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "missing: not in" in shown
    assert shown.endswith("FAIL: 1 of 3 groups missing")


def test_changed_weights_fail_by_name(before: Path, tmp_path: Path, capsys) -> None:
    assert check(before, fill(tmp_path / "new", weights="7" * 64), "--json") == 1
    shown = json.loads(capsys.readouterr().out)
    changed = [row for row in shown["groups"] if row["fails"]]
    assert [(row["verdict"], row["seeds"]) for row in changed] == [("changed", [0, 1, 2])]
    assert changed[0]["reason"] == "weights 00000000 -> 77777777"
    assert not [row for row in shown["groups"] if row["verdict"] == "new"]


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("data", "3" * 64, "data 11111111 -> 33333333"),
        ("protocol_version", 2, "protocol_version 1 -> 2"),
        ("config", {"shots": 5, "l2": [1.0]}, "config.l2 [1024.0] -> [1.0]"),
        ("precision", "bf16", "precision fp32 -> bf16"),
    ],
)
def test_the_changed_field_is_named(field: str, value: object, named: str) -> None:
    assert naming.changes(a_run(), a_run(**{field: value}, seed=4)) == [named]


def test_a_second_name_of_the_same_weights_is_a_run_of_its_own(tmp_path: Path, capsys) -> None:
    for model in ("toy", "alias"):
        fill(tmp_path / "old", model=model)
    check(tmp_path / "b.json", tmp_path / "old", "--update")
    capsys.readouterr()
    assert check(tmp_path / "b.json", fill(tmp_path / "new"), "--json") == 1
    rows = json.loads(capsys.readouterr().out)["groups"]
    assert [(row["model"], row["verdict"], row["seeds"]) for row in rows] == [
        ("alias", "missing", [0, 1, 2]),
        ("other", "ok", [0, 1, 2]),
        ("toy", "ok", [0, 1, 2]),
    ]
    assert check(tmp_path / "b.json", fill(tmp_path / "new", model="renamed"), "--json") == 0, "one is renamed"
    rows = json.loads(capsys.readouterr().out)["groups"]
    assert [(row["model"], row["verdict"], row["seeds"]) for row in rows] == [
        ("other", "ok", [0, 1, 2]),
        ("renamed", "ok", [0, 1, 2]),
        ("toy", "ok", [0, 1, 2]),
    ]


def test_thousands_of_runs_take_seconds() -> None:
    """All other weights and thousands of settings: each is found among those of its request alone."""
    right = np.ones(4, bool)

    def answers(weights: str) -> list[answers_module.Answers]:
        runs = [a_run(task=f"task {number}", weights=weights) for number in range(3000)]
        return [answers_module.Answers(run, 1.0, 4, "", right) for run in runs]

    before, other, same = answers("0" * 64), answers("7" * 64), answers("0" * 64)
    started = time.process_time()
    changed, kept = gate.check(before, other), gate.check(before, same)
    for outcome in (changed, kept):
        gate_report.terminal(outcome)
    assert {row.verdict for row in changed.rows} == {"changed"}
    assert kept.passed
    assert time.process_time() - started < 20, "a scan of all for each takes minutes"


def test_other_shots_are_another_request(before: Path, tmp_path: Path, capsys) -> None:
    assert check(before, fill(tmp_path / "new", config={"shots": 10, "l2": [1024.0]}), "--json") == 1
    verdicts = {row["verdict"] for row in json.loads(capsys.readouterr().out)["groups"]}
    assert verdicts == {"missing", "new", "ok"}


def test_new_runs_are_told_and_pass(before: Path, tmp_path: Path, capsys) -> None:
    new = fill(tmp_path / "new")
    save(new, a_run(model="third", weights="9" * 64), right_of(1))
    assert check(before, new) == 0
    assert "new, not in the baseline: colours third fewshot 5-shot, seeds 0" in capsys.readouterr().out


def test_missing_predictions_fail_and_values_are_compared_without_them(before: Path, tmp_path: Path, capsys) -> None:
    for name, worse, verdict in (("a", 0.0, "ok (unpaired"), ("b", 0.3, "drop (unpaired")):
        new = fill(tmp_path / name, worse)
        Store(new).place(a_run(seed=2), ".npz").unlink()
        assert check(before, new) == 1
        shown = " ".join(capsys.readouterr().out.split())
        assert verdict in shown
        assert "no predictions" in shown
        assert "unpaired" in shown


def test_labels_in_another_order_fail(before: Path, tmp_path: Path, capsys) -> None:
    new = fill(tmp_path / "new")
    save(new, a_run(seed=1), right_of(1)[::-1], label()[::-1])
    assert check(before, new) == 1
    assert "in another order" in " ".join(capsys.readouterr().out.split())


def test_mean_per_class_goes_by_class(tmp_path: Path, capsys) -> None:
    """Of the rarest class 4 of 6 answers are lost: 0.7 points of the examples, 22 of the classes."""
    truth = np.r_[np.zeros(300, int), np.ones(294, int), np.full(6, 2)]
    right = np.ones(COUNT, bool)
    for folder, lost in (("old", 0), ("new", 4)):
        now = right.copy()
        now[COUNT - lost :] = False
        save(tmp_path / folder, a_run(metric="mean_per_class"), now, truth)
    check(tmp_path / "b.json", tmp_path / "old", "--update")
    capsys.readouterr()
    check(tmp_path / "b.json", tmp_path / "new", "--json")
    row = json.loads(capsys.readouterr().out)["groups"][0]
    assert row["difference"] == pytest.approx(-4 / 6 / 3)
    assert row["now"] - row["baseline"] == pytest.approx(row["difference"])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[: len(text) // 2], "not a whole baseline"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 2'), "schema version 2"),
        (lambda text: text.replace('"seed": 1', '"seed": 8'), "was changed"),
        (lambda text: text.replace('"n_test": 600', '"n_test": 700'), "has not 700 answers"),
        (lambda text: text.replace('"right": "e', '"right": "?'), "not a whole baseline"),
        (lambda text: text.replace('"value": 0.7', '"value": 0.9', 1), "not what its answers give"),
        (lambda text: text.replace('"value": 0.7', '"value": NaN', 1), "finite number"),
        (lambda text: text.replace("top1", "mean_per_class").replace('"value": 0.7', '"value": 1.7'), "not a whole"),
        (lambda _: '{"schema_version": 1, "groups": []}', "holds no runs"),
        (lambda _: "[]", "baseline of schema version"),
    ],
)
def test_a_damaged_baseline_is_named(before: Path, tmp_path: Path, spoil, said: str, capsys) -> None:
    before.write_text(spoil(before.read_text()))
    assert check(before, tmp_path / "old") == 1
    error = capsys.readouterr().err
    assert said in error
    assert str(before) in error
    with pytest.raises(ResultsError):
        baseline.read(before)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
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


def test_an_incomplete_baseline_is_never_written(before: Path, tmp_path: Path, capsys) -> None:
    text = before.read_text()
    for name, spoil in {
        "predictions": lambda store: store.place(a_run(seed=2), ".npz").unlink(),
        "record": lambda store: store.place(a_run(seed=2), ".json").write_text("{"),
        "failure": lambda store: store.save_failure(a_run(seed=9), ValueError("no")),
    }.items():
        new = fill(tmp_path / name)
        spoil(Store(new))
        assert check(before, new, "--update") == 1
        error = capsys.readouterr().err
        assert a_run(seed=9 if name == "failure" else 2).key in error
        assert "left as it was" in error
        assert before.read_text() == text
    assert check(tmp_path / "none.json", tmp_path / "empty", "--update") == 1
    assert not (tmp_path / "none.json").exists()


def test_a_damaged_record_fails_the_gate(before: Path, tmp_path: Path, capsys) -> None:
    new = fill(tmp_path / "new")
    (new / "runs" / "colours" / "toy" / "x.json").write_text("{")
    assert check(before, new) == 1
    assert "1 files damaged or missing" in capsys.readouterr().out.splitlines()[-1]


def test_no_path_of_this_machine_leaves_it(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    new = fill(tmp_path / "new")
    (new / "runs" / "colours" / "toy" / "x.json").write_text("{")
    Store(new).save_failure(a_run(seed=9), ValueError("no"))
    Store(new).place(a_run(seed=1), ".npz").unlink()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    capsys.readouterr()
    assert check(before, new, "--json", "--junit", str(tmp_path / "junit.xml")) == 1
    told = [capsys.readouterr().out, (tmp_path / "junit.xml").read_text(), (tmp_path / "summary.md").read_text()]
    for text in told:
        assert str(tmp_path) not in text.replace("\\", "")
        assert "runs/colours/toy/x.json" in text
    assert json.loads(told[0])["notes"] == [f"failed: runs/colours/toy/fewshot-{a_run(seed=9).key}.failed.json"]
    assert check(before, new) == 1
    assert f"damaged or missing: {new}" in capsys.readouterr().out.replace("\n", " ")


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path, capsys) -> None:
    for folder, shots in (("old", 5), ("new", 10)):
        config = {"shots": shots, "l2": [1024.0]}
        fill(tmp_path / folder, model="a\x1b[31m\nPASS", config=config)
        fill(tmp_path / folder, model="b", weights=("\x1b[2J" + folder).ljust(64))
    check(tmp_path / "b.json", tmp_path / "old", "--update")
    capsys.readouterr()
    assert check(tmp_path / "b.json", tmp_path / "new") == 1
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "PASS" not in [line.strip() for line in shown.splitlines()]
    assert "new, not in the baseline: colours a?[31m PASS fewshot 10-shot" in shown
    assert "?[2Jold" in shown


def test_settings_of_one_protocol_have_names_of_their_own(tmp_path: Path, capsys) -> None:
    small, full = ({"steps": steps, "warmup": steps // 10, "rate": [0.1]} for steps in (100, 500))
    for folder, worse in (("old", 0.0), ("new", 0.1)):
        for config in (small, full, {**full, "rate": [0.3]}):
            fill(tmp_path / folder, worse, protocol="finetune", config=config)
        fill(tmp_path / folder, worse, protocol="knn", config={"k": 10})
    check(tmp_path / "b.json", tmp_path / "old", "--update")
    capsys.readouterr()
    assert check(tmp_path / "b.json", tmp_path / "new", "--junit", str(tmp_path / "j.xml")) == 1
    shown = capsys.readouterr().out
    cases = [case.get("name") for case in ET.parse(tmp_path / "j.xml").iter("testcase") if "toy" in case.get("name")]
    assert sorted(cases) == [
        "colours toy finetune rate=[0.1] steps=100, seeds 0-2",
        "colours toy finetune rate=[0.1] steps=500, seeds 0-2",
        "colours toy finetune rate=[0.3] steps=500, seeds 0-2",
        "colours toy knn, seeds 0-2",
    ]
    assert shown.count("rate=[0.1]") == 2


@pytest.mark.parametrize("failures", [0, 1])
def test_a_folder_without_records_is_said_once(before: Path, tmp_path: Path, failures: int, capsys) -> None:
    none = tmp_path / "nodir"
    for seed in range(failures):
        Store(none).save_failure(a_run(seed=seed), ValueError("no"))
    capsys.readouterr()
    assert check(before, none, "--junit", str(tmp_path / "j.xml")) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1].endswith(f"no records in {none}; make some with: {cli_gate.MAKE}")
    assert len(said.err.splitlines()) == 1 + failures
    assert "no records" in (tmp_path / "j.xml").read_text()
    assert check(before, none, "--json") == 1
    shown = json.loads(capsys.readouterr().out)
    assert (len(shown["groups"]), shown["problems"]) == (2, [f"no records; make some with: {cli_gate.MAKE}"])


def test_predictions_that_contradict_the_record_are_none(tmp_path: Path) -> None:
    save(tmp_path, a_run(), right_of(0))
    store = Store(tmp_path)
    record = store.records()[0][0]
    store.save(record, Predictions(label(), label(), np.ones(COUNT, np.float32)))
    answers = answers_module.Reader(store.answers).answers(record)
    assert answers.right is None
    assert "do not give the record's value" in answers.problem


def test_junit_and_the_github_summary_escape_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    name = "file:a<b&\"c'|d\x07"
    for folder, worse in (("old", 0.0), ("new", 0.05)):
        fill(tmp_path / folder, worse, model=name)
    check(tmp_path / "b.json", tmp_path / "old", "--update")
    save(tmp_path / "new", a_run(model="third", weights="9" * 64), right_of(1))
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert check(tmp_path / "b.json", tmp_path / "new", "--junit", str(tmp_path / "out" / "junit.xml")) == 1
    suites = ET.parse(tmp_path / "out" / "junit.xml").getroot()
    suite = suites.find("testsuite")
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }
    cases = suite.findall("testcase")
    assert len(cases) == 3
    failing = next(case for case in cases if case.find("failure") is not None)
    assert name.replace("\x07", "?") in failing.get("name")
    assert failing.find("failure").get("type") == "drop"
    text = summary.read_text()
    assert text.startswith("before\n### mixer-bench check")
    assert "a\\<b\\&" in text
    assert "**FAIL: accuracy dropped in 1 of 2 groups**" in text
