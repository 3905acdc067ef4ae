"""Formats of others: what their own readers make of them, and several results folders read as one."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

import mixer_bench
from mixer_bench.cli import app
from mixer_bench.errors import ResultsError, UsageError
from mixer_bench.report.figures import answers
from mixer_bench.report.formats import html, sheet
from mixer_bench.results.record import Measured
from mixer_bench.results.store import Predictions, Store
from tests.builders import ANSWERS, CLASSES, a_profile, a_record, a_run, labels_in_turn, right_of, tables_of

COMMIT = "0123456789abcdef" * 2 + "01234567"
HUB = f"hub uoft-cs/cifar10, plain_text at {COMMIT}"
STRANGE = '../"it": [x]\n# & *y\u202e@{{{\n---\n'
SHOWN = '../"it": [x] # & *y?@{{{ ---'
EEE = importlib.util.find_spec("every_eval_ever")


def save(folder: Path, source: str, worse: float = 0.0, **changes: Any) -> None:
    """Keep a run with its predictions, of images from ``source``."""
    run = a_run(**changes)
    label, right = labels_in_turn(), right_of(run.seed, worse + 0.01 * run.seed)
    value = float(right.mean())
    metrics = {"top1": Measured(value=value, ci95=(value - 0.04, value + 0.03))}
    record = a_record(run=run, metrics=metrics, n_test=ANSWERS, num_classes=CLASSES, source=source)
    kept = Predictions(label, np.where(right, label, (label + 1) % CLASSES), np.ones(ANSWERS, np.float32))
    Store(folder).save(record, kept)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models on images of the hub, one of them with a name that breaks what is not escaped; and what is less."""
    place = tmp_path_factory.mktemp("results")
    for model in ("toy", STRANGE):
        for seed in range(2):
            save(place, HUB, model=model, weights=hashlib.sha256(model.encode()).hexdigest(), task="cifar10", seed=seed)
    save(place, "made by the test", 0.2, model="other", weights="9" * 64, task="own/a task", subset="resampled")
    save(place, HUB, 0.1, model="other", weights="9" * 64, task="cifar10", limit=600)
    Store(place).save_profile(a_profile())
    return place


def mean(folder: Path, model: str) -> float:
    records = [record for record in Store(folder).records()[0] if record.run.model == model]
    return float(np.mean([record.metrics["top1"].value for record in records]))


def test_model_cards_are_read_by_the_hubs_own_library(folder: Path, tmp_path: Path, capsys) -> None:
    mixer_bench.report(folder, format="model-card", output=tmp_path)
    assert "2 results are in README.md alone, not in .eval_results: not on a published" in capsys.readouterr().err
    # Names of strangers name a folder here, and lead nowhere else.
    places = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    entries = ".eval_results/mixer-bench.yaml"
    strange = next(tmp_path.glob(".._it*")).name
    assert places == {f"{name}/README.md" for name in (strange, "toy", "other")} | {
        f"{name}/{entries}" for name in (strange, "toy")
    }
    cards = {place.parent.name: ModelCard.load(place) for place in tmp_path.glob("*/README.md")}
    assert cards[strange].data.model_name == SHOWN
    for name, model in ((strange, STRANGE), ("toy", "toy")):
        (result,) = cards[name].data.eval_results
        assert result.metric_value == pytest.approx(mean(folder, model), abs=1e-6)
        assert (result.task_type, result.metric_type) == ("image-classification", "accuracy")
        assert (result.dataset_type, result.dataset_config, result.dataset_split) == (
            "uoft-cs/cifar10",
            "plain_text",
            "test",
        )
        assert (result.dataset_revision, result.metric_name) == (COMMIT, "top-1 accuracy, fewshot 5-shot")
        assert result.metric_args["config"] == {"shots": 5, "l2": [1024.0]}
        assert (result.metric_args["seeds"], result.metric_args["interval_over"]) == ([0, 1], "2 seeds")
        (entry,) = parse_eval_result_entries(yaml.safe_load((tmp_path / name / entries).read_text(encoding="utf-8")))
        assert (entry.dataset_id, entry.task_id, entry.dataset_revision) == ("uoft-cs/cifar10", "cifar10", COMMIT)
        assert entry.value == result.metric_value
        low, high = result.metric_args["ci95"]
        assert f"fewshot 5-shot; 95 % interval {low:.4f} to {high:.4f} over 2 seeds" in entry.notes
        assert entry.source_url == result.source_url
    withheld = {result.dataset_name: result.dataset_type for result in cards["other"].data.eval_results}
    assert withheld == {
        "cifar10 (limited to 600 a split)": "uoft-cs/cifar10",
        "own/a task (resampled)": "mixer-bench/own/a task",
    }


