"""Fifty kills of every command that writes; benchmarks/kills.py does the same a thousand times."""

import random
from pathlib import Path

import pytest

from tests import kills

KILLS = {"few-shot": 13, "extraction": 6, "fine-tuning": 5, "pre-training": 4, "merge": 10, "check --update": 12}


def test_there_are_fifty_kills_of_all_commands() -> None:
    assert sum(KILLS.values()) == 50
    assert list(KILLS) == [case.name for case in kills.CASES]


@pytest.mark.parametrize("case", kills.CASES, ids=list(KILLS))
def test_however_often_it_is_killed_nothing_is_half_lost_or_left_behind(
    case: kills.Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    campaign = kills.Campaign(case, tmp_path, random.Random(case.name))
    while campaign.kills < KILLS[case.name]:
        campaign.kill(by_clock=False)
    campaign.end()


def test_a_process_of_two_is_killed_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    crew = kills.Crew(tmp_path, random.Random(1))
    while crew.kills < 3:
        crew.kill()
    crew.end()
