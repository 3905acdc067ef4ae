"""Two models on records with known answers, from a results folder to text and exit code."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import mixer_bench
from mixer_bench.api.results import MAKE
from mixer_bench.cli import app
from mixer_bench.compare import comparison
from mixer_bench.results.record import Drawn
from mixer_bench.results.store import Store
from mixer_bench.stats import metrics, paired, ranks
from tests.builders import TOY, a_run, labels_in_turn, right_of, save_answers

TASKS = ("colours", "leaves", "birds")
B = {"model": "other", "weights": "5" * 64}


def fill(folder: Path, tasks: tuple[str, ...] = TASKS, seeds: int = 3, **changes: object) -> Path:
    for number, task in enumerate(tasks):
        for seed in range(seeds):
            run = {"task": task, "seed": seed, **changes}
            save_answers(folder, a_run(**run), right_of(seed))
            save_answers(folder, a_run(**run, **B), right_of(seed, 0.02 * (number + 1)))
    return folder


def compare(folder: Path, *more: str, names: tuple[str, ...] = ("toy", "other")) -> int:
    return app.main(["compare", *names, "--results", str(folder), *more])


def shown(folder: Path, capsys, *more: str, code: int = 0, names: tuple[str, ...] = ("toy", "other")) -> dict:
    capsys.readouterr()
    assert compare(folder, "--json", *more, names=names) == code
    return json.loads(capsys.readouterr().out)


def test_rows_are_those_of_the_paired_test_corrected_over_all(tmp_path: Path, capsys) -> None:
    values = shown(fill(tmp_path), capsys)
    a = np.array([right_of(seed) for seed in range(3)])
    expected = {
        task: paired.compare(a, np.array([right_of(seed, 0.02 * (n + 1)) for seed in range(3)]))
        for n, task in enumerate(TASKS)
    }
    adjusted = dict(zip(expected, paired.holm([result.p for result in expected.values()]), strict=True))
    assert [row["task"] for row in values["rows"]] == sorted(TASKS)
    for row in values["rows"]:
        for key in ("difference", "detectable", "p"):
            assert row[key] == pytest.approx(getattr(expected[row["task"]], key))
        assert row["p_holm"] == pytest.approx(adjusted[row["task"]])
        assert row["a"] - row["b"] == pytest.approx(row["difference"])
    (overall,) = values["overall"]
    assert (overall["wins"], overall["ties"], overall["losses"], overall["tasks"]) == (3, 0, 0, 3)
    assert overall["difference"] == pytest.approx(0.04)
    assert overall["p"] == ranks.wilcoxon([1, 2, 3], [0, 0, 0])
    back = shown(tmp_path, capsys, names=("other", "toy"))
    for row, other in zip(values["rows"], back["rows"], strict=True):
        assert (row["difference"], row["p"]) == pytest.approx((-other["difference"], other["p"]))
    assert (back["overall"][0]["wins"], back["overall"][0]["losses"]) == (0, 3)


def test_the_text_fits_and_ends_with_who_is_better(tmp_path: Path, capsys) -> None:
    assert compare(fill(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[-1].startswith("toy is better in ")


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        (("toi", "other"), [], "did you mean toy"),
        (("toy", "other"), ["--protocol", "fewshots"], "did you mean fewshot"),
        (("toy", "toy"), [], "named twice"),
    ],
)
def test_unknown_names_suggest_and_end_with_2(tmp_path: Path, names, options: list[str], said: str, capsys) -> None:
    assert compare(fill(tmp_path, ("colours",), 1), *options, names=names) == 2
    assert said in capsys.readouterr().err


def test_several_variants_of_a_name_are_refused_and_can_be_chosen(tmp_path: Path, capsys) -> None:
    fill(tmp_path)
    for seed in range(3):
        run = a_run(seed=seed, preprocessing=TOY.model_copy(update={"resolution": 16}))
        save_answers(tmp_path, run, right_of(seed))
    assert compare(tmp_path) == 2
    assert "'toy (16 px)', 'toy (8 px)'" in capsys.readouterr().err
    assert len(shown(tmp_path, capsys, names=("toy (8 px)", "other"))["rows"]) == 3
    assert len(shown(tmp_path, capsys, names=("toy (8 px)", "toy (16 px)"))["rows"]) == 1


def test_how_images_are_resized_is_the_tasks_affair_and_makes_no_variant(tmp_path: Path, capsys) -> None:
    squashed = TOY.model_copy(update={"resize": "crop" if TOY.resize == "squash" else "squash"})
    fill(fill(tmp_path, ("colours",)), ("leaves",), preprocessing=squashed)
    assert len(shown(tmp_path, capsys)["rows"]) == 2
    fill(tmp_path, ("colours",), 1, preprocessing=squashed)
    assert compare(tmp_path) == 2
    assert "resized in two ways" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("other", "settings"),
    [
        ({"task_version": 2}, ("5-shot", "5-shot")),
        ({"data": "4" * 64}, ("5-shot", "5-shot")),
        ({"subset": "resampled"}, ("5-shot", "5-shot")),
        ({"limit": 9}, ("5-shot", "5-shot")),
        ({"config": {"shots": 5, "l2": [1.0]}}, ("5-shot l2=1024", "5-shot l2=1")),
    ],
)
def test_only_like_is_compared_with_like(tmp_path: Path, other: dict, settings: tuple[str, str], capsys) -> None:
    save_answers(tmp_path, a_run(), right_of(0))
    save_answers(tmp_path, a_run(**B, **other), right_of(0))
    assert compare(tmp_path) == 1
    assert "run both" in capsys.readouterr().err
    values = shown(fill(tmp_path, ("leaves",)), capsys)
    assert [row["task"] for row in values["rows"]] == ["leaves"]
    notes = [f"only {name} has {setting} on colours" for name, setting in zip(("toy", "other"), settings, strict=True)]
    assert [note.split(" (")[0] for note in values["notes"]] == notes


def test_missing_predictions_are_named_and_the_rest_is_compared(tmp_path: Path, capsys) -> None:
    fill(tmp_path)
    lost = Store(tmp_path).place(a_run(task="birds", seed=1), ".npz")
    lost.unlink()
    values = shown(tmp_path, capsys, code=1)
    seeds = {row["task"]: row["seeds"] for row in values["rows"]}
    assert seeds == {"birds": [0, 2], "colours": [0, 1, 2], "leaves": [0, 1, 2]}
    assert str(lost) in values["problems"][0]


def test_only_shared_seeds_are_used_and_said(tmp_path: Path, capsys) -> None:
    fill(tmp_path, ("colours",))
    save_answers(tmp_path, a_run(seed=3), right_of(3))
    values = shown(tmp_path, capsys)
    assert (values["rows"][0]["seeds"], values["rows"][0]["unshared_seeds"]) == ([0, 1, 2], [3])
    assert any("seeds 3 are of one model alone" in note for note in values["notes"])


def test_seeds_that_all_drew_the_same_are_said_to_be_one(tmp_path: Path) -> None:
    fill(tmp_path, ("colours",))
    records, _ = Store(tmp_path).records()
    for images, said in ((24, True), (20, False)):
        drew = [r.model_copy(update={"drawn": Drawn(images=images, pool=24, short=3, fewest=6)}) for r in records]
        outcome = comparison.compare(drew, Store(tmp_path), "toy", "other")
        assert outcome.notes == (
            ("5-shot on colours (version 1): every seed drew all there is, so that its seeds are one",) if said else ()
        )


def test_other_examples_are_not_paired(tmp_path: Path, capsys) -> None:
    fill(tmp_path, ("colours", "leaves"))
    save_answers(tmp_path, a_run(seed=1, **B), right_of(1)[::-1], labels_in_turn()[::-1])
    for model in ({}, B):  # of both models alike, but other than with the first seed
        save_answers(tmp_path, a_run(task="leaves", seed=2, **model), right_of(1)[::-1], labels_in_turn()[::-1])
    values = shown(tmp_path, capsys, code=1)
    assert [row["seeds"] for row in values["rows"]] == [[0, 2], [0, 1]]
    assert ["not the same examples" in problem for problem in values["problems"]] == [True, True]


def test_mean_per_class_is_weighted_and_macro_f1_not_paired(tmp_path: Path, capsys) -> None:
    truth = np.r_[np.zeros(300, int), np.ones(294, int), np.full(6, 2)]
    right, worse = np.ones(600, bool), np.arange(600) < 597
    for metric in ("mean_per_class", "macro_f1"):
        save_answers(tmp_path, a_run(metric=metric), right, truth)
        save_answers(tmp_path, a_run(metric=metric, **B), worse, truth)
    values = shown(tmp_path, capsys, code=1)
    (row,) = values["rows"]
    expected = paired.compare(right[None], worse[None], metrics.get("mean_per_class").example_weights(truth))
    assert row["difference"] == pytest.approx(0.5 / 3)
    assert row["p"] == pytest.approx(expected.p)
    assert "macro_f1 is no mean over test images" in values["problems"][0]


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
    assert capsys.readouterr().err == f"error: no records in {tmp_path / 'none'}; make some with: {MAKE}\n"


def test_p_over_tasks_is_corrected_over_settings(tmp_path: Path, capsys) -> None:
    tasks = tuple(f"task{number}" for number in range(6))
    for shots in (5, 10, 25):
        fill(tmp_path, tasks, 1, config={"shots": shots, "l2": [1024.0]})
    overall = shown(tmp_path, capsys)["overall"]
    assert [summary["p"] for summary in overall] == [ranks.wilcoxon(range(1, 7), [0] * 6)] * 3
    assert [summary["p_holm"] for summary in overall] == paired.holm([summary["p"] for summary in overall])
    assert compare(tmp_path) == 0
    text = capsys.readouterr().out
    assert "over tasks: Wilcoxon's signed-rank test, corrected over all settings (Holm)" in " ".join(text.split())
    cells = [line.split() for line in text.splitlines() if line.lstrip().startswith(("5-shot", "10-shot", "25-shot"))]
    assert [row[-1] for row in cells] == [f"{summary['p_holm']:.2g}" for summary in overall]


def test_a_task_in_two_versions_is_in_no_summary(tmp_path: Path, capsys) -> None:
    fill(fill(tmp_path, seeds=1), ("leaves",), 1, task_version=2)
    values = shown(tmp_path, capsys)
    assert (len(values["rows"]), values["overall"]) == (4, [])


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path, capsys) -> None:
    name = "a\x1b[31m\nb"
    save_answers(tmp_path, a_run(), right_of(0))
    save_answers(tmp_path, a_run(model=name, weights="5" * 64), right_of(1))
    for names in (("toy", name), ("toy", "none")):
        compare(tmp_path, names=names)
        said = "".join(capsys.readouterr())
        assert "\x1b" not in said
        assert "a?[31m b" in said


def of_protocols(folder: Path) -> np.ndarray:
    """Records of one model: three seeds of finetune, and linear's one run, which is wrong more often."""
    tuned = np.array([right_of(0), right_of(0, 0.01), right_of(0, 0.02)])
    for seed, right in enumerate(tuned):
        save_answers(folder, a_run(protocol="finetune", config={"steps": 10}, seed=seed), right)
    save_answers(folder, a_run(protocol="linear", config={"C": [1.0]}), right_of(0, 0.1))
    return tuned


