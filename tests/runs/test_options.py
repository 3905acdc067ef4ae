"""Options of a run: from flags, a config file, the environment and defaults, each read by the one declaration."""

import inspect
import os
from pathlib import Path

import pytest

import mixer_bench
from mixer_bench.cli import app
from mixer_bench.errors import UsageError
from mixer_bench.runs.options import Options
from mixer_bench.runs.request import request
from mixer_bench.system.config_file import resolved
from mixer_bench.system.options import about

TOML = """
task = ["digits", "clipart"]
model = "pixels,mixer_nano"
seeds = 5
data-dir = "images"
[set]
l2 = 2
steps = 10
"""
YAML = """
task: [digits, clipart]
model: pixels,mixer_nano
seeds: 5
data_dir: images
set: {l2: 2, steps: 10}
"""


def written(folder: Path, text: str, name: str = "study.toml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(("name", "text"), [("study.toml", TOML), ("study.yaml", YAML), ("study.yml", YAML)])
def test_a_flag_goes_before_the_file_before_the_environment_before_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv("MIXER_BENCH_DATA", "elsewhere")
    monkeypatch.setenv("MIXER_BENCH_RESULTS", "~/kept")
    file = written(tmp_path, text, name)
    options, origins = resolved(Options, {"model": ["vit_nano"], "shots": ["1,5", "10"], "settings": ["l2=3"]}, file)
    assert (options.task, options.model, options.shots) == (("digits", "clipart"), ("vit_nano",), (1, 5, 10))
    assert (options.seeds, options.data_dir, options.output_dir) == (5, Path("images"), Path("~/kept").expanduser())
    assert options.settings == {"l2": "3", "steps": 10}
    assert (options.batch_size, options.protocol) == (None, ("fewshot", "finetune"))
    told = {key: origins[key] for key in ("model", "seeds", "data_dir", "output_dir", "limit")}
    assert (origins["settings.l2"], origins["settings.steps"]) == ("--set", str(file))
    assert told == {
        "model": "--model",
        "seeds": str(file),
        "data_dir": str(file),
        "output_dir": "MIXER_BENCH_RESULTS",
        "limit": "default",
    }


def test_show_config_prints_a_config_file_of_the_same_options_and_stops(tmp_path: Path, capsys) -> None:
    file = written(tmp_path, TOML)
    command = ["run", "--config", str(file), "--limit", "7", "--set", "crop=none", "--include", "a b", "--show-config"]
    assert app.main([*command, "--output-dir", str(tmp_path / "results")]) == 0
    shown = capsys.readouterr().out
    lines = {line.rpartition("  # ")[0].strip(): line.rpartition("  # ")[2] for line in shown.splitlines()}
    assert lines["seeds = 5"] == str(file)
    assert lines["limit = 7"] == "--limit"
    assert (lines["set.l2 = 2"], lines['set.crop = "none"']) == (str(file), "--set")
    assert lines['overwrite = "failed"'] == "default"
    assert lines["# resolution: each model's own"] == "default"
    assert not (tmp_path / "results").exists()
    flags = {"limit": 7, "settings": ["crop=none"], "include": ["a b"], "output_dir": tmp_path / "results"}
    assert resolved(Options, {}, written(tmp_path, shown, "again.toml"))[0] == resolved(Options, flags, file)[0]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.toml", "sedes = 3", "unknown option 'sedes'; did you mean seeds"),
        ("a.toml", 'seeds = "many"', "a.toml: seeds: Input should be a valid integer"),
        ("a.toml", "offline = 7.5", "a.toml: offline: Input should be a valid boolean"),
        ("a.toml", "shots = [1, 0]", "a.toml: shots: Input should be greater than 0, not 0"),
        ("a.toml", "seeds = 3\nseeds = 4", "Cannot overwrite a value (at end of document): seeds = 4"),
        ("a.toml", "seeds 3", "seeds 3"),
        ("a.yaml", "seeds: 3\nlimit: 9\nseeds: 4", "key 'seeds' is given twice"),
        ("a.yaml", "set:\n  l2: 1\n  l2: 2", "key 'l2' is given twice"),
        ("a.yaml", "output-dir: a\noutput_dir: b", "key 'output-dir' is given twice"),
        ("a.yaml", "- seeds", "must be a mapping of options"),
        ("a.yaml", "[]", "must be a mapping of options"),
        ("a.yaml", "0", "must be a mapping of options"),
        ("a.yaml", "limit: yes", "a.yaml: limit: must not be True"),
        ("a.yaml", "seeds: [", "a.yaml: "),
        ("a.yaml", "overwrite: sometimes", "a.yaml: overwrite: Input should be 'never', 'failed' or 'always'"),
        ("a.toml", "set = 5", "a.toml: set: must be a table of settings, not 5"),
        ("a.toml", "[set]\nl3 = 1", "unknown setting of fewshot 'l3'; did you mean l2"),
        ("none.toml", None, "none.toml: No such file"),
    ],
)
def test_a_wrong_file_is_named_with_its_key_and_exits_2(
    tmp_path: Path, capsys, name: str, text: str | None, said: str
) -> None:
    file = written(tmp_path, text, name) if text is not None else tmp_path / name
    command = ["run", "--task", "digits", "--model", "pixels", "--protocol", "fewshot", "--config", str(file)]
    assert app.main([*command, "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


def test_a_run_of_a_file_alone(tmp_path: Path, capsys) -> None:
    file = written(tmp_path, 'task = "digits"\nmodel = "pixels"\nprotocol = "knn"\nlimit = 30')
    assert app.main(["run", "--config", str(file), "--output-dir", str(tmp_path)]) == 0
    assert "1 runs done, 0 failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--seeds", "3", "--seeds", "4"], "--seeds is given twice"),
        (["report", "-f", "csv", "--format", "html"], "--format is given twice"),
        (["run", "--set", "l2=3", "--set", "L2=4", "--set", "l2=4"], "--set l2 is given twice"),
        (["run", "--task", "a", "--task", "b", "--dry-run"], "must be named"),  # that one may be
    ],
)
def test_a_flag_given_twice_is_named(capsys, arguments: list[str], said: str) -> None:
    assert app.main(arguments) == 2
    assert said in capsys.readouterr().err


