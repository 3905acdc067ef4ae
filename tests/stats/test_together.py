"""Groups judged together: against all signs, re-stated with loops, and what must and must not make them surer."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm

from mixer_bench.stats import change, together
from mixer_bench.stats.together import Group

Table = list[tuple[str, list[list[float]], list[float]]]  # examples, differences [S, N], weights


def standardised(table: Table) -> dict[tuple[str, int], float]:
    """What each example moved in all groups, each group in its own standard errors under coins for signs."""
    moved: dict[tuple[str, int], float] = {}
    for examples, difference, weights in table:
        mean = [sum(seed[i] for seed in difference) / len(difference) for i in range(len(weights))]
        parts = [m * w / sum(weights) for m, w in zip(mean, weights, strict=True)]
        error = math.sqrt(sum(part**2 for part in parts))
        for i, part in enumerate(parts):
            moved[examples, i] = moved.get((examples, i), 0) + (part / error if error else 0)
    return moved


def by_all_signs(moved: list[float]) -> float:
    """The chance of a sum this low if each example's moves could be reversed."""
    moved = [move for move in moved if move]
    sums = [
        sum(s * m for s, m in zip(signs, moved, strict=True)) for signs in itertools.product((1, -1), repeat=len(moved))
    ]
    return float(np.mean(np.array(sums) <= sum(moved) + 1e-9))


def groups_of(table: Table) -> list[Group]:
    return [Group(np.array(difference), np.array(weights), examples) for examples, difference, weights in table]


@pytest.mark.parametrize("seed", range(12))
def test_p_is_what_the_rule_gives_and_never_below_that_of_all_signs(seed: int) -> None:
    generator = np.random.default_rng(seed)
    table: Table = []
    for examples, count in (("a", 5), ("b", 7), ("a", 5), ("c", 3)):
        flips = generator.choice([-1.0, 0, 1], (1, count), p=[0.3 + 0.04 * seed, 0.2, 0.5 - 0.04 * seed])
        table.append((examples, flips.tolist(), generator.uniform(0.2, 2, count).tolist()))
    moved = list(standardised(table).values())
    t = sum(moved) / math.sqrt(sum(move**2 for move in moved))
    ours = together.together(groups_of(table))
    assert ours.p_drop == pytest.approx(min(1, 3.1787 * norm.cdf(t)))
    assert ours.p_rise == pytest.approx(min(1, 3.1787 * norm.cdf(-t)))
    assert ours.p_drop >= by_all_signs(moved)
    plain = [np.average(np.array(difference)[0], weights=weights) for _, difference, weights in table]
    assert ours.difference == pytest.approx(np.mean(plain))
    assert ours.ci95[0] < ours.difference < ours.ci95[1]


def test_the_factor_of_a_sum_of_signs_is_that_of_two_equal_ones() -> None:
    """1 / (4 P(normal >= sqrt 2)): of two signs both are one way in a quarter of cases."""
    assert pytest.approx(1 / (4 * norm.sf(math.sqrt(2))), abs=5e-5) == together.OF_SIGNS


def lost(count: int, examples: str, seed: int = 0, seeds: int = 1) -> Group:
    """Of 400 answers 30 flip, so many of them for the worse."""
    difference = np.zeros(400)
    difference[np.random.default_rng(seed).permutation(400)[:30]] = np.where(np.arange(30) < count, -1.0, 1.0)
    return Group(np.repeat(difference[None], seeds, axis=0), None, examples)


def test_what_many_groups_lose_of_the_same_examples_is_lost_once() -> None:
    """Copies of a group say nothing more; groups of other examples do."""
    alone = together.together([lost(21, "a")])
    copies = together.together([lost(21, "a")] * 8)
    others = together.together([lost(21, name, seed) for seed, name in enumerate("abcdefgh")])
    assert copies.p_drop == pytest.approx(alone.p_drop)
    assert copies.ci95 == pytest.approx(alone.ci95)
    assert (alone.p_drop > 0.01, others.p_drop < 1e-6) == (True, True)
    assert others.difference == alone.difference == pytest.approx(-12 / 400)
    assert np.ptp(others.ci95) == pytest.approx(np.ptp(alone.ci95) / math.sqrt(8))


def test_what_rises_and_falls_is_no_drop_and_what_did_not_move_dilutes_the_mean_alone() -> None:
    both = together.together([lost(21, "a"), lost(9, "b", 1)])
    assert (both.difference, both.p_drop) == (pytest.approx(0), 1.0)
    opposite = lost(21, "a")._replace(difference=-lost(21, "a").difference)
    assert together.together([lost(21, "a"), opposite]) == change.Change(0.0, (0.0, 0.0), 1.0, 1.0, 30 / 400)
    still = Group(np.zeros((1, 90)), None, "c")
    assert together.together([still, still]) == change.Change(0.0, (0.0, 0.0), 1.0, 1.0, 0.0)
    diluted, alone = together.together([lost(26, "a"), still]), together.together([lost(26, "a")])
    assert diluted.p_drop == alone.p_drop
    assert diluted.difference == pytest.approx(alone.difference / 2)
    assert diluted.flipped == pytest.approx(30 / 400 / 2)


def test_seeds_that_scatter_as_wholes_widen_it() -> None:
    """Three seeds of which one falls by a tenth: that may be the run, not the code."""
    generator = np.random.default_rng(0)
    flips = [generator.choice([-1.0, 0, 1], (3, 400), p=[0.05, 0.9, 0.05]) for _ in range(6)]
    steady = [Group(flip - (generator.random((3, 400)) < 0.03), None, str(n)) for n, flip in enumerate(flips)]
    moved = [(np.arange(3) == 0)[:, None] * (generator.random((3, 400)) < 0.09) for _ in flips]
    scattered = [Group(flip - fell, None, str(n)) for n, (flip, fell) in enumerate(zip(flips, moved, strict=True))]
    steadily, by_run = together.together(steady), together.together(scattered)
    assert steadily.difference == pytest.approx(by_run.difference, abs=0.005)
    assert steadily.p_drop < 1e-4
    assert by_run.p_drop > 1e-2
    assert np.ptp(by_run.ci95) > 1.5 * np.ptp(steadily.ci95)
