"""Claims: one of several processes does a piece of work; the dead claim nothing."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mixer_bench.system import claims, files

HELD = """
import os, signal, sys, time
from pathlib import Path
from mixer_bench.system import claims

with claims.claimed(Path(sys.argv[1])) as free:
    print(free, flush=True)
    sys.stdin.read()
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""
COUNTING = """
import sys
from pathlib import Path
from mixer_bench.system import claims

counted, number = Path(sys.argv[1]), 0
while number < 100:
    with claims.claimed(counted) as free:
        if free:
            counted.write_text(str(int(counted.read_text()) + 1))
            number += 1
"""


def holder(outcome: Path, end: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HELD, str(outcome), end]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


@pytest.mark.posix
@pytest.mark.parametrize("end", ["done", "killed"])
def test_what_a_living_process_has_claimed_is_free_when_it_is_done_or_dead(tmp_path: Path, end: str) -> None:
    outcome = tmp_path / "folder" / "outcome"
    with holder(outcome, end) as process:
        for _ in range(2):
            with claims.claimed(outcome) as free:
                assert not free, "nor does asking make it free"
        with claims.claimed(tmp_path / "folder" / "other") as free:
            assert free
        files.tidy(outcome.parent)
        assert len(list(outcome.parent.iterdir())) == 1, "the claim of the living stays"
        process.communicate()
    assert process.returncode == (0 if end == "done" else -signal.SIGKILL)
    assert len(list(outcome.parent.iterdir())) == (0 if end == "done" else 1)
    with claims.claimed(outcome) as free:
        assert free
    assert list(outcome.parent.iterdir()) == []


@pytest.mark.posix
def test_claims_of_the_dead_are_tidied_away(tmp_path: Path) -> None:
    with holder(tmp_path / "outcome", "killed") as process:
        process.communicate()
    files.tidy(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.posix
def test_two_never_do_the_same_at_once_however_often_they_change(tmp_path: Path) -> None:
    """The file of a claim is removed and made again meanwhile: a lock on a removed one counts for nothing."""
    counted = tmp_path / "counted"
    counted.write_text("0")
    both = [subprocess.Popen([sys.executable, "-c", COUNTING, str(counted)]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert counted.read_text() == "200"


@pytest.mark.posix
def test_what_others_do_comes_last_and_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[int]] = []
    pauses = iter(range(3))
    with contextlib.ExitStack() as others:
        for name in "ac":
            assert others.enter_context(claims.claimed(tmp_path / name))

        def paused(_seconds: float) -> None:
            if next(pauses) == 2:
                others.close()

        monkeypatch.setattr(claims.time, "sleep", paused)
        turns = claims.turns([tmp_path / name for name in "abcd"], told.append)
        assert list(turns) == [1, 3, 0, 2]
    assert told == [[0, 2]], "once"
    assert list(tmp_path.iterdir()) == []


def test_what_fails_is_free_again(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="no luck"),
        contextlib.closing(claims.turns([tmp_path / "a"], print)) as turns,
    ):
        for _ in turns:
            raise ValueError("no luck")
    with claims.claimed(tmp_path / "a") as free:
        assert free


def test_where_nothing_can_be_claimed_the_work_is_done_all_the_same(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    with claims.claimed(tmp_path / "file" / "below") as free:
        assert free

    def without_locks(_handle: int) -> bool:
        raise OSError(os.strerror(95))

    monkeypatch.setattr(files, "locked", without_locks)
    with claims.claimed(tmp_path / "a") as first, claims.claimed(tmp_path / "a") as second:
        assert (first, second) == (True, True)
