"""Tasks of Ray, on a cluster of this machine."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from mixer_bench.cli import app
from mixer_bench.errors import UsageError
from mixer_bench.executors import Cell
from mixer_bench.executors import ray as executor
from mixer_bench.runs.options import Options
from tests.executors.test_slurm import FROZEN
from tests.executors.workers import essence
from tests.forks import leftovers


@pytest.fixture
def short_folder() -> Iterator[str]:
    """For Ray's sockets, whose names a system limits to about 100 characters, and logs, which it leaves."""
    with tempfile.TemporaryDirectory(dir="/tmp" if os.name == "posix" else None, ignore_cleanup_errors=True) as folder:
        yield folder


def test_two_workers_make_what_one_process_does(
    tmp_path: Path, short_folder: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert app.main([*FROZEN, "--output-dir", "alone"]) == 0
    tables = capsys.readouterr().out
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MIXER_BENCH_CACHE": str(tmp_path / "cache")}
    environment["RAY_TMPDIR"] = short_folder
    command = [sys.executable, "-m", "mixer_bench", *FROZEN, "--executor", "ray", "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == tables, "nothing of Ray's"
    said = [line for line in done.stderr.splitlines() if "cells done" not in line]  # that is said every ten seconds
    assert said[0] == "2 cells to do, 2 at once (ray)"
    assert sorted(line.partition("] ")[2] for line in said[1:3]) == [
        "pixels on clipart: 3 runs, 60 images through the network",
        "pixels on digits: 3 runs, 60 images through the network",
    ]
    assert said[3] == "6 runs done, 0 failed; 120 images through a network"
    assert len(said) == 5, "nothing of Ray's"
    assert essence(tmp_path / "results") == essence(tmp_path / "alone")
    assert leftovers(tmp_path / "results" / "runs") == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["adress=auto"], "unknown setting of ray 'adress'; did you mean address?"),
        (["max_retries=many"], "setting of ray max_retries: Input should be a valid integer"),
        (["address=127.0.0.1:1"], "address=127.0.0.1:1: no Ray cluster answers there"),
        (["address=nowhere"], "address=nowhere: no Ray cluster answers there"),
    ],
)
def test_what_ray_cannot_do_is_refused_in_a_line(flags: list[str], message: str, capsys) -> None:
    assert app.main([*FROZEN, "--executor", "ray", "--executor-set", *flags]) == UsageError.exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_without_ray_the_way_out_is_named(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert app.main([*FROZEN, "--executor", "ray"]) == UsageError.exit_code
    assert "pip install 'mixer-bench[ray]'" in capsys.readouterr().err


def test_a_lost_task_is_named(monkeypatch) -> None:
    def lost(_: object) -> None:
        raise ray.exceptions.WorkerCrashedError

    monkeypatch.setattr(ray, "get", lost)
    (told,) = executor._told(3, Cell(options=Options(), label="a model on a task"), None)
    assert told.number == 3
    assert told.ended is not None
    assert (told.ended.exit_code, told.ended.summary) == (1, None)
    assert told.ended.error.startswith("a model on a task: its task came to no end (WorkerCrashedError: ")


@pytest.mark.parametrize(
    ("device", "set_", "cluster", "needs"),
    [
        ("auto", {}, {"CPU": 8.0}, (1, 0)),
        ("auto", {}, {"CPU": 128.0, "GPU": 8.0}, (16, 1)),
        ("cpu", {}, {"CPU": 128.0, "GPU": 8.0}, (1, 0)),
        ("auto", {"num_gpus": "0.5"}, {"CPU": 16.0, "GPU": 2.0}, (4, 0.5)),
        ("auto", {"num_cpus": "3", "max_retries": "0"}, {"CPU": 16.0, "GPU": 2.0}, (3, 1)),
    ],
)
def test_a_task_has_a_gpu_and_its_share_of_processors(device, set_, cluster, needs) -> None:
    made = executor.executor(executor.Site(device, None, set_, Path("logs")))._needs(cluster)
    assert (made["num_cpus"], made["num_gpus"]) == needs
    assert made["max_retries"] == int(set_.get("max_retries", 3))
