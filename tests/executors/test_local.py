"""Processes of this machine that share the work: what each has, what they make, and what becomes of the killed."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mixer_bench
from mixer_bench.cli import app
from mixer_bench.errors import UsageError
from mixer_bench.executors import Site, cells, local
from mixer_bench.runs.options import Options
from mixer_bench.training.checkpoint import Checkpoint
from tests.executors.conftest import ASKED, TRAINING
from tests.executors.workers import Fork, essence, launching
from tests.forks import in_training, leftovers, limit_files, signal_itself

# --- what each process has


@pytest.mark.parametrize(
    ("gpus", "jobs", "cores", "expected"),
    [
        ([], 2, [0, 1, 2, 3], [("0,1", "2", None), ("2,3", "2", None)]),
        ([], 2, [5], [("5", "1", None), ("5", "1", None)]),
        ([], 3, [1, 4, 6, 7], [("1", "1", None), ("4", "1", None), ("6,7", "2", None)]),
        (["0", "1"], 2, [0, 1, 2], [("0", "1", "0"), ("1,2", "2", "1")]),
        (["GPU-5e", "MIG-7a", "3"], 2, [0, 1], [("0", "1", "GPU-5e"), ("1", "1", "MIG-7a")]),
    ],
)
def test_each_process_has_its_share_of_processors_and_a_gpu_of_its_own(gpus, jobs, cores, expected) -> None:
    made = local.environments(gpus, jobs, cores, {})
    shown = [(each["MIXER_BENCH_CORES"], each["OMP_NUM_THREADS"], each.get("CUDA_VISIBLE_DEVICES")) for each in made]
    assert shown == expected


def test_a_number_of_threads_that_somebody_chose_stays() -> None:
    assert all("OMP_NUM_THREADS" not in each for each in local.environments([], 2, [0, 1], {"OMP_NUM_THREADS": "7"}))


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of eight GPUs."""
    monkeypatch.setattr("mixer_bench.system.machine.may_have_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    named = lambda: os.environ.get("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7")  # noqa: E731
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(list(filter(None, named().split(",")))))


def gpus_of(device: str = "auto", jobs: int | None = None) -> list[str | None]:
    made = local.executor(Site(device, jobs, {}, Path("logs")))
    return [environment.get("CUDA_VISIBLE_DEVICES") for environment in made._environments]


