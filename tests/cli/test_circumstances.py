"""The command line where the terminal, the folders or the cache are not what one hopes for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import mixer_bench
from mixer_bench.cli import app
from mixer_bench.results.store import Store
from mixer_bench.system import paths
from tests.cli.commands import RUN, run


@pytest.mark.posix
def test_a_report_into_a_device_leaves_the_device(tmp_path: Path) -> None:
    run(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert app.main(["report", "--results", str(tmp_path), "-f", "csv", "-o", str(tmp_path / "pipe")]) == 0
    assert os.read(reader, 100).startswith(b"task,task_version")
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    assert app.main(["report", "--results", str(tmp_path), "-o", "/proc/no/such/place"]) == 1


def insects(folder: Path) -> Path:
    """Make a folder of two classes of six images each."""
    for label, name in enumerate(("ants", "bees")):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            Image.new("L", (4, 4), 100 * label + number).save(folder / name / f"{number}.png")
    return folder


@pytest.mark.posix
def test_what_a_file_is_called_steers_no_terminal(tmp_path: Path, capsys) -> None:
    (insects(tmp_path / "set") / "ants/\x1b[2J\x07.png").write_bytes(b"no image")
    command = ["run", "--task", str(tmp_path / "set"), *RUN[3:5], "--protocol", "fewshot", "--shots", "1"]
    assert app.main([*command, "--output-dir", str(tmp_path / "results")]) == 3
    said = capsys.readouterr().err
    assert "?[2J?.png: cannot be decoded" in said
    assert not {"\x1b", "\x07"} & set(said)
    assert app.main([*command, "--skip-bad", "--output-dir", str(tmp_path / "results")]) == 0
    (record,) = Store(tmp_path / "results").records()[0][:1]
    assert "1 images left out that cannot be decoded" in record.source


def test_a_program_without_a_console_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "stdout", None)
    assert run(tmp_path) == 0
    assert mixer_bench.run("digits", "pixels", "fewshot", shots=[1], limit=60, output_dir=tmp_path / "by API").size


def test_a_terminal_that_knows_ascii_alone_gets_question_marks(tmp_path: Path) -> None:
    run(tmp_path)
    command = [sys.executable, "-m", "mixer_bench", "report", "--results", str(tmp_path)]
    shown = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=False)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert b"?" in shown.stdout


def test_a_cache_below_home_is_found_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MIXER_BENCH_CACHE", "~/kept")
    assert paths.cache_dir() == tmp_path / "kept"


@pytest.mark.posix
def test_a_folder_that_looks_like_a_glob_is_opened_and_one_whose_name_breaks_the_line_is_refused(
    tmp_path: Path, capsys, quick_speeds
) -> None:
    command = ["run", *RUN[3:5], "--protocol", "fewshot", "--shots", "1", "--dry-run", "--task"]
    assert app.main([*command, str(insects(tmp_path / "set [1]"))]) == 0
    assert app.main([*command, str(insects(tmp_path / "my\nset"))]) == 3
    assert "a line break or another character that cannot be shown; rename it" in capsys.readouterr().err


def test_a_folder_of_ones_own_can_be_shown(tmp_path: Path, capsys) -> None:
    assert app.main(["show", "task", str(insects(tmp_path / "set")), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "folder/set"


def test_a_cache_that_cannot_be_written_costs_time_and_no_run(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path / "file/cache"))
    short = ["steps=2", "warmup=1", "batch_size=4", "learning_rates=0.02,0.05"]
    command = ["run", "--task", "digits", "--limit", "40", "--model", "mixer_nano", "--protocol", "finetune,fewshot"]
    command += ["--shots", "1", "--seeds", "1", "--preset", "small", *(f"--set={pair}" for pair in short)]
    assert app.main([*command, "--output-dir", str(tmp_path / "results")]) == 0
    said = capsys.readouterr().err
    assert "2 runs done, 0 failed" in said
    assert "no checkpoint (Not a directory); if broken off, the training begins again" in said
    assert "features are not kept" in said
