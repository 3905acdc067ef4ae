"""Two models on records with known answers, from a results folder to text and exit code."""

import json
from pathlib import Path

import numpy as np
import pytest

from mixer_bench.cli import app, check
from mixer_bench.results.store import Store
from mixer_bench.stats import metrics, paired, ranks
from tests.builders import TOY, a_run, right_of
from tests.builders import labels_in_turn as label
from tests.builders import save_answers as save

TASKS = ("colours", "leaves", "birds")
B = {"model": "other", "weights": "5" * 64}


def fill(folder: Path, tasks: tuple[str, ...] = TASKS, seeds: int = 3, **changes: object) -> Path:
    for number, task in enumerate(tasks):
        for seed in range(seeds):
            run = {"task": task, "seed": seed, **changes}
            save(folder, a_run(**run), right_of(seed))
            save(folder, a_run(**run, **B), right_of(seed, 0.02 * (number + 1)))
    return folder


def compare(folder: Path, *more: str, names: tuple[str, str] = ("toy", "other")) -> int:
    return app.main(["compare", *names, "--results", str(folder), *more])


def shown(folder: Path, capsys, *more: str, code: int = 0) -> dict:
    assert compare(folder, "--json", *more) == code
    return json.loads(capsys.readouterr().out)


def test_rows_are_those_of_the_paired_test_corrected_over_all(tmp_path: Path, capsys) -> None:
    found = shown(fill(tmp_path), capsys)
    a = np.array([right_of(seed) for seed in range(3)])
    expected = {
        task: paired.compare(a, np.array([right_of(seed, 0.02 * (n + 1)) for seed in range(3)]))
        for n, task in enumerate(TASKS)
    }
    adjusted = dict(zip(expected, paired.holm([one.p for one in expected.values()]), strict=True))
    assert [row["task"] for row in found["rows"]] == sorted(TASKS)
    for row in found["rows"]:
        assert row["difference"] == pytest.approx(expected[row["task"]].difference)
        assert row["detectable"] == pytest.approx(expected[row["task"]].detectable)
        assert row["p"] == pytest.approx(expected[row["task"]].p)
        assert row["p_holm"] == pytest.approx(adjusted[row["task"]])
        assert row["a"] - row["b"] == pytest.approx(row["difference"])
    (overall,) = found["overall"]
    assert (overall["wins"], overall["ties"], overall["losses"], overall["tasks"]) == (3, 0, 0, 3)
    assert overall["difference"] == pytest.approx(0.04)
    assert overall["p"] == ranks.wilcoxon([1, 2, 3], [0, 0, 0])


def test_the_text_fits_and_ends_with_who_is_better(tmp_path: Path, capsys) -> None:
    assert compare(fill(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[-1].startswith("toy is better in ")


def test_the_other_way_round_it_is_the_negative(tmp_path: Path, capsys) -> None:
    fill(tmp_path)
    forth = shown(tmp_path, capsys)
    compare(tmp_path, "--json", names=("other", "toy"))
    back = json.loads(capsys.readouterr().out)
    for row, other in zip(forth["rows"], back["rows"], strict=True):
        assert row["difference"] == pytest.approx(-other["difference"])
        assert row["p"] == pytest.approx(other["p"])


def test_unknown_names_suggest_and_end_with_2(tmp_path: Path, capsys) -> None:
    fill(tmp_path)
    assert compare(tmp_path, names=("toi", "other")) == 2
    assert "did you mean toy" in capsys.readouterr().err
    assert compare(tmp_path, "--protocol", "fewshots") == 2
    assert "did you mean fewshot" in capsys.readouterr().err
    assert compare(tmp_path, names=("toy", "toy")) == 2


def test_several_variants_of_a_name_are_refused_and_can_be_chosen(tmp_path: Path, capsys) -> None:
    fill(tmp_path)
    for seed in range(3):
        save(tmp_path, a_run(seed=seed, preprocessing=TOY.model_copy(update={"resolution": 16})), right_of(seed))
    assert compare(tmp_path) == 2
    error = capsys.readouterr().err
    assert "'toy (16 px)', 'toy (8 px)'" in error
    assert compare(tmp_path, "--json", names=("toy (8 px)", "other")) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 3
    assert compare(tmp_path, "--json", names=("toy (8 px)", "toy (16 px)")) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"task_version": 2},
        {"data": "4" * 64},
        {"subset": "resampled"},
        {"limit": 9},
        {"config": {"shots": 5, "l2": [1.0]}},
    ],
)
def test_only_like_is_compared_with_like(tmp_path: Path, other: dict, capsys) -> None:
    fill(tmp_path, ("leaves",))
    save(tmp_path, a_run(), right_of(0))
    save(tmp_path, a_run(**B, **other), right_of(0))
    found = shown(tmp_path, capsys)
    assert [row["task"] for row in found["rows"]] == ["leaves"]
    assert [note.split(" has ")[0] for note in found["notes"]] == ["only toy", "only other"]