def test_two_protocols_of_a_model_are_paired_and_a_run_without_seeds_is_every_seeds(tmp_path: Path, capsys) -> None:
    tuned = of_protocols(tmp_path)
    values = shown(tmp_path, capsys, "--protocols", "finetune,linear", names=("toy",))
    (row,) = values["rows"]
    expected = paired.compare(tuned, np.array([right_of(0, 0.1)] * 3))
    assert (values["model"], values["a"], values["b"]) == ("toy", "finetune", "linear")
    assert row["difference"] == pytest.approx(0.7 * 0.1 / 0.7 - 0.01)
    assert (row["p"], row["method"]) == (pytest.approx(expected.p), paired.CROSSED)
    assert (row["seeds"], row["unshared_seeds"], row["verdict"]) == ([0, 1, 2], [], "better")
    turned = shown(tmp_path, capsys, "--protocols", "linear,finetune", names=("toy",))
    assert turned["rows"][0]["difference"] == pytest.approx(-row["difference"])
    assert (turned["rows"][0]["verdict"], turned["rows"][0]["seeds"]) == ("worse", [0, 1, 2])
    assert mixer_bench.compare("toy", results=tmp_path, protocols=["finetune", "linear"]).rows[0].verdict == "better"


def test_what_a_row_means_is_said_in_words(tmp_path: Path, capsys) -> None:
    of_protocols(tmp_path)
    assert compare(tmp_path, "--protocols", "linear,finetune", names=("toy",)) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "A = linear, B = finetune, of toy" in said
    assert "finetune is better than linear by 9.0 points (" in said
    assert "on 600 test images, 3 seeds" in said
    fill(tmp_path / "equal", ("colours",), 1)
    for seed in (0, 1):
        save_answers(tmp_path / "equal", a_run(seed=seed, **B), right_of(seed, 0.001))
    assert compare(tmp_path / "equal") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "toy and other cannot be told apart on 600 test images: A - B is " in said
    assert "toy is better in 0 of 1 rows, other in 0, and 1 do not tell" in said


