"""The command line end to end on the embedded tasks, with the models that need no checkpoint."""

import dataclasses
import json
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

import mixer_bench
from mixer_bench import protocols
from mixer_bench.cli import app
from mixer_bench.errors import MixerBenchError
from mixer_bench.models import names
from mixer_bench.protocols.base import Fitted
from mixer_bench.results.store import Store, read_record
from mixer_bench.runs.speeds import Measured, Speeds
from tests.builders import a_run, right_of, save_answers
from tests.cli.commands import LIMITED, RUN, run


def test_run_then_report_then_nothing_to_do(tmp_path: Path, capsys) -> None:
    assert run(tmp_path) == 0
    shown = capsys.readouterr()
    assert "4 runs done, 0 failed; 180 images through a network" in shown.err
    assert shown.err.splitlines()[-1].startswith(f"records: {tmp_path / 'runs'}")
    records, problems = Store(tmp_path).records()
    assert (len(records), problems) == (4, [])
    assert sum(record.cost.images for record in records) == 180, "each image goes through once, ever"
    assert app.main(["report", "--results", str(tmp_path)]) == 0
    assert "limited to 60 a split" in " ".join(capsys.readouterr().out.split())
    assert run(tmp_path) == 0
    assert "all 4 runs are there already; nothing to compute" in capsys.readouterr().err


def test_another_protocol_finds_the_features_there(tmp_path: Path, capsys) -> None:
    run(tmp_path)
    capsys.readouterr()
    for protocol in ("linear", "knn"):
        assert app.main([*LIMITED, "--protocol", protocol, "--output-dir", str(tmp_path)]) == 0
        shown = capsys.readouterr()
        assert "1 runs done, 0 failed; 0 images through a network" in shown.err
        headings = next(line.split() for line in shown.out.splitlines() if line.startswith(" model"))
        assert headings[1] == protocol, "the table of what was asked for, not of all that is there"
        assert f"digits, {protocol} (top-1 accuracy): pixels (" in " ".join(shown.out.split())
    by_protocol = {record.run.protocol: record for record in Store(tmp_path).records()[0]}
    linear, knn = by_protocol["linear"], by_protocol["knn"]
    assert linear.converged is True
    assert linear.selection.parameter == "C"
    assert knn.selection.parameter == "k"
    assert linear.cost.images == 0
    assert {*linear.metrics} == {*knn.metrics} == {"top1", "mean_per_class", "macro_f1", "auroc", "ece"}
    assert linear.cost.throughput > 0


def test_the_record_holds_what_the_contract_names(tmp_path: Path) -> None:
    run(tmp_path)
    file = next((tmp_path / "runs" / "digits" / "pixels").glob("fewshot-*.json"))
    record = read_record(file)
    assert file.with_suffix(".npz").exists()
    assert (record.schema_version, record.run.metric, record.n_test) == (2, "top1", 60)
    assert set(record.metrics) == {"top1", "mean_per_class", "macro_f1", "auroc"}, "ridge scores are no probabilities"
    low, high = record.metrics["top1"].ci95
    assert low < record.metrics["top1"].value < high
    assert {"python", "torch", "numpy", "processor", "device", "threads"} <= set(record.environment)
    predictions = Store(tmp_path).predictions(record)
    assert (predictions.prediction == predictions.label).mean() == record.metrics["top1"].value
    assert str(tmp_path) not in file.read_text()
    assert not re.search(r'"/(home|root|tmp|work|Users)', file.read_text())


def test_dry_run_says_what_and_does_nothing(tmp_path: Path, capsys) -> None:
    command = ["run", "--task", "embedded", "--model", "pixels", "--shots", "1,5", "--seeds", "2", "--limit", "60"]
    assert app.main([*command, "--output_dir", str(tmp_path), "--dry_run"]) == 0, "underscores are accepted"
    shown = capsys.readouterr().err
    assert re.search(r"clipart +pixels +fewshot +4 +180 +- +0 +\d+ s\n", shown), "a group names its tasks"
    assert "8 runs asked for, 8 to do: about" in shown
    assert "nothing done (--dry-run)" in shown
    assert not (tmp_path / "runs").exists()