def test_what_a_model_saw_in_pretraining_is_said_and_not_entered(tmp_path: Path) -> None:
    save(tmp_path / "r", HUB, model="mixer_b16_in1k", task="imagenet")
    mixer_bench.report(tmp_path / "r", format="model-card", output=tmp_path / "cards")
    (card,) = (tmp_path / "cards").rglob("*.*")
    (result,) = ModelCard.load(card).data.eval_results
    assert result.metric_args["remarks"] == [
        "images of the task, or of one of the tasks, were among those of pre-training"
    ]


def eee(folder: Path, output: Path) -> list[tuple[Path, dict[str, Any]]]:
    mixer_bench.report(folder, format="eee-samples", output=output)
    return [(file, json.loads(file.read_text(encoding="utf-8"))) for file in sorted(output.rglob("*.json"))]


def test_every_eval_ever_has_each_result_with_its_interval_and_its_samples(folder: Path, tmp_path: Path) -> None:
    logs = eee(folder, tmp_path)
    assert {(log["model_info"]["name"], len(log["evaluation_results"])) for _, log in logs} == {
        (SHOWN, 1),
        ("toy", 1),
        ("other", 1),
    }
    assert len(logs) == 4, "a file for each model and variant of a task"
    for file, log in logs:
        place = file.relative_to(tmp_path).as_posix()
        uuid = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
        assert re.fullmatch(rf"data/mixer-bench/{re.escape(log['model_info']['id'])}/{uuid}\.json", place)
        detailed = log["detailed_evaluation_results"]
        assert detailed["file_path"] == place.removesuffix(".json") + "_samples.jsonl"
        content = (tmp_path / detailed["file_path"]).read_bytes()
        assert detailed["checksum"] == hashlib.sha256(content).hexdigest()
        scores: dict[str, list[float]] = defaultdict(list)
        for line in map(json.loads, content.decode().splitlines()):
            assert (line["evaluation_id"], line["model_id"]) == (log["evaluation_id"], log["model_info"]["id"])
            scores[line["evaluation_result_id"]].append(line["evaluation"]["score"])
            assert (line["input"]["reference"] == line["output"]["raw"]) == line["evaluation"]["is_correct"]
        assert detailed["total_rows"] == sum(map(len, scores.values()))
        for result in log["evaluation_results"]:
            details = result["score_details"]
            told = scores.pop(result["evaluation_result_id"])
            assert len(told) == ANSWERS * len(details["details"].keys() & {"seed 0", "seed 1"})
            assert details["score"] == pytest.approx(np.mean(told), abs=1e-6)
            interval = details["uncertainty"]["confidence_interval"]
            assert interval["lower"] < details["score"] < interval["upper"]
        assert not scores


def test_the_same_records_give_the_same_files_and_gone_predictions_are_an_error(folder: Path, tmp_path: Path) -> None:
    first, again = eee(folder, tmp_path / "a"), eee(folder, tmp_path / "b")
    assert [log for _, log in first] == [log for _, log in again]
    save(tmp_path / "r", HUB)
    next((tmp_path / "r").rglob("*.npz")).unlink()
    with pytest.raises(ResultsError, match="no predictions"):
        eee(tmp_path / "r", tmp_path / "c")


def test_a_file_of_every_eval_ever_lies_in_its_place_whatever_else_is_reported(tmp_path: Path) -> None:
    save(tmp_path / "r", HUB)
    mixer_bench.report(tmp_path / "r", format="eee", output=tmp_path / "alone")
    (alone,) = (tmp_path / "alone").rglob("*.json")
    save(tmp_path / "r", HUB, weights="8" * 64)  # now tables call the two models "toy (...)"
    mixer_bench.report(tmp_path / "r", format="eee", output=tmp_path / "both")
    assert (tmp_path / "both" / alone.relative_to(tmp_path / "alone")).read_bytes() == alone.read_bytes()
    assert len(list((tmp_path / "both").rglob("*.json"))) == 2


