"""The decisions of ``recommend`` on a published table: 16 models x 19 tasks of VTAB's leaderboard (1,000 images).

    python benchmarks/recommend_simulation.py

A model's published accuracy on a task is taken for the truth. Each image has a difficulty that all models share in
part (``SHARED`` of the variance), and with n labels a model is right as often as its accuracy says, less what a power
law with an exponent of its own takes off between n and 1,000: so that ranks cross from round to round.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from mixer_bench.recommend import decision
from mixer_bench.task import task as tasks

TABLE = Path(__file__).parent.parent / "results" / "published" / "vtab_leaderboard.csv"
TRAIN, VAL = 800, 200
REPEATS = 200
EXPONENTS = (0.1, 0.4)  # of the error's fall with labels, drawn anew for each model, task and repeat
SHARED = (0.0, 0.5, 0.8)
PRESSED = (16, 8, 4)  # models that there is time for in the last round


class Told(NamedTuple):
    """What a recommendation was worth."""

    regret: float  # accuracy lost, in points
    covered: bool  # whether the best is the winner or not told apart from it
    tied: int


def published() -> dict[str, dict[str, float]]:
    """Return accuracies in [0, 1] by task and model."""
    accuracies: dict[str, dict[str, float]] = {}
    with TABLE.open(encoding="utf-8") as opened:
        for row in csv.DictReader(opened):
            if row["quantity"].startswith("vtab/"):
                accuracies.setdefault(row["quantity"], {})[row["pretrain"]] = float(row["value"]) / 100
    return accuracies


def recommended(truth: dict[str, float], classes: int, shared: float, most: int, draw: np.random.Generator) -> Told:
    """Hold one contest among models of these true accuracies."""
    ends = decision.sizes(TRAIN, classes)
    counts = [*ends[:-1], TRAIN + VAL]
    exponents = {name: draw.uniform(*EXPONENTS) for name in truth}
    difficulty = draw.standard_normal(counts[-1])
    own = {name: draw.standard_normal(counts[-1]) for name in truth}
    names, rounds = list(truth), list[decision.Round]()
    for place, count in enumerate(counts):
        right = {}
        for name in names:
            error = min(1 - 1 / classes, (1 - truth[name]) * (count / counts[-1]) ** -exponents[name])
            hard = np.sqrt(shared) * difficulty[:count] + np.sqrt(1 - shared) * own[name][:count]
            right[name] = hard < ndtri(1 - error)
        rounds.append(decision.Round(right))
        if place < len(counts) - 1:
            names = decision.kept(rounds[-1], {}, lambda some: len(some) <= most)
    winner = rounds[-1].ranked({})[0]
    tied = {each.candidate for each in decision.standings(rounds, winner) if not each.behind}
    best = max(truth.values())
    covered = any(truth[name] == best for name in (winner, *tied))
    return Told(100 * (best - truth[winner]), covered, len(tied))


def main() -> None:
    """Print a table."""
    table, known = published(), tasks.tasks()
    print("| shared | most in the last round | mean regret | largest mean of a task | best covered | tied |")
    print("|--:|--:|--:|--:|--:|--:|")
    for shared in SHARED:
        for most in PRESSED:
            draw = np.random.default_rng(0)
            told: list[Sequence[Told]] = [
                [recommended(truth, known[task].num_classes or 2, shared, most, draw) for _ in range(REPEATS)]
                for task, truth in table.items()
            ]
            every = [each for of_task in told for each in of_task]
            worst = max(np.mean([each.regret for each in of_task]) for of_task in told)
            print(
                f"| {shared} | {most} | {np.mean([each.regret for each in every]):.2f} | {worst:.2f} | "
                f"{np.mean([each.covered for each in every]):.1%} | {np.mean([each.tied for each in every]):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
