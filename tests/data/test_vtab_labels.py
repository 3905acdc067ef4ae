"""Label rules at every threshold and edge of task_adaptation's own (data/<set>.py)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mixer_bench.data import vtab_labels
from mixer_bench.errors import DataError, UsageError


def test_clevr_count_is_the_number_of_objects_less_three() -> None:
    assert vtab_labels.clevr_count(np.arange(3, 11)).tolist() == list(range(8))


@pytest.mark.parametrize("objects", [2, 11, 0, -1])
def test_clevr_count_outside_its_scenes_is_refused_by_row(objects: int) -> None:
    with pytest.raises(DataError, match=rf"row 1: {objects} is outside 3..10"):
        vtab_labels.clevr_count(np.array([3, objects]))


@pytest.mark.parametrize(
    ("depth", "class_"),
    [
        *[
            (0.001, 0),
            (8.0, 0),
            (8.001, 1),
            (8.5, 1),
            (8.501, 2),
            (9.0, 2),
            (9.001, 3),
            (9.5, 3),
            (9.501, 4),
            (10.0, 4),
        ],
        *[(10.001, 5), (100.0, 5)],
    ],
)
def test_clevr_distance_at_each_threshold(depth: float, class_: int) -> None:
    assert vtab_labels.clevr_distance([depth]) == class_
    assert vtab_labels.clevr_distance([99.0, depth, 100.0]) == (class_ if depth <= 99 else 5), (
        "the closest object decides"
    )


def test_clevr_distance_compares_in_float32_as_the_source_does() -> None:
    just_above = math.nextafter(8.5, 9)  # the same number as 8.5 in float32
    assert vtab_labels.clevr_distance([just_above]) == vtab_labels.clevr_distance([8.5]) == 1


@pytest.mark.parametrize("depths", [[], [0.0], [-1.0], [100.5]])
def test_clevr_distance_refuses_a_scene_that_cannot_be(depths: list[float]) -> None:
    with pytest.raises(DataError):
        vtab_labels.clevr_distance(depths)


def test_dsprites_location_halves_the_place() -> None:
    assert vtab_labels.dsprites_location(np.arange(32)).tolist() == [x // 2 for x in range(32)]


def test_dsprites_orientation_makes_16_of_40_with_edges_at_2_and_a_half() -> None:
    found = vtab_labels.dsprites_orientation(np.arange(40))
    assert found.tolist() == [math.floor(turn / 2.5) for turn in range(40)]
    assert found[[0, 2, 3, 4, 5, 7, 8, 37, 38, 39]].tolist() == [0, 0, 1, 1, 2, 2, 3, 14, 15, 15]
    assert set(found.tolist()) == set(range(16))


@pytest.mark.parametrize(("rule", "beyond"), [("dsprites_location", 32), ("dsprites_orientation", 40)])
def test_dsprites_values_beyond_the_last_are_refused(rule: str, beyond: int) -> None:
    for wrong in (beyond, -1):
        with pytest.raises(DataError, match=f"row 0: {wrong} is outside 0..{beyond - 1}"):
            vtab_labels.rule(rule)(np.array([wrong]))


def test_smallnorb_azimuth_is_halved_and_odd_values_are_refused() -> None:
    assert vtab_labels.smallnorb_azimuth(np.arange(0, 36, 2)).tolist() == list(range(18))
    with pytest.raises(DataError, match="row 1: azimuth 7 is odd"):
        vtab_labels.smallnorb_azimuth(np.array([6, 7]))
    with pytest.raises(DataError, match=r"36 is outside 0..34"):
        vtab_labels.smallnorb_azimuth(np.array([36]))


def test_smallnorb_elevation_is_the_class_as_it_is() -> None:
    assert vtab_labels.smallnorb_elevation(np.arange(9)).tolist() == list(range(9))
    with pytest.raises(DataError, match=r"9 is outside 0..8"):
        vtab_labels.smallnorb_elevation(np.array([9]))


def test_an_unknown_rule_is_named_with_the_known_one() -> None:
    with pytest.raises(UsageError, match="clevr_count"):
        vtab_labels.rule("clevr_counts")
