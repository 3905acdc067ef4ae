"""Labels of VTAB's structured tasks, from what the data sets store (task_adaptation, data/<set>.py at d7630d3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mixer_bench.errors import DataError, unknown

Rule = Callable[[np.ndarray], np.ndarray]

CLEVR_DEPTHS = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0)  # clevr.py: _closest_object_preprocess_fn
KITTI_METRES = (-100.0, 8.0, 20.0, 999.0)  # kitti.py: _closest_vehicle_distance_pp
KITTI_NO_VEHICLE = 1000.0
KITTI_VEHICLES = ("Car", "Van", "Truck")  # the first three of TFDS's types
DSPRITES_CLASSES = 16


def clevr_count(objects: np.ndarray) -> np.ndarray:
    """Number of objects, 3 to 10, to classes 0 to 7 (clevr.py: _count_preprocess_fn)."""
    return _within(objects, 3, 10) - 3


def clevr_distance(depths: Sequence[float]) -> int:
    """Camera depths of a scene's objects to the class of the closest: (0, 8], (8, 8.5], .. (10, 100] to 0 .. 5.

    Raises:
        DataError: no object, or one beyond the scene.
    """
    if not len(depths):
        raise DataError("a scene without objects has no closest one")
    closest = min(depths)
    if not CLEVR_DEPTHS[0] < closest <= CLEVR_DEPTHS[-1]:
        raise DataError(f"depth {closest} is outside (0, 100]")
    return _last_below(closest, CLEVR_DEPTHS)


def kitti_distance(types: Sequence[str], metres: Sequence[float]) -> int:
    """Types and depths of an image's objects to the class of the closest vehicle: <= 8 m, <= 20 m, farther, none."""
    vehicles = [z for kind, z in zip(types, metres, strict=True) if kind in KITTI_VEHICLES]
    return _last_below(min(vehicles, default=KITTI_NO_VEHICLE), KITTI_METRES)


def dsprites_location(x: np.ndarray) -> np.ndarray:
    """Horizontal place, 0 to 31, to 16 classes; the vertical one is not used (dsprites.py)."""
    return _binned(_within(x, 0, 31), 32)


def dsprites_orientation(turn: np.ndarray) -> np.ndarray:
    """Orientation, 0 to 39, to 16 classes (dsprites.py)."""
    return _binned(_within(turn, 0, 39), 40)


def smallnorb_azimuth(raw: np.ndarray) -> np.ndarray:
    """Azimuth as the files have it, 0, 2 .. 34, to classes 0 to 17 of 20 degrees each (smallnorb.py)."""
    checked = _within(raw, 0, 34)
    if len(odd := np.flatnonzero(checked % 2)):
        raise DataError(f"row {odd[0]}: azimuth {checked[odd[0]]} is odd; the files have 0, 2 .. 34")
    return checked // 2


def smallnorb_elevation(raw: np.ndarray) -> np.ndarray:
    """Elevation, 0 to 8 for 30 to 70 degrees: the class as it is (smallnorb.py)."""
    return _within(raw, 0, 8)


COLUMN_RULES: Mapping[str, Rule] = {
    "clevr_count": clevr_count,
    "dsprites_location": dsprites_location,
    "dsprites_orientation": dsprites_orientation,
    "smallnorb_azimuth": smallnorb_azimuth,
    "smallnorb_elevation": smallnorb_elevation,
}


def rule(name: str) -> Rule:
    """The rule of that name that maps a stored column, int64 [N], to classes, int64 [N].

    Raises:
        UsageError: there is none.
    """
    if name not in COLUMN_RULES:
        raise unknown("label rule", name, COLUMN_RULES)
    return COLUMN_RULES[name]


def _last_below(value: float, thresholds: Sequence[float]) -> int:
    """The last threshold that is strictly below ``value``, in the source's float32."""
    return int(np.flatnonzero(np.array(thresholds, dtype=np.float32) < np.float32(value))[-1])


def _binned(values: np.ndarray, count: int) -> np.ndarray:
    bins = np.floor(values.astype(np.float32) / np.float32(count / DSPRITES_CLASSES))
    return np.asarray(bins, dtype=np.int64)


def _within(values: np.ndarray, low: int, high: int) -> np.ndarray:
    checked = np.asarray(values, dtype=np.int64)
    if len(wrong := np.flatnonzero((checked < low) | (checked > high))):
        raise DataError(f"row {wrong[0]}: {checked[wrong[0]]} is outside {low}..{high}")
    return checked