def test_what_an_earlier_export_left_is_not_taken_for_this_one(tmp_path: Path, capsys) -> None:
    run = {"model": "toy", "task": "cifar10"}
    save(tmp_path / "r", HUB, seed=0, **run)
    for format in ("eee", "model-card"):
        mixer_bench.report(tmp_path / "r", format=format, output=tmp_path / format)
    entries = tmp_path / "model-card" / "toy" / ".eval_results" / "mixer-bench.yaml"
    assert entries.is_file()
    mixer_bench.report(tmp_path / "r", format="eee", output=tmp_path / "eee")
    assert "before" not in capsys.readouterr().err
    (earlier,) = (tmp_path / "eee").rglob("*.json")
    save(tmp_path / "r", HUB, seed=1, **run)
    mixer_bench.report(tmp_path / "r", format="eee", output=tmp_path / "eee")
    assert f"note: 1 files of other runs were there before and are left, as {earlier}" in capsys.readouterr().err
    save(tmp_path / "limited", HUB, limit=600, **run)
    mixer_bench.report(tmp_path / "limited", format="model-card", output=tmp_path / "model-card")
    assert not entries.exists()


@pytest.mark.parametrize(
    ("task", "subset", "source", "split"),
    [
        ("vtab/clevr_count", "official", f"hub dpdl-benchmark/clevr at {COMMIT}", None),  # there it is "validation"
        ("imagenet", "resampled", f"hub ILSVRC/imagenet-1k at {COMMIT}", None),
        ("hf/owner/name", "resampled", f"hub owner/name at {COMMIT}; train, val, test drawn", None),
        ("pets", "official", f"hub timm/oxford-iiit-pet at {COMMIT}", "test"),
        ("imagenet", "official", "imagenet/val", "test"),  # the task's own
    ],
)
def test_a_card_names_no_split_that_the_hub_has_not(
    task: str, subset: Any, source: str, split: str | None, tmp_path: Path
) -> None:
    save(tmp_path / "r", source, task=task, subset=subset)
    mixer_bench.report(tmp_path / "r", format="model-card", output=tmp_path / "cards")
    (result,) = ModelCard.load(next((tmp_path / "cards").rglob("README.md"))).data.eval_results
    assert result.dataset_split == split


@pytest.mark.skipif(EEE is None, reason="needs every-eval-ever (Python 3.12), pip install --no-deps is enough")
def test_every_eval_ever_s_own_schemas_take_it(folder: Path, tmp_path: Path) -> None:
    import jsonschema

    schemas = Path(EEE.origin).parent / "schemas"
    kinds = {".json": "eval.schema.json", ".jsonl": "instance_level_eval.schema.json"}
    read = {suffix: json.loads((schemas / name).read_text(encoding="utf-8")) for suffix, name in kinds.items()}
    for file, log in eee(folder, tmp_path):
        jsonschema.validate(log, read[".json"])
        samples = file.with_name(f"{file.stem}_samples.jsonl").read_text(encoding="utf-8")
        jsonschema.validate(json.loads(samples.partition("\n")[0]), read[".jsonl"])


def test_parquet_holds_what_csv_does_with_values_in_place_of_texts(folder: Path, tmp_path: Path) -> None:
    asked = ["report", "--results", str(folder), "--baseline", "toy", "--format"]
    for kind in ("csv", "parquet"):
        assert app.main([*asked, kind, "--output", str(tmp_path / kind)]) == 0
    table = pd.read_parquet(tmp_path / "parquet")
    with (tmp_path / "csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(table.columns) == list(lines[0])
    assert len(table) == len(lines) > 4
    for row, line in zip(table.to_dict("records"), lines, strict=True):
        for name, value in row.items():
            text = line[name]
            if text == "" or pd.isna(value):
                assert text == "" and pd.isna(value), name
            elif isinstance(value, float) and name not in sheet.WHOLE:
                assert float(text) == pytest.approx(value, rel=1e-3, abs=5e-7), name
            else:
                assert text == str(int(value) if name in sheet.WHOLE else value), name
    assert table["mean"].dtype == np.float64
    assert table["model"].tolist().count(SHOWN) == 1 + 1  # and its difference from the baseline
    assert tuple(table.columns) == sheet.COLUMNS


@pytest.mark.parametrize("kind", ["parquet", "model-card", "eee", "eee-samples"])
def test_what_is_no_text_goes_to_no_terminal(kind: str, folder: Path, capsys) -> None:
    assert app.main(["report", "--results", str(folder), "--format", kind]) == 2
    assert "name it with --output" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["model-card", "eee"])
