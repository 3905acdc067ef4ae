"""Two models' answers in a results folder, and the gate's verb over them."""

import json
from pathlib import Path

from mixer_bench.cli import app
from tests.builders import a_run, right_of, save_answers

SEEDS = 3


def fill(folder: Path, worse: float = 0.0, **changes: object) -> Path:
    """Two models with three seeds; ``worse`` and ``changes`` go to the first."""
    for seed in range(SEEDS):
        save_answers(folder, a_run(seed=seed, **changes), right_of(seed, worse))
        save_answers(folder, a_run(seed=seed, model="other", weights="5" * 64), right_of(seed + 10))
    return folder


def check(file: Path, folder: Path, *more: str) -> int:
    return app.main(["check", str(file), "--results", str(folder), *more])


def groups(file: Path, folder: Path, capsys, code: int = 1) -> list[dict]:
    capsys.readouterr()
    assert check(file, folder, "--json") == code
    return json.loads(capsys.readouterr().out)["groups"]