def test_nothing_in_common_is_an_error(tmp_path: Path, capsys) -> None:
    save(tmp_path, a_run(), right_of(0))
    save(tmp_path, a_run(**B, limit=9), right_of(0))
    assert compare(tmp_path) == 1
    assert "run both" in capsys.readouterr().err


def test_missing_predictions_are_named_and_the_rest_is_compared(tmp_path: Path, capsys) -> None:
    fill(tmp_path)
    lost = Store(tmp_path).place(a_run(task="birds", seed=1), ".npz")
    lost.unlink()
    found = shown(tmp_path, capsys, code=1)
    assert [(row["task"], row["seeds"]) for row in found["rows"]] == [
        ("birds", [0, 2]),
        ("colours", [0, 1, 2]),
        ("leaves", [0, 1, 2]),
    ]
    assert str(lost) in found["problems"][0]


def test_only_shared_seeds_are_used_and_said(tmp_path: Path, capsys) -> None:
    fill(tmp_path, ("colours",))
    save(tmp_path, a_run(seed=3), right_of(3))
    found = shown(tmp_path, capsys)
    assert (found["rows"][0]["seeds"], found["rows"][0]["unshared_seeds"]) == ([0, 1, 2], [3])
    assert any("seeds 3 are of one model alone" in note for note in found["notes"])


def test_other_examples_are_not_paired(tmp_path: Path, capsys) -> None:
    fill(tmp_path, ("colours", "leaves"))
    save(tmp_path, a_run(seed=1, **B), right_of(1)[::-1], label()[::-1])
    found = shown(tmp_path, capsys, code=1)
    assert found["rows"][0]["seeds"] == [0, 2]
    assert "not the same examples" in found["problems"][0]


def test_mean_per_class_is_weighted(tmp_path: Path, capsys) -> None:
    truth = np.r_[np.zeros(300, int), np.ones(294, int), np.full(6, 2)]
    right = np.ones(600, bool)
    worse = right.copy()
    worse[-3:] = False
    save(tmp_path, a_run(metric="mean_per_class"), right, truth)
    save(tmp_path, a_run(metric="mean_per_class", **B), worse, truth)
    row = shown(tmp_path, capsys)["rows"][0]
    expected = paired.compare(right[None], worse[None], metrics.get("mean_per_class").example_weights(truth))
    assert row["difference"] == pytest.approx(0.5 / 3)
    assert row["p"] == pytest.approx(expected.p)


def test_damaged_files_are_named_before_a_model_is_unknown(tmp_path: Path, capsys) -> None:
    fill(tmp_path, ("colours",), seeds=1)
    spoiled = Store(tmp_path).place(a_run(**B), ".json")
    spoiled.write_text("{")
    assert compare(tmp_path) == 1
    lines = capsys.readouterr().err.splitlines()
    assert str(spoiled) in lines[0]
    assert "unknown model of the records 'other'" in lines[1]
    Store(tmp_path).place(a_run(), ".json").write_text("{")
    assert compare(tmp_path) == 1
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_an_empty_folder_has_no_records(tmp_path: Path, capsys) -> None:
    assert compare(tmp_path / "none") == 1
    assert capsys.readouterr().err == f"error: no records in {tmp_path / 'none'}; make some with: {check.MAKE}\n"


def test_p_over_tasks_is_corrected_over_settings(tmp_path: Path, capsys) -> None:
    tasks = tuple(f"task{number}" for number in range(6))
    for shots in (5, 10, 25):
        fill(tmp_path, tasks, 1, config={"shots": shots, "l2": [1024.0]})
    overall = shown(tmp_path, capsys)["overall"]
    assert [one["p"] for one in overall] == [ranks.wilcoxon(range(1, 7), [0] * 6)] * 3
    assert [one["p_holm"] for one in overall] == paired.holm([one["p"] for one in overall])
    assert overall[0]["p_holm"] == pytest.approx(3 * overall[0]["p"])
    assert compare(tmp_path) == 0
    text = capsys.readouterr().out
    assert "over tasks: Wilcoxon's signed-rank test, corrected over all settings (Holm)" in text
    summary = [line.split() for line in text.splitlines() if line.lstrip().startswith(("5-shot", "10-shot", "25-shot"))]
    assert [cells[-1] for cells in summary] == [f"{one['p_holm']:.2g}" for one in overall]


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path, capsys) -> None:
    name = "a\x1b[31m\nb"
    save(tmp_path, a_run(), right_of(0))
    save(tmp_path, a_run(model=name, weights="5" * 64), right_of(1))
    for names in (("toy", name), ("toy", "none")):
        compare(tmp_path, names=names)
        said = "".join(capsys.readouterr())
        assert "\x1b" not in said
        assert "a?[31m b" in said