def test_results_themselves_have_no_differences(kind: Any, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="csv has the differences"):
        mixer_bench.report(folder, format=kind, output=tmp_path / "o", baseline="toy")
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="name another folder"):
        mixer_bench.report(folder, format=kind, output=tmp_path / "file")


def test_no_records_are_a_parquet_file_of_typed_columns(tmp_path: Path) -> None:
    with (tmp_path / "t").open("wb") as file:
        sheet.write_parquet([], file)
    assert pd.read_parquet(tmp_path / "t").dtypes["mean"] == np.float64
    (table,) = tables_of([a_record(0.5)])
    assert len(list(sheet.lines([table]))) == 1


def test_several_folders_are_one_and_a_run_in_two_counts_once(tmp_path: Path, capsys, monkeypatch) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    save(one, HUB, seed=0)
    for seed in (0, 1):
        save(two, HUB, seed=seed)
    Store(two).save_failure(a_run(seed=2), FloatingPointError("no number"))
    Store(one).save_failure(a_run(seed=1), FloatingPointError("no number"))  # it succeeded in the other
    frame = mixer_bench.load_results([one, two])
    top1 = frame[frame["metric"] == "top1"].set_index("seed")["folder"]
    assert top1.to_dict() == {0: str(one), 1: str(two)}
    asked = ["report", "--results", str(one), "--results", str(two)]
    assert app.main(asked) == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == f"2 records in {one / 'runs'} and {two / 'runs'}"
    assert shown.err.count("failed: ") == 1
    assert app.main([*asked, "--format", "json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert {row["folder"] for row in rows} == {str(one), str(two)}
    with pytest.raises(UsageError, match="html is written to a file"):
        mixer_bench.report([one, two], format="html")
    monkeypatch.setattr(answers, "questions", lambda *_: [])
    monkeypatch.setattr(html, "write", lambda *told: str(told[5:7]))  # what failed, and the page's name
    page = mixer_bench.report([one, two], format="html", output=tmp_path / "page.html").text
    assert page.startswith("(['two/runs/colours/toy/fewshot-")
    assert page.endswith("'one, two')")


def test_of_a_run_that_two_folders_tell_otherwise_the_first_is_used_and_both_are_named(tmp_path: Path, capsys) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    save(one, HUB)
    save(two, HUB, worse=0.1)
    assert app.main(["report", "--results", str(one), "--results", str(two), "--format", "csv"]) == 1
    shown = capsys.readouterr()
    assert "0.700000" in shown.out
    assert f"warning: {next(two.rglob('fewshot*.json'))}: not what {next(one.rglob('fewshot*.json'))} says" in shown.err
    with pytest.raises(ResultsError, match="the latter is used"):
        mixer_bench.load_results([one, two])
    with pytest.raises(UsageError, match="name one at least"):
        mixer_bench.load_results([])


def test_a_folder_named_twice_is_one_and_one_without_results_is_named(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path("one"), HUB)
    Store(Path("one")).save_failure(a_run(seed=2), FloatingPointError("no number"))
    asked = ["report", "--results", "one", "--results"]
    for again in ("one", "./one", str(tmp_path / "one"), "one/../one"):
        assert app.main([*asked, again]) == 1
        shown = capsys.readouterr()
        assert shown.out.splitlines()[-1] == f"1 records in {Path('one', 'runs')}"
        assert shown.err.count("failed: ") == 1
    assert app.main([*asked, "typo"]) == 1
    assert "warning: typo: no results folder: it has neither runs nor profiles" in capsys.readouterr().err
    Store(Path("profiled")).save_profile(a_profile())
    assert app.main([*asked, "profiled"]) == 1
    assert "warning" not in capsys.readouterr().err
    assert app.main(["report", "--results", "one", "--task", "cifar10", "--format", "csv"]) == 2
    assert "chooses no results" in capsys.readouterr().err
