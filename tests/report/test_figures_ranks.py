"""Critical-difference diagrams: who is compared on what, and what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, rankdata

from mixer_bench.report.models import About
from mixer_bench.results.record import Record, Run
from tests.builders import a_record, a_run, plots_of

MODELS = ("a", "b", "c", "d")
GENERATOR = np.random.default_rng(3)
LEVELS = np.array([0.15, 0.13, 0.05, 0.0])
SCORES = np.round(GENERATOR.uniform(0.2, 0.6, (9, 1)) + LEVELS + GENERATOR.normal(0, 0.02, (9, 4)), 4)
CRITICAL = 2.569 * (4 * 5 / (6 * 9)) ** 0.5  # q of Demšar's table 5a for four models
MEAN_RANKS = dict(zip(MODELS, rankdata(-SCORES, axis=1).mean(axis=0), strict=True))


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


def captions(records: list[Record]) -> list[str]:
    return [plot.caption for plot in plots_of(records, "ranks", About())]


def test_models_have_their_mean_ranks_and_nemenyis_difference() -> None:
    (plot,) = plots_of(study(), "ranks", About())
    assert plot.ranks == pytest.approx(MEAN_RANKS)
    assert list(plot.ranks.values()) == sorted(plot.ranks.values())
    assert plot.critical == pytest.approx(CRITICAL, rel=1e-3)
    assert plot.caption.startswith("Mean ranks over 9 tasks, 5-shot: 4 models")
    assert f"p = {friedmanchisquare(*SCORES.T).pvalue:.2g}" in plot.caption
    assert f"CD = {CRITICAL:.2f}" in plot.caption


def test_bars_join_what_is_not_told_apart() -> None:
    (plot,) = plots_of(study(), "ranks", About())
    assert plot.cliques
    for best, worst in plot.cliques:
        inside = [rank for rank in MEAN_RANKS.values() if best - 1e-9 <= rank <= worst + 1e-9]
        assert len(inside) > 1
        assert max(inside) - min(inside) < CRITICAL


def test_what_is_drawn_stands_where_the_numbers_say() -> None:
    (plot,) = plots_of(study(), "ranks", About())
    axes = plot.figure().axes[0]
    ends = [tuple(map(float, line.get_xdata())) for line in axes.get_lines()]
    scale, difference, *rest = ends
    assert scale == (1, 2, 3, 4)
    assert difference == pytest.approx((1, 1 + CRITICAL), rel=1e-3)
    cliques, labels = rest[: len(plot.cliques)], rest[len(plot.cliques) :]
    np.testing.assert_allclose(cliques, [(best - 0.04, worst + 0.04) for best, worst in plot.cliques])
    assert [start for start, *_ in labels] == pytest.approx(list(plot.ranks.values()))
    assert [end < 1 for *_, end in labels] == [True, True, False, False], "the better half stands to the left"
    texts = {text.get_text() for text in axes.texts}
    best, *_, worst = plot.ranks
    assert {f"{best}  {plot.ranks[best]:.2f}", f"{plot.ranks[worst]:.2f}  {worst}", f"CD = {CRITICAL:.2f}"} <= texts


@pytest.mark.parametrize(
    ("records", "says"),
    [
        (study(without=(("b", 0), ("c", 1))), ["over 7 tasks", "Left out: t0 (not of all models), t1 (not of all"]),
        (study(without=tuple(("d", task) for task in range(3, 9))), ["over 9 tasks", "3 models", "out: d (3 tasks)."]),
        ([*study(), *study(SCORES[:1], data="2" * 64)], ["over 8 tasks", "Left out: t0 (several variants)."]),
        (study(SCORES[:, :2]), ["Wilcoxon's signed-rank test of the two: p = "]),
        (study(np.array([[0.1, 0.2, 0.3], [0.2, 0.3, 0.1], [0.3, 0.1, 0.2]])), ["It is not rejected"]),
    ],
    ids=["tasks of some models", "a model with few tasks", "a task in two variants", "two models", "not rejected"],
)
def test_who_is_compared_and_how_is_said(records: list[Record], says: list[str]) -> None:
    (caption,) = captions(records)
    assert [words for words in says if words not in caption] == []
    assert ("Friedman" in caption) == ("Wilcoxon" not in caption)


def test_fewer_than_three_tasks_or_two_models_have_none() -> None:
    assert captions(study(SCORES[:2])) == captions(study(SCORES[:, :1])) == []


def test_settings_and_limits_are_never_ranked_together() -> None:
    other = [*study(config={"shots": 10, "l2": [1024.0]}), *study(limit=10)]
    names = [plot.name for plot in plots_of([*study(), *other], "ranks", About())]
    assert names == ["ranks 5-shot", "ranks 10-shot", "ranks 5-shot, limited to 10 a split"]
