"""Who stays, who wins, who is not told apart: by hand, and on a published table whose best models are known."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from mixer_bench.recommend import costs, decision
from mixer_bench.recommend.costs import Price, Sizes
from mixer_bench.recommend.decision import Round
from mixer_bench.task.task import tasks

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


def answers(*shares: float, images: int = 200) -> Round:
    """Candidates a, b, c, ...: each has the first images right, as many as its share says."""
    return Round({letter: np.arange(images) < share * images for letter, share in zip("abcdef", shares, strict=False)})


@pytest.mark.parametrize(
    ("images", "classes", "rounds"),
    [(90, 2, [90]), (600, 10, [200, 600]), (600, 60, [600]), (50_000, 100, [617, 1851, 5555, 16666, 50_000])],
)
def test_rounds_grow_from_a_few_labels_a_class_to_all(images: int, classes: int, rounds: list[int]) -> None:
    assert decision.sizes(images, classes)[1:] == rounds[1:]
    assert decision.sizes(images, classes)[0] in (rounds[0], rounds[0] // 3)


def test_the_worse_half_goes_where_it_is_worse_by_more_than_chance() -> None:
    assert decision.kept(answers(0.9, 0.8, 0.3, 0.2), {}, lambda _: True) == ["a", "b"]
    assert decision.kept(answers(0.9, 0.89, 0.885, 0.2), {}, lambda _: True) == ["a", "b", "c"]
    assert decision.kept(answers(0.5, 0.5), {"a": 2.0, "b": 1.0}, lambda _: True) == ["b", "a"]


def test_the_time_there_is_decides_last_and_one_goes_on_in_any_case() -> None:
    assert decision.kept(answers(0.9, 0.89, 0.88, 0.87), {}, lambda names: len(names) <= 2) == ["a", "b"]
    assert decision.kept(answers(0.9, 0.89), {}, lambda _: False) == ["a"]


def test_who_was_left_out_and_may_have_caught_up_is_not_called_behind() -> None:
    """Of 20 % errors at 200 labels a power law with exponent 0.35 leaves 9 % at 2,000; of 70 % it leaves 31 %."""
    first, last = answers(0.9, 0.8, 0.3, 0.2), answers(0.9, images=2000)
    stands = {each.candidate: each for each in decision.standings([first, last], "a")}
    assert {name: each.behind for name, each in stands.items()} == {"b": False, "c": True, "d": True}
    assert stands["b"].p < 0.05 and stands["b"].against.difference == pytest.approx(0.1)
    assert [each.candidate for each in decision.standings([first, answers(0.9, 0.8)], "a")] == ["b", "c", "d"]


def test_on_the_leaderboard_of_vtab_little_is_lost_and_the_best_is_named() -> None:
    """16 models on 19 tasks: regret below a point on average, the true best among those named in 95 % of contests."""
    simulation = runpy.run_path(str(BENCHMARKS / "recommend_simulation.py"))
    draw, table, known = np.random.default_rng(1), simulation["published"](), tasks()
    assert (len(table), {len(truth) for truth in table.values()}) == (19, {16})
    told = [
        simulation["recommended"](truth, known[task].num_classes, 0.5, most, draw)
        for task, truth in table.items()
        for most in (16, 4) * 4
    ]
    assert np.mean([each.regret for each in told]) < 1
    assert np.mean([each.covered for each in told]) >= 0.95


def price(network: float, squares: str = "64") -> Price:
    return Price(network, 0.001, squares, lambda labels: 0.0001 * labels)


def test_images_are_prepared_once_for_networks_that_see_equal_squares() -> None:
    assert costs.images([price(0.01), price(0.02), price(0.02, "224")], 10) == pytest.approx(10 * (0.05 + 0.002))


def test_what_does_not_fit_into_the_time_looks_at_fewer_images_then_the_slowest_take_no_part() -> None:
    prices, sizes = {"fast": price(0.001), "middle": price(0.01), "slow": price(1.0)}, Sizes(6000, 2000, 2000)
    assert costs.planned(prices, sizes, 10, 1e6) == (["fast", "middle", "slow"], None)
    names, limit = costs.planned(prices, sizes, 10, 1500.0)
    assert names == ["fast", "middle", "slow"] and limit == 375
    assert costs.planned(prices, sizes, 10, 100.0) == (["fast", "middle"], 3000)
    assert costs.planned(prices, sizes, 10, 0.01)[0] == ["fast"]
