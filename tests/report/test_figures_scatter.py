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
from mixer_bench.report.figures import scatter
from mixer_bench.report.models import About
from mixer_bench.results.record import Record
from tests.builders import a_record, a_run, plots_of
from tests.report.test_models import profiled

SCORES = {"mixer_b16": 0.7, "mixer_l16": 0.75, "vit_b16": 0.72, "vit_l16": 0.71, "mixer_nano": 0.4, "pixels": 0.2}
SPEEDS = {"mixer_b16": 400.0, "mixer_l16": 100.0, "vit_b16": 390.0, "vit_l16": 90.0, "mixer_nano": 5000.0}


def measured(name: str, seed: int, **origin: object) -> Record:
    known = origin_module.origin(zoo.cards()[name]).model_copy(update=origin)
    cost = a_record().cost.model_copy(update={"throughput": SPEEDS.get(name)})
    run = a_run(model=name, seed=seed, weights=name.ljust(64, "0"))
    return a_record(SCORES[name] + 0.01 * (seed - 1), run, origin=known, cost=cost)


STUDY = [measured(name, seed) for name in SCORES for seed in range(3)]


def xs(plane: scatter.Plane) -> dict[str, float]:
    return {spot.label: spot.x for spot in plane.spots}


def test_points_are_the_tables_cells_over_speed() -> None:
    (plane,) = plots_of(STUDY, "throughput")
    assert xs(plane) == SPEEDS
    half = 4.302653 * 1 / 3**0.5  # Student's, of seeds one point apart
    for spot in plane.spots:
        assert (spot.y, spot.half) == (pytest.approx(100 * SCORES[spot.label]), pytest.approx(half, rel=1e-5))
    assert [spot.label for spot in plane.front] == ["mixer_l16", "vit_b16", "mixer_b16", "mixer_nano"]
    assert "Left out, not measured: pixels." in plane.caption
    assert "over 3 seeds" in plane.caption


def test_the_front_is_a_step_line_through_its_points() -> None:
    (plane,) = plots_of(STUDY, "throughput")
    np.testing.assert_allclose(
        plane.steps, [(100, 75), (100, 72), (390, 72), (390, 70), (400, 70), (400, 40), (5000, 40)]
    )
    (plane,) = plots_of(STUDY, "cost")
    np.testing.assert_allclose(plane.steps, [(150, 70), (180, 70), (180, 72), (410, 72), (410, 75)])


def test_what_is_drawn_are_the_points_their_intervals_and_the_front() -> None:
    (plane,) = plots_of(STUDY, "throughput")
    axes = plane.figure().axes[0]
    assert axes.get_xscale() == "log"
    for spot, (marker, _, (bar,)) in zip(plane.spots, axes.containers, strict=True):
        np.testing.assert_allclose(marker.get_xydata(), [(spot.x, spot.y)])
        np.testing.assert_allclose(bar.get_segments()[0][:, 1], (spot.y - spot.half, spot.y + spot.half))
        assert (marker.get_markerfacecolor() != "white") == (spot in plane.front)
    (front,) = (line for line in axes.get_lines() if len(line.get_xdata()) == len(plane.steps))
    np.testing.assert_allclose(front.get_xydata(), plane.steps)


