"""What a launcher says in the environment: read rightly, or refused in a line."""

import datetime

import pytest

from mixer_bench.cli import app
from mixer_bench.errors import UsageError
from mixer_bench.system import processes
from mixer_bench.system.processes import World
from mixer_bench.training import launch

MEETING = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


def started(monkeypatch: pytest.MonkeyPatch, **variables: str) -> World:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return processes.started()


def test_the_environment_says_which_process_this_is(monkeypatch) -> None:
    assert started(monkeypatch) == World(0, 1, None)
    assert started(monkeypatch, RANK="0", WORLD_SIZE="1") == World(0, 1), "as some clusters set for every job"
    here = started(monkeypatch, RANK="5", WORLD_SIZE="8", LOCAL_RANK="1", **MEETING)
    assert (here, here.leads, here.share) == (World(5, 8, 1), False, slice(5, None, 8))
    assert processes.follows()


LEFT_OVER = [
    ({"RANK": "abc"}, "RANK='abc'"),
    ({"RANK": "-1"}, "RANK='-1'"),
    ({"LOCAL_RANK": "1.5"}, "LOCAL_RANK='1.5'"),
    ({"WORLD_SIZE": "two"}, "WORLD_SIZE='two'"),
    ({"WORLD_SIZE": "0"}, "RANK=0 is none of 0"),
    ({"RANK": "1"}, "RANK=1 is none of 1"),
    ({"RANK": "2", "WORLD_SIZE": "2", **MEETING}, "RANK=2 is none of 2"),
    ({"WORLD_SIZE": "2", **MEETING}, "not RANK"),
    ({"RANK": "1", "WORLD_SIZE": "2"}, "not MASTER_ADDR nor MASTER_PORT"),
    ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}, "not MASTER_PORT"),
]


@pytest.mark.parametrize(("variables", "message"), LEFT_OVER)
def test_what_a_launcher_left_behind_is_refused_in_a_line(
    variables, message: str, monkeypatch, capsys, tmp_path
) -> None:
    with pytest.raises(UsageError) as refused:
        started(monkeypatch, **variables)
    assert message in str(refused.value)
    command = ["run", "--task", "digits", "--model", "pixels", "--protocol", "knn", "--output-dir", str(tmp_path)]
    assert app.main(command) == UsageError.exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert "unset RANK" in line


@pytest.mark.parametrize("port", ["1", "no port"])
def test_processes_that_nobody_meets_are_refused_in_a_line(port: str, monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(launch, "MEETING", datetime.timedelta(seconds=1))
    started(monkeypatch, RANK="1", WORLD_SIZE="2", MASTER_ADDR="localhost", MASTER_PORT=port)
    command = ["run", "--task", "digits", "--limit", "20", "--model", "pixels", "--protocol", "knn"]
    assert app.main([*command, "--device", "cpu", "--output-dir", str(tmp_path)]) == UsageError.exit_code
    assert f"were to meet at localhost:{port}" in capsys.readouterr().err


def test_a_number_of_processes_that_were_not_started_is_refused(monkeypatch, capsys, tmp_path) -> None:
    started(monkeypatch, RANK="0", WORLD_SIZE="2", **MEETING)
    command = ["run", "--task", "digits", "--model", "pixels", "--gpus-per-run", "3", "--output-dir", str(tmp_path)]
    assert app.main(command) == UsageError.exit_code
    assert "--gpus-per-run 3: 2 processes were started" in capsys.readouterr().err
