"""What a person is told of the time."""

from types import SimpleNamespace

import pytest

from mixer_bench.runs import runner
from mixer_bench.system import progress
from mixer_bench.system.progress import Pace, duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (179, "179 s"),
        (600, "10 min"),
        (10_000, "167 min"),
        (45_000, "12.5 h"),
        (3e5, "3 days"),
        (1e8, "1,157 days"),
    ],
)
def test_durations_are_told_in_the_unit_that_suits(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_pace_counts_only_what_was_trained_on_here(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    pace = Pace(10_000)
    pace.skip(6_000)  # another seed's search
    now += 2.0
    assert pace.trained(500) == "250 img/s, 14 s left"
    now += 2.0
    assert pace.trained(1_500) == "500 img/s, 4 s left"
    now += 4.0
    assert pace.trained(2_000) == "500 img/s, 0 s left"


def test_images_that_need_no_training_do_not_speed_a_run_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    said: list[str] = []
    log = SimpleNamespace(label=said.append, advance=lambda _: None)
    pace, label = Pace(1_000), "a model on a task, finetune seed 1"
    runner._heard(log, pace, label, "rate 0.1: known", 600, False)
    now = 2.0
    runner._heard(log, pace, label, "final: step 10/20", 200, True)
    assert said == [
        "a model on a task, finetune seed 1, rate 0.1: known",
        "a model on a task, finetune seed 1, final: step 10/20, 100 img/s, 2 s left",
    ]
