"""Fine-tuning that is broken off by a signal goes on from its checkpoint, and its record is the unbroken one's."""

import functools
import os
import select
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from mixer_bench.results.store import Store
from tests.builders import set_flags
from tests.forks import Started, forked, hang_up_in_training, signal_in_training
from tests.protocols.trainings import COMMAND, SETTINGS

pty = pytest.importorskip("pty", reason="needs a POSIX system")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "cache"


BROKEN_OFF = [*COMMAND, "--seeds", "1", "--model", "resnet_nano"]
BROKEN_OFF += set_flags(*SETTINGS, "learning_rates=0.03", "batch_size=4", "steps=14")
ENDS = {signal.SIGTERM: (143, "terminated"), signal.SIGINT: (130, "interrupted"), signal.SIGHUP: (129, "hung up")}


def test_interrupted_and_resumed_the_record_is_the_same(cache: Path) -> None:
    folder = cache.parent
    whole = forked(cache, *BROKEN_OFF, "--output-dir", "whole")
    assert whole.code == 0, whole.said
    (record,) = Store(folder / "whole").records()[0]
    for step, (number, (code, word)) in enumerate(ENDS.items(), 5):
        command = [*BROKEN_OFF, "--output-dir", number.name]
        stopped = forked(cache, *command, prepare=functools.partial(signal_in_training, step, number))
        assert stopped.code == code, stopped.said
        assert f"{word}; what is finished is kept; the same command does the rest" in stopped.said
        assert "Traceback" not in stopped.said
        (state,) = cache.rglob("*.state.pt")
        assert torch.load(state, weights_only=True)["progress"]["step"] == step + 1, "that step is done, no other"
        resumed = forked(cache, *command)
        assert resumed.code == 0, resumed.said
        (again,) = Store(folder / number.name).records()[0]
        assert (again.run, again.curve, again.metrics) == (record.run, record.curve, record.metrics)
        predictions = [Store(folder / name).predictions(record) for name in ("whole", number.name)]
        np.testing.assert_array_equal(predictions[0].score, predictions[1].score)
        assert list(cache.rglob("*.state.pt")) == []


def test_the_checkpoint_of_a_run_that_is_there_goes_at_the_next_start(cache: Path) -> None:
    """As of one that was killed after its record was written."""
    command = [*BROKEN_OFF, "--output-dir", "results"]
    assert forked(cache, *command, prepare=functools.partial(signal_in_training, 5, signal.SIGTERM)).code == 143
    (state,) = cache.rglob("*.state.pt")
    content = state.read_bytes()
    assert forked(cache, *command).code == 0
    other = state.with_name(state.name.replace(".", ".0", 1))
    for place in (state, other):
        place.write_bytes(content)
    assert forked(cache, *command).code == 0
    assert list(cache.rglob("*.state.pt")) == [other], "another run's stays"


def test_when_its_terminal_is_gone_a_training_leaves_a_checkpoint_and_ends_by_the_hang_up(cache: Path) -> None:
    """What it would still say to that terminal is an error of the system, and no reason to lose the work."""
    ours, theirs = pty.openpty()
    at_step = functools.partial(hang_up_in_training, 5, os.ttyname(theirs))
    started = Started(cache, *BROKEN_OFF, "--output-dir", "results", prepare=at_step)
    said = b""
    while b"at step 5" not in said and started.process.is_alive():
        said += os.read(ours, 1000) if select.select([ours], [], [], 0.1)[0] else b""
    os.close(ours), os.close(theirs)
    assert started.done().code == 129
    (state,) = cache.rglob("*.state.pt")
    assert torch.load(state, weights_only=True)["progress"]["step"] == 6