def test_one_declaration_makes_the_flags_and_the_arguments(capsys) -> None:
    assert app.main(["run", "--help"]) == 0
    help_text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    arguments = inspect.signature(mixer_bench.run).parameters
    for name, field in Options.model_fields.items():
        assert f"{about(Options, name)['flag']} " in help_text
        assert str(field.description).split()[0] in help_text
        assert name in arguments
    assert "(default: MIXER_BENCH_RESULTS, else results)" in help_text
    with pytest.raises(UsageError, match="unknown option 'sed'; did you mean seeds"):
        mixer_bench.run("digits", "pixels", sed=3)


def test_the_home_folder_is_meant_alike_by_run_and_report(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MIXER_BENCH_RESULTS", "~/kept")
    assert resolved(Options, {})[0].output_dir == tmp_path / "kept"
    assert app.main(["report"]) == 1
    assert f"no records in {tmp_path / 'kept'}" in capsys.readouterr().err


@pytest.mark.parametrize("command", [("run", "--data-dir"), ("report", "--results")])
def test_the_folder_of_an_unknown_user_is_refused(capsys, command: tuple[str, str]) -> None:
    assert app.main([*command, "~nobody-here/x"]) == 2
    assert "~nobody-here/x: there is no such user" in capsys.readouterr().err


def test_of_several_unknown_settings_the_first_is_named() -> None:
    names = [f"unknown_{number}" for number in range(9)]
    options = Options(task="digits", model="pixels", protocol="knn", settings=dict.fromkeys(names, 1))
    with pytest.raises(UsageError, match="unknown setting of knn 'unknown_0'"):
        request(options)


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    for value in ("{a: 1}", "[[digits]]", "[null]"):
        with pytest.raises(UsageError, match=r"a\.yaml: task: Input should be a valid string, not"):
            resolved(Options, {}, written(tmp_path, f"task: {value}", "a.yaml"))


@pytest.mark.parametrize("before", [None, "0"])
def test_a_call_that_stays_offline_leaves_the_next_one_free(tmp_path: Path, monkeypatch, before: str | None) -> None:
    if before is None:
        monkeypatch.delenv("HF_HUB_OFFLINE")
    else:
        monkeypatch.setenv("HF_HUB_OFFLINE", before)
    mixer_bench.run("digits", "pixels", "knn", limit=30, output_dir=tmp_path, offline=True)
    assert os.environ.get("HF_HUB_OFFLINE") == before
