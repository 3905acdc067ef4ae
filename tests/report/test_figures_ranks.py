"""Critical-difference diagrams: who is compared on what, and what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, rankdata

from mixer_bench.report.cells import cells_of
from mixer_bench.report.figures import ranks as figures_ranks
from mixer_bench.report.figures.style import Drawn
from mixer_bench.report.models import About
from mixer_bench.results.record import Record, Run
from tests.builders import a_record, a_run

MODELS = ("a", "b", "c", "d")
GENERATOR = np.random.default_rng(3)
LEVELS = np.array([0.15, 0.13, 0.05, 0.0])
SCORES = np.round(GENERATOR.uniform(0.2, 0.6, (9, 1)) + LEVELS + GENERATOR.normal(0, 0.02, (9, 4)), 4)


def study(scores: np.ndarray = SCORES, without: tuple[tuple[str, int], ...] = (), **changes: object) -> list[Record]:
    def run(t: int, m: int, seed: int) -> Run:
        return a_run(model=MODELS[m], weights=MODELS[m] * 64, task=f"t{t}", seed=seed, **changes)

    return [
        a_record(float(scores[t, m]) + 0.01 * seed, run(t, m, seed))
        for t in range(len(scores))
        for m in range(scores.shape[1])
        for seed in range(2)
        if (MODELS[m], t) not in without
    ]


def contests_of(records: list[Record]) -> list[figures_ranks.Contest]:
    return figures_ranks.contests(cells_of(records, About()), About())


def drawn(records: list[Record]) -> Drawn:
    (contest,) = contests_of(records)
    return figures_ranks.critical_difference(contest)


def lines(one: Drawn, gid: str) -> list[tuple[float, float]]:
    found = [line for line in one.figure.axes[0].get_lines() if line.get_gid() == gid]
    return [(float(line.get_xdata()[0]), float(line.get_xdata()[-1])) for line in found]


def test_the_bar_is_nemenyis_and_models_stand_at_their_mean_ranks() -> None:
    one = drawn(study())
    ((start, end),) = lines(one, "CD")
    critical = 2.569 * (4 * 5 / (6 * 9)) ** 0.5  # q of Demšar's table 5a for four models
    assert (start, end - start) == (1, pytest.approx(critical, rel=1e-3))
    expected = rankdata(-SCORES, axis=1).mean(axis=0)
    starts = sorted(float(line.get_xdata()[0]) for line in one.figure.axes[0].get_lines() if len(line.get_xdata()) == 3)
    np.testing.assert_allclose(starts, sorted(expected))
    texts = {text.get_text() for text in one.figure.axes[0].texts}
    for model, rank in zip(MODELS, expected, strict=True):
        assert {f"{model}  {rank:.2f}", f"{rank:.2f}  {model}"} & texts
    p = friedmanchisquare(*SCORES.T).pvalue
    assert f"p = {p:.2g}" in one.caption
    assert f"CD = {critical:.2f}" in one.caption and f"CD = {critical:.2f}" in texts
    assert one.caption.startswith("Mean ranks over 9 tasks, 5-shot: 4 models")


def test_bars_join_what_is_not_told_apart() -> None:
    one = drawn(study())
    ranks = sorted(rankdata(-SCORES, axis=1).mean(axis=0))
    ((_, end),) = lines(one, "CD")
    for low, high in lines(one, "clique"):
        inside = [rank for rank in ranks if low <= rank <= high]
        assert len(inside) > 1
        assert inside[-1] - inside[0] < end - 1
    assert lines(one, "clique")


def test_only_tasks_that_all_models_have_count_and_the_rest_is_named() -> None:
    one = drawn(study(without=(("b", 0), ("c", 1))))
    assert one.caption.startswith("Mean ranks over 7 tasks")
    assert "Left out: t0 (not of all models), t1 (not of all models)." in one.caption


def test_a_model_with_few_tasks_does_not_cost_the_others_theirs() -> None:
    few = tuple(("d", task) for task in range(2, 9))
    (contest,) = contests_of(study(without=few))
    assert (contest.models, len(contest.tasks)) == (("a", "b", "c"), 9)
    assert contest.left_out == ("d (2 tasks)",)


def test_two_models_are_compared_by_wilcoxon_and_fewer_than_three_tasks_not_at_all() -> None:
    one = drawn(study(SCORES[:, :2]))
    assert "Wilcoxon's signed-rank test of the two: p = " in one.caption
    assert "Friedman" not in one.caption
    assert contests_of(study(SCORES[:2])) == []
    assert contests_of(study(SCORES[:, :1])) == []


def test_a_test_that_does_not_reject_says_so() -> None:
    one = drawn(study(np.array([[0.1, 0.2, 0.3], [0.2, 0.3, 0.1], [0.3, 0.1, 0.2]])))
    assert "It is not rejected" in one.caption
    assert len(lines(one, "clique")) == 1


def test_settings_limits_and_variants_are_never_ranked_together() -> None:
    other = [*study(config={"shots": 10, "l2": [1024.0]}), *study(limit=10)]
    contests = contests_of([*study(), *other])
    assert [(c.setting, c.limit) for c in contests] == [("5-shot", None), ("10-shot", None), ("5-shot", 10)]
    twice = [r for r in study(data="2" * 64) if r.run.task == "t0"]
    (contest,) = contests_of([*study(), *twice])
    assert "t0" not in contest.tasks
    assert contest.left_out == ("t0 (several variants)",)
