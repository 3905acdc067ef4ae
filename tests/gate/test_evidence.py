"""The gate passes on evidence of the installed code alone, and says what either side was made with."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from mixer_bench.cli import app
from mixer_bench.gate import baseline
from mixer_bench.results.store import Store
from mixer_bench.system import code
from tests.builders import a_run, resealed, right_of, save_answers

SEEDS = 3
ELSEWHERE = {"mixer-bench": "0.0.9", "commit": "abc", "torch": "2.11.0", "pillow": "11.0.0", "numpy": "2.0.0"}
HERE = {"mixer-bench": "0.1.0", "torch": "2.14.0", "pillow": "11.0.0", "numpy": "2.3.0"}


def filled(folder: Path, **changes: object) -> Path:
    """Records of three seeds, with fields changed as another program would have written them."""
    for seed in range(SEEDS):
        place = save_answers(folder, a_run(seed=seed), right_of(seed))
        place.write_text(resealed(json.dumps({**json.loads(place.read_text()), **changes})))
    return folder


def check(file: Path, folder: Path, *more: str) -> int:
    return app.main(["check", str(file), "--results", str(folder), *more])


@pytest.fixture
def before(tmp_path: Path) -> Path:
    old = filled(tmp_path / "old", environment=ELSEWHERE, created="2026-02-03T00:00:00+00:00")
    assert check(tmp_path / "baseline.json", old, "--update") == 0
    return tmp_path / "baseline.json"


def other_code() -> dict[str, str]:
    return {**code.installed("fewshot"), "pixels": "0" * 12}


@pytest.mark.parametrize(
    ("made_with", "where"),
    [(other_code(), "pixels"), ({**other_code(), "networks": "0" * 12}, "networks, pixels")],
)
def test_results_of_other_code_fail_though_no_answer_differs(
    before: Path, tmp_path: Path, made_with: object, where: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    new, junit, summary = filled(tmp_path / "new", code=made_with), tmp_path / "junit.xml", tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    capsys.readouterr()
    assert check(before, new, "--junit", str(junit)) == 1
    said = f"3 of 3 runs of the results were made by other code than is installed ({where})"
    shown = " ".join(capsys.readouterr().out.split())
    assert f"not evidence: {said}: do them again, mixer-bench run ... --fresh" in shown
    assert "1 groups: predictions identical" in shown
    assert shown.endswith("FAIL: 3 runs made by other code than is installed")
    failure = ET.parse(junit).getroot().find(".//testcase[@classname='evidence']/failure")
    assert said in failure.get("message")
    assert ET.parse(junit).getroot().get("failures") == "1"
    text = summary.read_text()
    assert "made by other code than is installed" in text
    assert "**FAIL: 3 runs" in text
    assert check(before, new, "--json") == 1
    outcome = json.loads(capsys.readouterr().out)
    assert not outcome["passed"]
    assert said in outcome["stale"][0]
    assert set(outcome["made"]["results"]["other_code"]) == set(where.split(", "))


def test_each_side_says_what_it_was_made_with_and_in_what_they_differ(before: Path, tmp_path: Path, capsys) -> None:
    new = filled(tmp_path / "new", environment=HERE, extraction_environment={**HERE, "torch": "2.12.0"})
    assert check(before, new) == 0
    shown = " ".join(capsys.readouterr().out.split())
    installed = "the code that is installed"
    assert f"baseline: made 2026-02-03 by mixer-bench 0.0.9 at abc, {installed}, torch 2.11.0, Pillow 11.0.0" in shown
    assert f"results: made 2026-01-01 by mixer-bench 0.1.0, {installed}, torch 2.12.0 and 2.14.0, Pillow" in shown
    assert "made with, besides: numpy 2.0.0 -> 2.3.0" in shown


def test_a_baseline_keeps_what_its_runs_were_made_with(before: Path) -> None:
    for answers in baseline.read(before):
        assert answers.made.environment == ELSEWHERE
        assert (answers.made.code, answers.made.day) == (code.installed("fewshot"), "2026-02-03")


def test_a_baseline_that_names_nothing_that_made_it_is_damaged(before: Path, tmp_path: Path, capsys) -> None:
    content = json.loads(before.read_text())
    content["groups"][0]["made"] = 1
    before.write_text(resealed(json.dumps(content)))
    assert check(before, tmp_path / "old") == 1
    assert "not a whole baseline" in capsys.readouterr().err

    text = before.read_text()
    assert check(before, filled(tmp_path / "new", code=other_code()), "--update") == 1
    error = capsys.readouterr().err
    assert "3 of 3 runs of the results were made by other code than is installed (pixels)" in error
    assert "left as it was" in error
    assert before.read_text() == text


def test_a_change_of_one_protocol_makes_no_other_stale(before: Path, tmp_path: Path) -> None:
    """The digests of a record are those of its own protocol."""
    (record, *_), _ = Store(filled(tmp_path / "new")).records()
    assert set(record.code) == {"pixels", "networks", "data", "metrics", "fewshot"}
    assert code.differing({**record.code, "fewshot": "0" * 12}, "fewshot") == ["fewshot"]
    measuring = {name for name, concern in code.concerns().items() if not concern.verdict}
    assert set(code.installed("lora")) == measuring, "one of another package may build on any of ours"
