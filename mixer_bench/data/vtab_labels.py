"""Labels of VTAB's structured tasks, from what the data sets store (task_adaptation, data/<set>.py at d7630d3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mixer_bench.errors import DataError, unknown

Rule = Callable[[np.ndarray], np.ndarray]

CLEVR_DEPTHS = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0)  # clevr.py: _closest_object_preprocess_fn
KITTI_DEPTHS = (-100.0, 8.0, 20.0, 999.0)  # kitti.py: _closest_vehicle_distance_pp
NO_VEHICLE = 1000.0  # metres that stand for none
DSPRITES_CLASSES = 16


def clevr_distance(depths: Sequence[float] | np.ndarray) -> int:
    """Return the class of a scene's closest object: camera depths (0, 8], (8, 8.5], .. (10, 100] are 0 .. 5.

    Raises:
        DataError: no object, or one beyond the scene.
    """
    if not len(depths):
        raise DataError("a scene without objects has no closest one")
    closest = min(depths)
    if not CLEVR_DEPTHS[0] < closest <= CLEVR_DEPTHS[-1]:
        raise DataError(f"depth {closest} is outside (0, 100]")
    # The last threshold strictly below, compared in float32 as the source does.
    return int(np.searchsorted(np.array(CLEVR_DEPTHS, dtype=np.float32), np.float32(closest))) - 1


def kitti_distance(depths: Sequence[float] | np.ndarray) -> int:
    """Return the class of the closest vehicle: depths up to 8 m, 20 m, beyond, and no vehicle at all are 0 .. 3.

    Args:
        depths: of the cars, vans and trucks of an image, metres from the camera.

    Raises:
        DataError: one is far behind the camera.
    """
    closest = min([*depths, NO_VEHICLE])
    if closest <= KITTI_DEPTHS[0]:
        raise DataError(f"depth {closest} is no distance of a vehicle that is seen")
    return int(np.searchsorted(np.array(KITTI_DEPTHS, dtype=np.float32), np.float32(closest))) - 1


def _binned(values: np.ndarray, count: int) -> np.ndarray:
    width = np.float32(count / DSPRITES_CLASSES)
    return np.asarray(np.floor(_within(values, 0, count - 1).astype(np.float32) / width), dtype=np.int64)


def _halved(azimuth: np.ndarray) -> np.ndarray:
    checked = _within(azimuth, 0, 34)
    if len(odd := np.flatnonzero(checked % 2)):
        raise DataError(f"row {odd[0]}: azimuth {checked[odd[0]]} is odd; the files have 0, 2 .. 34")
    return checked // 2


def _within(values: np.ndarray, low: int, high: int) -> np.ndarray:
    checked = np.asarray(values, dtype=np.int64)
    if len(wrong := np.flatnonzero((checked < low) | (checked > high))):
        raise DataError(f"row {wrong[0]}: {checked[wrong[0]]} is outside {low}..{high}")
    return checked


RULES: Mapping[str, Rule] = {
    # clevr.py, _count_preprocess_fn: number of objects, 3 to 10, to classes 0 to 7
    "clevr_count": lambda objects: _within(objects, 3, 10) - 3,
    # dsprites.py: horizontal place, 0 to 31, to 16 classes; the vertical one is not used
    "dsprites_location": lambda x: _binned(x, 32),
    # dsprites.py: orientation, 0 to 39, to 16 classes
    "dsprites_orientation": lambda turn: _binned(turn, 40),
    # smallnorb.py: azimuth as the files have it, 0, 2 .. 34, to classes 0 to 17 of 20 degrees each
    "smallnorb_azimuth": _halved,
    # smallnorb.py: elevation, 0 to 8 for 30 to 70 degrees, is the class
    "smallnorb_elevation": lambda elevation: _within(elevation, 0, 8),
}


def rule(name: str) -> Rule:
    """Return the rule of that name, which maps a stored column, int64 [N], to classes, int64 [N].

    Raises:
        UsageError: there is none.
    """
    if name not in RULES:
        raise unknown("label rule", name, RULES)
    return RULES[name]