def test_cost_has_a_figure_a_unit_and_names_who_is_left_out() -> None:
    (plane,) = plots_of(STUDY, "cost")
    assert xs(plane) == {"mixer_b16": 150, "mixer_l16": 410, "vit_b16": 180, "vit_l16": 550}
    assert [spot.label for spot in plane.front] == ["mixer_b16", "vit_b16", "mixer_l16"]
    assert plane.name == "cost colours 5-shot TPUv3-core-d"
    assert "Extrapolated by those who published it: mixer_b16, mixer_l16, vit_b16, vit_l16." in plane.caption
    assert "Left out, not pre-trained: pixels." in plane.caption
    assert "Left out, of unknown cost: mixer_nano." in plane.caption
    hours = {"mixer_nano": 0.5, "vit_l16": 1200}
    costs = {name: Cost(amount=amount, unit="CPU-core-h", source="measured") for name, amount in hours.items()}
    costs |= {"vit_b16": None}
    days = Cost(amount=10, unit="TPUv3-core-d", source="a paper")
    records = [measured(name, seed, cost=costs.get(name, days)) for name in SCORES for seed in range(2)]
    two = plots_of(records, "cost", About())
    assert [sorted(xs(plane)) for plane in two] == [["mixer_b16", "mixer_l16", "pixels"], ["mixer_nano", "vit_l16"]]
    assert "in another unit: mixer_nano (0.5" not in two[0].caption
    assert "Left out, in another unit: mixer_b16 (TPUv3-core-d)" in two[1].caption


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=9), st.booleans())
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, int]], larger: bool) -> None:
    def beats(a: tuple[int, int], b: tuple[int, int]) -> bool:
        x = a[0] - b[0] if larger else b[0] - a[0]
        y = a[1] - b[1]
        return (x > 0 and y >= 0) or (x >= 0 and y > 0)

    expected = [not any(beats(other, point) for other in points) for point in points]
    assert scatter.pareto(points, larger) == expected
    assert any(expected)


def test_two_devices_are_two_figures() -> None:
    profiles = [
        profiled(name, speed * factor, device)
        for name, speed in SPEEDS.items()
        for device, factor in (("a processor", 1), ("NVIDIA H100", 50))
    ]
    first, second = plots_of(STUDY, "throughput", About(models.cards_of(STUDY), profiles))
    assert xs(first) == SPEEDS
    assert xs(second)["mixer_nano"] == 250_000
    assert (first.name, second.name) == ("throughput colours 5-shot", "throughput colours 5-shot (2)")
    assert "NVIDIA" not in first.caption and "NVIDIA" in second.caption
    slow = [
        p.model_copy(update={"latency_ms": p.latency_ms.model_copy(update={"median": 1e3 / p.throughput})})
        for p in profiles[::2]
    ]
    (plane,) = plots_of(STUDY, "latency", About(models.cards_of(STUDY), slow))
    assert xs(plane) == pytest.approx({name: 1e3 / speed for name, speed in SPEEDS.items()})
    assert [spot.label for spot in plane.front] == [spot.label for spot in reversed(first.front)], "less is better"


def test_in_domain_points_have_a_dagger_and_one_model_has_no_figure() -> None:
    records = [measured(name, 0, in_domain=("colours",) if name == "mixer_nano" else ()) for name in SCORES]
    (plane,) = plots_of(records, "throughput", About())
    assert {"mixer_nano†", "mixer_b16"} <= set(xs(plane))
    assert "† images" in plane.caption and "of the test sample" in plane.caption
    assert plots_of([measured("mixer_nano", 0)], "throughput") == []


def test_models_without_the_setting_are_named() -> None:
    other = a_run(model="vit_b32", weights="v" * 64, config={"shots": 10, "l2": [1024.0]})
    (plane,) = plots_of([*STUDY, a_record(0.5, other)], "throughput")
    assert "Left out, without this setting: vit_b32." in plane.caption


def test_labels_cover_neither_each_other_nor_a_point() -> None:
    names = [name for name in zoo.cards() if name != "pixels"][:14]
    generator = np.random.default_rng(0)
    records = []
    for number, name in enumerate(names):
        cost = a_record().cost.model_copy(update={"throughput": 100 * 1.12 ** generator.integers(0, 8)})
        run = a_run(model=name, weights=f"{number:064}")
        records.append(a_record(0.5 + 0.05 * generator.integers(0, 5), run, cost=cost))
    (plane,) = plots_of(records, "throughput")
    figure = plane.figure()
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert {text.get_text() for text in axes.texts} == set(names)
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[place + 1 :])
        assert axes.get_window_extent().contains(*box.min) and axes.get_window_extent().contains(*box.max)
        for spot in plane.spots:
            assert not box.contains(*axes.transData.transform((spot.x, spot.y)))


@pytest.mark.parametrize(("low", "high"), [(0.66, 0.95), (1, 1000), (1, 999), (88, 117), (0.003, 9000), (9, 91)])
def test_a_log_axis_has_some_round_ticks(low: float, high: float) -> None:
    shown = scatter.ticks(low, high).tick_values(low, high)
    assert 3 <= sum(low <= tick <= high for tick in shown) <= 10
