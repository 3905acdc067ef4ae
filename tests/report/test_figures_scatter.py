"""Accuracy against throughput and cost: points, intervals, the Pareto front and who is left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from mixer_bench.models import origin as origin_module
from mixer_bench.models import zoo
from mixer_bench.models.card import Cost
from mixer_bench.report import models
from mixer_bench.report.cells import cells_of
from mixer_bench.report.figures import boards, scatter
from mixer_bench.report.figures import style as figures_base
from mixer_bench.report.figures.style import Drawn
from mixer_bench.report.models import About
from mixer_bench.results.record import Record
from tests.builders import a_record, a_run
from tests.report.test_models import profiled

SCORES = {"mixer_b16": 0.7, "mixer_l16": 0.75, "vit_b16": 0.72, "vit_l16": 0.71, "mixer_nano": 0.4, "pixels": 0.2}
SPEEDS = {"mixer_b16": 400.0, "mixer_l16": 100.0, "vit_b16": 390.0, "vit_l16": 90.0, "mixer_nano": 5000.0}
EIGHT = a_run().preprocessing.resolution


def measured(name: str, seed: int, **origin: object) -> Record:
    known = origin_module.origin(zoo.cards()[name]).model_copy(update=origin)
    cost = a_record().cost.model_copy(update={"throughput": SPEEDS.get(name)})
    run = a_run(model=name, seed=seed, weights=name.ljust(64, "0"))
    return a_record(SCORES[name] + 0.01 * (seed - 1), run, origin=known, cost=cost)


STUDY = [measured(name, seed) for name in SCORES for seed in range(3)]


def drawn(records: list[Record], kind: str, known: About | None = None) -> list[Drawn]:
    known = known or About(models.cards_of(records))
    style = figures_base.styles(records, known)
    (board,) = boards.boards(cells_of(records, known), known)
    return getattr(scatter, kind)(board, known, style)


def points(one: Drawn) -> dict[str, tuple[float, float, float, bool]]:
    """By label: x, y, half of the error bar, and whether filled."""
    found = {}
    for container in one.figure.axes[0].containers:
        line, _, (bar,) = container
        (x,), (y,) = line.get_data()
        low, high = bar.get_segments()[0][:, 1]
        found[container.get_label()] = (x, y, (high - low) / 2, line.get_markerfacecolor() != "white")
    return found


def test_points_are_the_tables_cells_over_speed() -> None:
    (one,) = drawn(STUDY, "throughput")
    found = points(one)
    assert {name: x for name, (x, *_) in found.items()} == SPEEDS
    half = 4.302653 * 1 / 3**0.5  # Student's, of seeds one point apart
    for name, (_, y, error, _) in found.items():
        assert (y, error) == (pytest.approx(100 * SCORES[name]), pytest.approx(half, rel=1e-5))
    assert {name for name, point in found.items() if point[3]} == {"mixer_b16", "mixer_l16", "vit_b16", "mixer_nano"}
    assert one.figure.axes[0].get_xscale() == "log"
    assert "Left out, without a speed: pixels." in one.caption
    assert "over 3 seeds" in one.caption


def test_the_front_is_a_step_line_through_its_points() -> None:
    (one,) = drawn(STUDY, "throughput")
    (line,) = (line for line in one.figure.axes[0].get_lines() if line.get_label() == "Pareto front")
    assert line.get_drawstyle() == "steps-pre"
    np.testing.assert_allclose(np.transpose(line.get_data()), [(100, 75), (390, 72), (400, 70), (5000, 40)])


def test_cost_has_a_figure_a_unit_and_names_who_is_left_out() -> None:
    (one,) = drawn(STUDY, "cost")
    found = points(one)
    assert {name: x for name, (x, *_) in found.items()} == {
        "mixer_b16": 150, "mixer_l16": 410, "vit_b16": 180, "vit_l16": 550,
    }  # fmt: skip
    assert {name for name, point in found.items() if point[3]} == {"mixer_b16", "vit_b16", "mixer_l16"}
    assert one.name == "cost colours 5-shot TPUv3-core-d"
    assert "Extrapolated by those who published it: mixer_b16, mixer_l16, vit_b16, vit_l16." in one.caption
    assert "Left out, not pre-trained: pixels." in one.caption
    assert "Left out, of unknown cost: mixer_nano." in one.caption
    hours = {"mixer_nano": 0.5, "vit_l16": 1200}
    own = {name: Cost(amount=amount, unit="CPU-core-h", source="measured") for name, amount in hours.items()}
    own |= {"vit_b16": None}
    days = Cost(amount=10, unit="TPUv3-core-d", source="a paper")
    records = [measured(name, seed, cost=own.get(name, days)) for name in SCORES for seed in range(2)]
    two = drawn(records, "cost", About())
    assert [sorted(points(one)) for one in two] == [["mixer_b16", "mixer_l16", "pixels"], ["mixer_nano", "vit_l16"]]
    assert "in another unit: mixer_nano (0.5" not in two[0].caption
    assert "Left out, in another unit: mixer_b16 (TPUv3-core-d)" in two[1].caption


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=9), st.booleans())
def test_the_front_is_what_nothing_dominates(found: list[tuple[int, int]], larger: bool) -> None:
    def beats(one: tuple[int, int], other: tuple[int, int]) -> bool:
        x = one[0] - other[0] if larger else other[0] - one[0]
        y = one[1] - other[1]
        return (x > 0 and y >= 0) or (x >= 0 and y > 0)

    expected = [sum(beats(other, own) for other in found) == 0 for own in found]
    assert scatter.pareto(found, larger) == expected
    assert any(expected)


def test_two_devices_are_two_figures() -> None:
    profiles = [
        profiled(name, speed * factor, device)
        for name, speed in SPEEDS.items()
        for device, factor in (("a processor", 1), ("NVIDIA H100", 50))
    ]
    one, two = drawn(STUDY, "throughput", About(models.cards_of(STUDY), profiles))
    assert {name: x for name, (x, *_) in points(one).items()} == SPEEDS
    assert points(two)["mixer_nano"][0] == 250_000
    assert (one.name, two.name) == ("throughput colours 5-shot device 1", "throughput colours 5-shot device 2")
    assert "NVIDIA" not in one.caption and "NVIDIA" in two.caption


def test_in_domain_points_have_a_dagger_and_one_model_has_no_figure() -> None:
    records = [measured(name, 0, in_domain=("colours",) if name == "mixer_nano" else ()) for name in SCORES]
    (one,) = drawn(records, "throughput", About())
    assert "mixer_nano†" in points(one) and "mixer_b16" in points(one)
    assert "† images" in one.caption and "of the test sample" in one.caption
    assert drawn([measured("mixer_nano", 0)], "throughput") == []


def test_labels_cover_neither_each_other_nor_a_point() -> None:
    names = [name for name in zoo.cards() if name != "pixels"][:14]
    generator = np.random.default_rng(0)
    records = []
    for number, name in enumerate(names):
        cost = a_record().cost.model_copy(update={"throughput": 100 * 1.12 ** generator.integers(0, 8)})
        run = a_run(model=name, weights=f"{number:064}")
        records.append(a_record(0.5 + 0.05 * generator.integers(0, 5), run, cost=cost))
    (one,) = drawn(records, "throughput")
    axes = one.figure.axes[0]
    one.figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # an annotation's own holds its line
    assert {text.get_text() for text in axes.texts} == set(names)
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[place + 1 :])
        assert axes.get_window_extent().contains(*box.min) and axes.get_window_extent().contains(*box.max)
        for x, y, *_ in points(one).values():
            assert not box.contains(*axes.transData.transform((x, y)))


@pytest.mark.parametrize(("low", "high"), [(0.76, 0.83), (1, 1000), (101, 102), (0.003, 9000), (250, 250.5)])
def test_a_log_axis_has_some_round_ticks(low: float, high: float) -> None:
    ticks = scatter.log_ticks(low / 1.15, high * 1.15)
    assert 3 <= len(ticks) <= 9
    assert ticks == sorted(ticks) and low / 1.15 <= ticks[0] and ticks[-1] <= high * 1.15


def test_models_without_the_setting_are_named() -> None:
    other = a_run(model="vit_b32", weights="v" * 64, config={"shots": 10, "l2": [1024.0]})
    records = [*STUDY, a_record(0.5, other)]
    known = About(models.cards_of(records))
    board = next(board for board in boards.boards(cells_of(records, known), known) if board.shots == 5)
    (one,) = scatter.throughput(board, known, figures_base.styles(records, known))
    assert "without this setting: vit_b32" in one.caption