def test_all_gpus_of_a_machine_are_used_without_a_flag(eight, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpus_of() == gpus_of("cuda") == list("01234567")
    assert gpus_of(jobs=3) == list("012")
    assert gpus_of("cpu") == [None]
    assert gpus_of("cpu", 2) == [None, None]
    assert gpus_of("cuda:5") == [None]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1b2c,MIG-77,5")
    assert gpus_of() == ["GPU-1b2c", "MIG-77", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6")
    assert gpus_of() == ["6"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--jobs", "9"], "--jobs 9: each process has a GPU of its own, and 8 are here"),
        (
            ["--jobs", "2", "--device", "cuda:1"],
            "--jobs 2: each process has a GPU of its own, and --device cuda:1 is one",
        ),
        (["--jobs", "2", "--gpus-per-run", "2"], "leave one of them out"),
        (["--executor-set", "partition=gpu"], "--executor-set partition: the executor local has no settings"),
        (["--executor", "locla"], "unknown executor 'locla'; did you mean local?"),
        (["--jobs", "0"], "--jobs: Input should be greater than 0"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(flags, message: str, eight, capsys, tmp_path: Path) -> None:
    command = ["run", "--task", "digits", "--model", "pixels", "--protocol", "knn", "--output-dir", str(tmp_path)]
    assert app.main([*command, *flags]) == UsageError.exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_more_gpus_than_none(capsys, tmp_path: Path) -> None:
    command = ["run", "--task", "digits", "--model", "pixels", "--protocol", "knn", "--output-dir", str(tmp_path)]
    assert app.main([*command, "--device", "cuda", "--jobs", "2"]) == UsageError.exit_code
    assert "0 are here" in capsys.readouterr().err


# --- what they make


def test_a_process_as_a_user_has_it_started_makes_what_the_command_itself_does(here: Path, alone: Path) -> None:
    pixels = ["pixels" if part == "resnet_nano,pixels" else "digits" if part == "embedded" else part for part in ASKED]
    command = [sys.executable, "-m", "mixer_bench", *pixels, "--jobs", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    said = [line.partition("] ")[2] or line for line in done.stderr.splitlines()]
    assert [line for line in said if "cells done" not in line][:3] == [  # that is said every ten seconds
        "1 cells to do, 1 at once (local)",
        "pixels on digits: 3 runs, 60 images through the network",
        "3 runs done, 0 failed; 60 images through a network",
    ]
    expected = {file: held for file, held in essence(alone).items() if "/digits/pixels/" in file}
    assert essence(here / "results") == expected
    assert len(expected) == 6
    assert leftovers(here / "results") == []


def test_a_killed_process_loses_its_cell_and_no_other(here: Path, alone: Path, monkeypatch, capfd) -> None:
    launch, begun = launching(functools.partial(signal_itself, 1, signal.SIGKILL))
    monkeypatch.setattr(local, "launch", launch)
    assert app.main([*ASKED, "--jobs", "2"]) == 1
    said = capfd.readouterr().err
    assert len(begun) == 2
    lost = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lost) == 1
    assert "was killed by signal 9" in lost[0]
    assert lost[0].endswith("the same command does it again")
    assert 0 < len(essence(here / "results")) < len(essence(alone))
    assert app.main([*ASKED, "--jobs", "2"]) == 0
    assert essence(here / "results") == essence(alone)


def test_a_cell_that_kills_whatever_does_it_is_not_tried_for_ever(here: Path, monkeypatch, capfd) -> None:
    launch, begun = launching(*[functools.partial(signal_itself, 0, signal.SIGKILL)] * 2)
    monkeypatch.setattr(local, "launch", launch)
    assert app.main([*ASKED, "--jobs", "1", "--shard", "1/1"]) == 0, "one process does it itself"
    assert begun == []
    assert app.main([*ASKED, "--output-dir", "other", "--jobs", "2"]) == 1
    assert len(begun) == 2
    assert capfd.readouterr().err.count("error: ") == 2
    assert essence(here / "other") == {}


def test_where_no_process_begins_that_is_said_once_each_and_nothing_waits(here: Path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(local, "COMMAND", (sys.executable, "-c", "import sys; sys.exit('no such library')"))
    asked = ["run", "--task", "embedded", "--model", "resnet_nano,vit_nano", "--preset", "small", "--jobs", "2"]
    assert app.main(asked) == 1
    said = capfd.readouterr().err
    assert said.count("no such library") == 2
    assert "exit code 1" in said
    assert "no process began it" in said


def tell(driver: int | None) -> None:
    """Have the driver told to end, and wait until that was passed on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    if driver is not None:
        os.kill(driver, signal.SIGTERM)
    signal.sigwait({signal.SIGTERM})
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    signal.raise_signal(signal.SIGTERM)


def test_told_to_end_each_process_writes_a_checkpoint_and_the_same_command_goes_on(
    here: Path, alone: Path, monkeypatch, capfd
) -> None:
    launch, _ = launching(functools.partial(in_training, 3, functools.partial(tell, os.getpid())))
    monkeypatch.setattr(local, "launch", launch)
    assert app.main([*TRAINING, "--jobs", "2"]) == 128 + signal.SIGTERM
    assert "terminated; what is finished is kept" in capfd.readouterr().err
    (file,) = (here / "cache" / "finetune").glob("*.state.pt")
    state = Checkpoint(file, "")._state()
    assert state is not None
    assert state["progress"]["step"] == 4
    assert app.main([*TRAINING, "--jobs", "2"]) == 0
    assert essence(here / "results") == essence(alone / "trained")
    assert not file.exists()


def told_at_a_step() -> None:
    """In a process: hear SIGTERM at its fourth step and not before, however early it came."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    in_training(3, functools.partial(tell, None))


def test_a_process_does_not_outlive_who_started_it(here: Path) -> None:
    settings = {"steps": 6, "warmup": 1, "batch_size": 8, "learning_rates": 0.01}
    options = Options(task="digits", model="resnet_nano", protocol="finetune", limit=24, seeds=1, settings=settings)
    (cell,) = cells.cells(cells.resolved(options))
    process = Fork({}, told_at_a_step)
    process.stdin.write(f"0 {cell.model_dump_json()}\n")
    process.stdin.close()
    said = process.stdout.read()
    assert process.wait() == 128 + signal.SIGTERM
    assert "ended" not in [name for line in said.splitlines() for name, value in json.loads(line).items() if value]
    assert len(list((here / "cache" / "finetune").glob("*.state.pt"))) == 1
    process.stdout.close()
    process.stderr.close()


def test_a_full_disk_is_named_and_the_rest_goes_on(here: Path, alone: Path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(local, "launch", launching(functools.partial(limit_files, 500))[0])
    assert app.main([*ASKED, "--jobs", "2"]) == 1
    (error,) = {line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")}
    assert re.search(
        r"cannot write \S+: File too large; what is finished is kept, the same command does the rest", error
    )
    assert 0 < len(essence(here / "results")) < len(essence(alone))
    assert app.main([*ASKED, "--jobs", "2"]) == 0
    assert essence(here / "results") == essence(alone)


def test_python_has_the_rows_of_all_processes(here: Path, monkeypatch) -> None:
    monkeypatch.setattr(local, "launch", launching()[0])
    rows = mixer_bench.run("embedded", "pixels", "knn", limit=20, jobs=2)
    assert sorted(rows[rows.metric == "top1"].task) == ["clipart", "digits"]