def test_the_summary_in_json(tmp_path: Path, capsys) -> None:
    assert run(tmp_path, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["asked"], summary["finished"], summary["failed"], summary["exit_code"]) == (4, 4, [], 0)
    assert set(summary["keys"]) == {record.run.key for record in Store(tmp_path).records()[0]}


def test_the_version_is_one_line_with_those_that_matter(capsys) -> None:
    assert app.main(["--version"]) == 0
    expected = f"mixer-bench {metadata.version('mixer-bench')} (torch {metadata.version('torch')}, timm "
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(expected)


WRONG = [  # by flag, in place of RUN's
    (["--task", "clipat"], 2, "unknown task 'clipat'; did you mean clipart"),
    (["--task", ""], 2, "must be named"),
    (["--task", "./no/such/folder"], 3, "no such folder"),
    (["--model", "mixer_nan"], 2, "unknown model 'mixer_nan'; did you mean mixer_nano"),
    (["--model", "random:pixels"], 2, "has no network"),
    (["--model", "file:weights.safetensors?arch=pixels"], 2, "no network to load weights into"),
    (["--model", ","], 2, "must be named"),
    (["--protocol", "few-shot"], 2, "unknown protocol 'few-shot'; did you mean fewshot"),
    (["--protocol", "zzz"], 2, "unknown protocol 'zzz'; known: fewshot"),
    (["--protocol", "knn"], 2, "no protocol asked for has shots"),
    (["--set", "l3=1"], 2, "unknown setting of fewshot or finetune 'l3'; did you mean l2"),
    (["--set", "l2"], 2, "not of the form key=value"),
    (["--set", "l2=inf"], 2, "setting of fewshot l2"),
    (["--preset", "mixer"], 2, "did you mean mixer-paper"),
    (["--shots", "one"], 2, "--shots: Input should be a valid integer"),
    (["--shots", "0"], 2, "--shots: Input should be greater than 0"),
    (["--seeds", "0"], 2, "--seeds: Input should be greater than 0"),
    (["--batch-size", "8,16"], 2, "--batch-size: Input should be a valid integer"),
    (["--resolution", "7"], 2, "--resolution: Input should be greater than or equal to 8"),
    (["--overwrite", "maybe"], 2, "--overwrite: Input should be 'never', 'failed' or 'always', not 'maybe'"),
    (["--device", "warp"], 2, "--device warp"),
    (["--sed", "3"], 2, "No such option: --sed"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "said"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_wrong_request_is_answered_without_a_traceback_or_a_record(
    arguments: list[str], code: int, said: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights.safetensors").write_bytes(b"junk")
    values = dict(zip(RUN[1::2], RUN[2::2], strict=True)) | dict([arguments])
    assert app.main(["run", *(part for pair in values.items() for part in pair)]) == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert not Path("results").exists()


def test_an_unknown_verb_is_wrong_usage(capsys) -> None:
    assert app.main(["rum"]) == 2
    assert "rum" in capsys.readouterr().err


def test_two_checkpoints_of_one_file_name_are_two_models(tmp_path: Path) -> None:
    import torch

    from mixer_bench.models import checkpoints, names, networks

    models = []
    for seed in (1, 2):
        network = networks.headless(networks.build(names.card("mixer_nano").architecture, 1, seed))
        file = tmp_path / str(seed) / "model.safetensors"
        checkpoints.write(network, file, torch.float16)
        models.append(f"file:{file}?arch=mixer_nano")
    arguments = ["run", "-p", "fewshot", "--task", "digits", "--limit", "30", "--shots", "1", "--seeds", "1"]
    assert app.main([*arguments, "--model", ",".join(models), "--output-dir", str(tmp_path)]) == 0
    assert len({record.run.weights for record in Store(tmp_path).records()[0]}) == 2


@pytest.mark.parametrize("what", ["tasks", "models", "protocols"])
def test_list_in_text_and_json(what: str, capsys) -> None:
    assert app.main(["list", what, "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert all({"name", "tags", "description"} <= set(entry) for entry in entries)
    assert app.main(["list", what]) == 0
    text = capsys.readouterr().out
    assert all(entry["name"] in text for entry in entries)
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("arguments", [("task", "clipart"), ("model", "random:mixer_nano"), ("protocol", "linear")])
def test_show_in_text_and_json(arguments: tuple[str, str], capsys) -> None:
    assert app.main(["show", *arguments, "--json"]) == 0
    entry = json.loads(capsys.readouterr().out)
    assert entry["name"] == arguments[1]
    assert app.main(["show", *arguments]) == 0
    assert arguments[1] in capsys.readouterr().out
    assert app.main(["show", arguments[0], arguments[1] + "x"]) == 2


def test_explain_says_current_and_names_the_field_that_changed(tmp_path: Path, capsys) -> None:
    run(tmp_path)
    capsys.readouterr()
    store = Store(tmp_path)
    record = store.records()[0][0]
    assert app.main(["explain", record.run.key[:10], "--results", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "current" in text
    assert f"made {record.created[:10]} by mixer-bench {record.environment['mixer-bench']}" in text
    assert f"torch {record.environment['torch']}" in text
    other = {"code": {**record.code, "pixels": "0" * 12}, "environment": {**record.environment, "numpy": "1.0"}}
    place = store.save(record.model_copy(update=other), store.predictions(record))
    assert app.main(["explain", str(place)]) == 1
    text = capsys.readouterr().out
    assert "not known: the request has this key today, but other code made it (pixels)" in text
    assert f"with other than here: numpy 1.0 -> {record.environment['numpy']}" in text
    stale = record.model_copy(update={"run": record.run.model_copy(update={"task_version": 7, "weights": "0" * 64})})
    place = store.save(stale, store.predictions(record))
    assert app.main(["explain", str(place)]) == 1
    text = capsys.readouterr().out
    assert "stale" in text
    assert "task_version: was 7" in text
    assert "weights: was" in text
    assert "seed: was" not in text
    assert app.main(["explain", "", "--results", str(tmp_path)]) == 1
    assert "5 records" in capsys.readouterr().err


def test_explain_of_an_earlier_version_says_stale_though_its_settings_go_together_no_longer(
    tmp_path: Path, capsys
) -> None:
    config = {"crop": "none", "margin": 256, "steps": 500}
    card = names.card("mixer_nano")
    changes = {"model": "mixer_nano", "task": "digits", "protocol": "finetune", "protocol_version": 1}
    stored = a_run(**changes, config=config, preprocessing=card.preprocessing, limit=20)
    place = save_answers(tmp_path, stored, right_of(0))
    assert app.main(["explain", str(place)]) == 1
    assert "protocol_version: was 1" in capsys.readouterr().out


def test_the_python_interface_is_the_same_verbs(tmp_path: Path) -> None:
    frame = mixer_bench.run("digits", "pixels", limit=60, shots=(1, 5), seeds=2, output_dir=tmp_path)
    assert len(frame) == 16  # four runs, four metrics
    assert set(frame["shots"]) == {1, 5}
    everything = mixer_bench.load_results(tmp_path)
    order = ["key", "metric"]
    assert frame.sort_values(order, ignore_index=True).equals(everything.sort_values(order, ignore_index=True))
    again = mixer_bench.run("digits", "pixels", limit=60, shots=5, seeds=2, output_dir=tmp_path)
    assert len(again) == 8
    assert mixer_bench.load_task("digits").num_classes == 10
    backbone = mixer_bench.load_model("random:mixer_nano", device="cpu")
    image = mixer_bench.load_task("clipart").test.images[0]
    assert backbone.features(image[None]).shape == (1, 192)
    assert mixer_bench.__version__
    with pytest.raises(AttributeError):
        mixer_bench.no_such_name  # noqa: B018


def test_the_python_interface_raises_where_the_command_ends_with_a_code(tmp_path: Path) -> None:
    with pytest.raises(MixerBenchError, match="did you mean"):
        mixer_bench.run("digit", "pixels", output_dir=tmp_path)
    with pytest.raises(MixerBenchError, match="no results here"):
        mixer_bench.load_results(tmp_path / "nothing")
    with pytest.raises(MixerBenchError, match="--limit: Input should be greater than 0, not 0"):
        mixer_bench.run("digits", "pixels", limit=0, output_dir=tmp_path)
    with pytest.raises(MixerBenchError, match="overwrite"):
        mixer_bench.run("digits", "pixels", overwrite="alway", output_dir=tmp_path)


def refit(monkeypatch: pytest.MonkeyPatch, fit) -> None:
    """Let ``fit`` take the place of fewshot's."""
    get = protocols.get
    monkeypatch.setattr(
        protocols, "get", lambda name: dataclasses.replace(get(name), fit=fit) if name == "fewshot" else get(name)
    )


def test_a_run_that_fails_is_recorded_and_ends_with_1(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    from mixer_bench.protocols import fewshot

    def fail(backbone, development, config, seed):
        if config.shots == 5 and seed == 1:
            raise RuntimeError("singular")
        return fewshot.fit(backbone, development, config, seed)

    refit(monkeypatch, fail)
    assert run(tmp_path) == 1
    assert "RuntimeError: singular" in capsys.readouterr().err
    store = Store(tmp_path)
    assert (len(store.records()[0]), len(store.failures())) == (3, 1)
    monkeypatch.undo()
    monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path / "cache"))
    assert run(tmp_path) == 0
    assert (len(store.records()[0]), len(store.failures())) == (4, 0)


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        (lambda *_: sys.exit(0), r"fewshot called sys.exit(0)"),
        (lambda *_: None, "fit of fewshot gave NoneType, not Fitted"),
    ],
)
def test_a_protocol_that_ends_the_program_or_gives_nothing_fails_by_itself(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch, fit, said: str
) -> None:
    refit(monkeypatch, fit)
    assert run(tmp_path, "--protocol", "fewshot,knn") == 1
    told = capsys.readouterr().err
    assert said in told
    assert "2 runs done, 4 failed" in told or "1 runs done, 4 failed" in told


def test_undefined_scores_are_a_failure_not_a_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    def undefined(backbone, development, config, seed):
        return Fitted(lambda examples: np.full((len(examples), development.num_classes), np.nan))

    refit(monkeypatch, undefined)
    assert run(tmp_path) == 1
    assert Store(tmp_path).records() == ([], [])
    assert len(Store(tmp_path).failures()) == 4


def test_a_task_file_of_ones_own(tmp_path: Path, capsys) -> None:
    (tmp_path / "tasks").mkdir()
    text = (Path(__file__).parents[2] / "tasks" / "digits.toml").read_text()
    (tmp_path / "tasks" / "mine.toml").write_text(text)
    command = ["run", "--task", "mine", "--include", str(tmp_path / "tasks"), *RUN[3:], "--output-dir", str(tmp_path)]
    assert app.main(command) == 0
    assert {record.run.task for record in Store(tmp_path).records()[0]} == {"mine"}
    (tmp_path / "tasks" / "mine.toml").write_text(text.replace("num_classes", "num_clases"))
    assert app.main(command) == 2
    error = capsys.readouterr().err
    assert "mine.toml" in error
    assert "num_clases" in error
    assert "num_classes" in error


def test_without_a_protocol_run_probes_and_finetunes_and_says_the_cost_first(
    tmp_path: Path, capsys, quick_speeds
) -> None:
    command = ["run", "--task", "digits", "--model", "mixer_nano", "--preset", "small", "--set", "steps=10"]
    assert app.main([*command, "--set", "l2=2", "--dry-run", "--output-dir", str(tmp_path)]) == 0
    shown = capsys.readouterr().err
    assert re.search(r"digits +mixer_nano +fewshot +12 +1,797 +- ", shown)
    assert re.search(rf"digits +mixer_nano +finetune +3 .* {3 * 10 * 32:,} ", shown), "steps are of finetune"
    assert app.main([*command, "--set", "step=10", "--output-dir", str(tmp_path)]) == 2
    assert "unknown setting of fewshot or finetune 'step'; did you mean steps" in capsys.readouterr().err


def test_a_training_that_takes_hours_on_a_cpu_says_so_before_it_starts(tmp_path: Path, capsys, monkeypatch) -> None:
    command = ["run", "--task", "digits", "--model", "mixer_nano", "--dry-run", "--output-dir", str(tmp_path)]
    monkeypatch.setattr(
        Speeds, "image", lambda *_, trains: Measured(0.01 if trains else 0.003, "by hand")
    )  # 1.79 million of them
    assert app.main([*command, "--device", "cpu"]) == 0
    assert "hours on a CPU: --preset small trains less" in " ".join(capsys.readouterr().err.split())
    assert app.main([*command, "--preset", "small", "--device", "cpu"]) == 0
    assert "hours on a CPU" not in capsys.readouterr().err
