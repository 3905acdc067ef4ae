"""Label rules at every threshold and edge of task_adaptation's own (data/<set>.py)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mixer_bench.data import vtab_labels
from mixer_bench.errors import DataError, UsageError

ORIENTATIONS = [0] * 3 + [1] * 2 + [2] * 3 + [3] * 2  # of the first ten: edges at two and a half


@pytest.mark.parametrize(
    ("rule", "stored", "classes"),
    [
        ("clevr_count", range(3, 11), range(8)),
        ("dsprites_location", range(32), [x // 2 for x in range(32)]),
        ("dsprites_orientation", range(40), [math.floor(turn / 2.5) for turn in range(40)]),
        ("dsprites_orientation", range(10), ORIENTATIONS),
        ("smallnorb_azimuth", range(0, 36, 2), range(18)),
        ("smallnorb_elevation", range(9), range(9)),
    ],
)
def test_a_rule_makes_the_sources_classes(rule: str, stored: range, classes: range | list[int]) -> None:
    assert vtab_labels.rule(rule)(np.array(stored)).tolist() == list(classes)


@pytest.mark.parametrize(
    ("rule", "right", "wrong", "said"),
    [
        *[("clevr_count", 3, wrong, f"{wrong} is outside 3..10") for wrong in (2, 11, 0, -1)],
        *[("dsprites_location", 0, wrong, f"{wrong} is outside 0..31") for wrong in (32, -1)],
        *[("dsprites_orientation", 0, wrong, f"{wrong} is outside 0..39") for wrong in (40, -1)],
        ("smallnorb_azimuth", 6, 7, "azimuth 7 is odd"),
        ("smallnorb_azimuth", 6, 36, "36 is outside 0..34"),
        ("smallnorb_elevation", 0, 9, "9 is outside 0..8"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_row(rule: str, right: int, wrong: int, said: str) -> None:
    with pytest.raises(DataError, match=f"row 1: {said}"):
        vtab_labels.rule(rule)(np.array([right, wrong]))


THRESHOLDS = {0: (0.001, 8.0), 1: (8.001, 8.5), 2: (8.501, 9.0), 3: (9.001, 9.5), 4: (9.501, 10.0), 5: (10.001, 100.0)}


@pytest.mark.parametrize(
    ("class_", "depth"), [(class_, depth) for class_, ends in THRESHOLDS.items() for depth in ends]
)
def test_clevr_distance_at_each_threshold(class_: int, depth: float) -> None:
    assert vtab_labels.clevr_distance([depth]) == class_
    closest = class_ if depth <= 99 else 5
    assert vtab_labels.clevr_distance([99.0, depth, 100.0]) == closest, "the closest object decides"


def test_clevr_distance_compares_in_float32_as_the_source_does() -> None:
    just_above = math.nextafter(8.5, 9)  # the same number as 8.5 in float32
    assert vtab_labels.clevr_distance([just_above]) == vtab_labels.clevr_distance([8.5]) == 1


@pytest.mark.parametrize("depths", [[], [0.0], [-1.0], [100.5]])
def test_clevr_distance_refuses_a_scene_that_cannot_be(depths: list[float]) -> None:
    with pytest.raises(DataError):
        vtab_labels.clevr_distance(depths)


def test_an_unknown_rule_is_named_with_the_known_one() -> None:
    with pytest.raises(UsageError, match="clevr_count"):
        vtab_labels.rule("clevr_counts")
