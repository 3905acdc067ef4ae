"""The gate from a results folder to exit code, terminal, JUnit XML and Markdown."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from scipy import stats as scipy_stats

from mixer_bench.api.results import MAKE
from mixer_bench.gate import check as gate
from mixer_bench.gate import text as gate_report
from mixer_bench.results import naming
from mixer_bench.results.answers import Answers
from mixer_bench.results.store import Store
from mixer_bench.stats.change import Change
from tests.builders import ANSWERS, MADE, a_run, labels_in_turn, right_of, save_answers
from tests.gate.checks import check, fill, groups


@pytest.mark.parametrize(
    ("worse", "options", "code", "said"),
    [
        (0.0, [], 0, ["2 groups: predictions identical", "PASS: no drop in 2 groups"]),
        (0.03, [], 1, ["colours toy fewshot 5-shot", "-3.0", "FAIL: accuracy dropped in 1 of 2 groups"]),
        (0.03, ["--min-drop", "2.9"], 1, ["-3.0"]),
        (0.03, ["--min-drop", "4"], 0, ["-3.0", "1 groups: predictions identical"]),
        (0.03, ["--min-drop", "-1"], 2, []),
    ],
)
def test_a_drop_fails_by_name(before: Path, tmp_path: Path, worse: float, options, code: int, said, capsys) -> None:
    assert check(before, fill(tmp_path / "new", worse), *options) == code
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines()), default=0) <= 100
    for words in said:
        assert words in shown


def test_three_points_more_are_better_and_pass(tmp_path: Path, capsys) -> None:
    worse = tmp_path / "worse.json"
    check(worse, fill(tmp_path / "new", 0.03), "--update")
    assert [row["verdict"] for row in groups(worse, fill(tmp_path / "old"), capsys, code=0)] == ["better", "ok"]


def test_a_missing_run_fails_by_name(before: Path, tmp_path: Path, capsys) -> None:
    new = fill(tmp_path / "new")
    Store(new).place(a_run(seed=1), ".json").unlink()
    assert check(before, new) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "missing: not in" in shown
    assert "p of no drop, one-sided" in shown, "of the groups that are there"
    assert shown.endswith("FAIL: 1 of 3 groups missing")


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("weights", "7" * 64, f"weights {'0' * 64} -> {'7' * 64}"),
        ("data", "3" * 64, f"data {'1' * 64} -> {'3' * 64}"),
        ("protocol_version", 2, "protocol_version 1 -> 2"),
        ("config", {"shots": 5, "l2": [1.0]}, "config.l2 1024 -> 1"),
        ("precision", "bf16", "precision fp32 -> bf16"),
        ("metric_version", 2, "metric_version 1 -> 2"),
        ("config", {"shots": 5, "l2": [1024.0000001]}, "config.l2 1024 -> 1024.0000001"),
    ],
)
def test_what_changed_is_named(field: str, value: object, named: str) -> None:
    assert naming.changes(a_run(), a_run(**{field: value}, seed=4)) == [named]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([{}], {"weights": "7" * 64}, {("toy", "changed"), ("other", "ok")}),
        ([{}], {"config": {"shots": 10, "l2": [1024.0]}}, {("toy", "missing"), ("toy", "new"), ("other", "ok")}),
        # A second name of the same weights is a run of its own; one of the two is renamed.
        ([{}, {"model": "alias"}], {}, {("alias", "missing"), ("other", "ok"), ("toy", "ok")}),
        ([{}], {"model": "renamed"}, {("renamed", "ok"), ("other", "ok")}),
    ],
)
def test_runs_find_their_partners(tmp_path: Path, old: list[dict], new: dict, expected, capsys) -> None:
    for changes in old:
        fill(tmp_path / "old", **changes)
    check(tmp_path / "b.json", tmp_path / "old", "--update")
    failing = any(verdict in gate.FAILING for _, verdict in expected)
    rows = groups(tmp_path / "b.json", fill(tmp_path / "new", **new), capsys, code=int(failing))
    assert {(row["model"], row["verdict"]) for row in rows} == expected
    assert {tuple(row["seeds"]) for row in rows} == {(0, 1, 2)}
    assert [row["fails"] for row in rows] == sorted((row["fails"] for row in rows), reverse=True)


def test_of_several_runs_of_one_request_the_nearest_is_what_changed() -> None:
    right, near = np.ones(4, bool), {"precision": "bf16"}
    asked = [a_run(**near, data=data * 64) for data in "123456789"]
    outcome = gate.check(
        [Answers(a_run(), 1, 4, "", right, MADE)], [Answers(run, 1, 4, "", right, MADE) for run in asked]
    )
    assert [row.reason for row in outcome.rows if row.verdict == "changed"] == ["precision fp32 -> bf16"]


def test_each_run_is_looked_for_among_those_of_its_request_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """All other weights and hundreds of settings: a scan of all for each would take minutes with thousands."""

    def answers(weights: str) -> list[Answers]:
        runs = [a_run(task=f"task {number}", weights=weights) for number in range(300)]
        return [Answers(run, 1.0, 4, "", np.ones(4, bool), MADE) for run in runs]

    asked = []
    monkeypatch.setattr(gate, "changes", lambda *runs: (asked.append(runs), naming.changes(*runs))[1])
    changed, kept = gate.check(answers("0" * 64), answers("7" * 64)), gate.check(answers("0" * 64), answers("0" * 64))
    assert len(asked) == 2 * 300, "once to find the nearest, once to tell what changed"
    assert {row.verdict for row in changed.rows} == {"changed"}
    assert kept.passed
    assert gate_report.terminal(changed).count("changed: weights") == 300


def test_new_runs_are_told_and_pass(before: Path, tmp_path: Path, capsys) -> None:
    new = fill(tmp_path / "new")
    save_answers(new, a_run(model="third", weights="9" * 64), right_of(1))
    assert check(before, new) == 0
    assert "new, not in the baseline: colours third fewshot 5-shot, seeds 0" in capsys.readouterr().out


@pytest.mark.parametrize(("worse", "verdict"), [(0.0, "ok (unpaired"), (0.3, "drop (unpaired")])
def test_missing_predictions_fail_and_values_are_compared(
    before: Path, tmp_path: Path, worse: float, verdict: str, capsys
) -> None:
    new = fill(tmp_path / "new", worse)
    Store(new).place(a_run(seed=2), ".npz").unlink()
    assert check(before, new) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert verdict in shown
    assert "no predictions" in shown


def test_labels_in_another_order_fail(before: Path, tmp_path: Path, capsys) -> None:
    new = fill(tmp_path / "new")
    save_answers(new, a_run(seed=1), right_of(1)[::-1], labels_in_turn()[::-1])
    assert check(before, new) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "in another order" in shown
    assert shown.endswith("FAIL: 1 of 2 groups measured on other examples")


@pytest.mark.parametrize(("metric", "difference"), [("mean_per_class", -4 / 6 / 3), ("macro_f1", None)])
def test_other_metrics_go_by_class(tmp_path: Path, metric: str, difference: float | None, capsys) -> None:
    """Of the rarest class 4 of 6 answers are lost: 0.7 points of the examples, 22 of the classes."""
    truth = np.r_[np.zeros(300, int), np.ones(294, int), np.full(6, 2)]
    for folder, lost in (("old", 0), ("new", 4)):
        save_answers(tmp_path / folder, a_run(metric=metric), np.arange(ANSWERS) < ANSWERS - lost, truth)
    check(tmp_path / "b.json", tmp_path / "old", "--update")
    (row,) = groups(tmp_path / "b.json", tmp_path / "new", capsys)
    assert row["now"] - row["baseline"] == pytest.approx(row["difference"])
    if difference:
        assert row["difference"] == pytest.approx(difference)
    else:  # no mean over examples: values alone, which are 15 points apart
        assert (row["verdict"], row["method"]) == ("drop", gate.UNPAIRED)


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


def test_settings_of_one_protocol_have_names_of_their_own() -> None:
    small, full = ({"rate": [0.1], "steps": steps, "warmup": steps // 10} for steps in (100, 500))
    runs = [a_run(protocol="finetune", config=config) for config in (small, full, {**full, "rate": [0.3]})]
    runs += [a_run(protocol="knn", config={"k": 10}, seed=seed) for seed in (0, 1)]
    assert list(naming.groups(runs).values()) == [
        "colours toy finetune rate=0.1 steps=100",
        "colours toy finetune rate=0.1 steps=500",
        "colours toy finetune rate=0.3 steps=500",
        "colours toy knn",
    ]


@pytest.mark.parametrize("failures", [0, 1])
def test_a_folder_without_records_is_said_once(before: Path, tmp_path: Path, failures: int, capsys) -> None:
    none = tmp_path / "nodir"
    for seed in range(failures):
        Store(none).save_failure(a_run(seed=seed), ValueError("no"))
    capsys.readouterr()
    assert check(before, none, "--junit", str(tmp_path / "j.xml")) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1].endswith(f"no records in {none}; make some with: {MAKE}")
    assert len(said.err.splitlines()) == 1 + failures
    assert "no records" in (tmp_path / "j.xml").read_text()
    assert check(before, none, "--json") == 1
    shown = json.loads(capsys.readouterr().out)
    assert (len(shown["groups"]), shown["problems"]) == (2, [f"no records; make some with: {MAKE}"])


def test_junit_and_the_github_summary_escape_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "file:a<b&\"c'|d\x07"
    for folder, worse in (("old", 0.0), ("new", 0.05)):
        fill(tmp_path / folder, worse, model=name)
    check(tmp_path / "b.json", tmp_path / "old", "--update")
    save_answers(tmp_path / "new", a_run(model="third", weights="9" * 64), right_of(1))
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert check(tmp_path / "b.json", tmp_path / "new", "--junit", str(tmp_path / "out" / "junit.xml")) == 1
    suite = ET.parse(tmp_path / "out" / "junit.xml").getroot().find("testsuite")
    counts = {"tests": "5", "failures": "2", "errors": "0", "skipped": "1"}
    assert suite.attrib == {"name": "mixer-bench check", **counts}
    failing, _, skipped, together, evidence = suite.findall("testcase")
    assert name.replace("\x07", "?") in failing.get("name")
    assert failing.get("name").endswith(", seeds 0-2")
    assert failing.find("failure").get("type") == together.find("failure").get("type") == "drop"
    assert evidence.find("failure") is None
    assert evidence.find("system-out").text.startswith("baseline: made 2026-01-01")
    assert skipped.find("skipped").get("message") == "not in the baseline"
    text = summary.read_text()
    assert text.startswith("before\n### mixer-bench check")
    assert "a\\<b\\&" in text
    assert "**FAIL: accuracy dropped in 1 of 2 groups; fewshot fell by 2.5 points over 2 groups together**" in text


def test_the_edges_of_a_verdict() -> None:
    def judged(difference: float, p_drop: float, p_rise: float) -> str:
        return gate.judge([Change(difference, (-1, 1), p_drop, p_rise, 0.1)], min_drop=0.25)[0][0]

    assert [judged(-0.5, 0.01, 1), judged(-0.25, 0, 1), judged(-0.5, 0.011, 1)] == ["drop", "ok", "ok"]
    assert [judged(0.5, 1, 0.01), judged(0.25, 1, 0), judged(0.5, 1, 0.011)] == ["better", "ok", "ok"]
    pooled = gate.judge(
        [Change(-0.5, (-1, 1), p, 1, 0.1) for p in (0.004, 0.0041)], [Change(-0.5, (-1, 1), 0.002, 1, 0.1)]
    )
    assert pooled == [("drop", pytest.approx(0.01)), ("drop", pytest.approx(0.01)), ("drop", pytest.approx(0.01))]


def test_two_test_images_are_compared_one_by_one_and_json_has_these_fields() -> None:
    answers = [Answers(a_run(), 0.5, 2, "", np.array([True, False]), MADE)]
    outcome = gate.check(answers, answers)
    assert outcome.rows[0].method == gate.PAIRED
    fields = "task model protocol config limit metric seeds verdict fails baseline now difference ci95 p flipped method"
    assert {*json.loads(gate_report.as_json(outcome))["groups"][0]} == {*fields.split(), "reason"}


def test_seeds_in_a_row_are_a_range() -> None:
    assert gate_report._ranges((0, 1, 2, 5, 7, 8)) == "0-2,5,7-8"


def bare(value: float, seed: int) -> Answers:
    return Answers(a_run(seed=seed), value, 200, None, None, MADE)


@pytest.mark.parametrize(
    ("before", "now"),
    [((0.6, 0.7, 0.65), (0.5, 0.62, 0.61)), ((0.5,), (0.6,)), ((1.0, 1.0), (1.0, 1.0)), ((1.0,), (0.0,))],
)
def test_values_alone_are_two_proportions_and_the_scatter_of_seeds(before: tuple, now: tuple) -> None:
    sides = [[bare(value, seed) for seed, value in enumerate(side)] for side in (before, now)]
    (row,) = gate.check(*sides).rows
    moved = np.subtract(now, before)
    variance = sum(np.mean(side) * (1 - np.mean(side)) / 200 for side in (before, now))
    variance += np.var(moved, ddof=1) / len(moved) if len(moved) > 1 else 0
    with np.errstate(divide="ignore", invalid="ignore"):
        share = scipy_stats.norm.cdf(moved.mean() / np.sqrt(variance)) if moved.any() else 0.5
    assert (row.change.p_drop, row.change.p_rise) == pytest.approx((share, 1 - share))
    half = 1.959964 * np.sqrt(variance)
    assert row.change.ci95 == pytest.approx((max(-1, moved.mean() - half), min(1, moved.mean() + half)), abs=1e-6)


def test_rows_are_in_order_of_what_was_asked_for() -> None:
    asked = [(task, model, shots) for task in "ab" for model in "cd" for shots in (5, 10)]
    runs = [a_run(task=task, model=model, config={"shots": shots, "l2": [1.0]}) for task, model, shots in asked[::-1]]
    answers = [Answers(run, 1.0, 4, "", np.ones(4, bool), MADE) for run in runs]
    rows = gate.check(answers, answers).rows
    assert [(row.run.task, row.run.model, row.run.setting.shots) for row in rows] == asked