@pytest.mark.parametrize(
    ("names", "arguments", "words"),
    [
        (("toy",), ["--protocols", "linear"], "name two, such as finetune,linear"),
        (("toy",), ["--protocols", "linear,knn"], "unknown protocol of the records 'knn'"),
        (("toy",), [], "name two models, or one and --protocols"),
        (("toy", "other"), ["--protocols", "linear,finetune"], "name two models, or one and --protocols"),
    ],
)
def test_what_is_no_pair_of_protocols_is_one_line(tmp_path: Path, capsys, names, arguments, words: str) -> None:
    of_protocols(tmp_path)
    assert compare(tmp_path, *arguments, names=names) == 2
    assert words in capsys.readouterr().err


def test_notes_take_no_more_lines_than_rows_and_colours_are_a_terminals(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, ("colours",), seeds=1)
    for number in range(30):
        save_answers(tmp_path, a_run(task=f"alone{number}"), right_of(0))
    values = shown(tmp_path, capsys)
    assert (len(values["notes"]), len(values["legend"])) == (30, 4), "JSON has all"
    assert compare(tmp_path) == 0
    plain = capsys.readouterr().out
    assert plain.count("only toy has") == 1 and "more notes: compare --json" in plain
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert compare(tmp_path) == 0
    assert re.sub("\x1b\\[[0-9;]*m", "", text := capsys.readouterr().out) == plain != text
