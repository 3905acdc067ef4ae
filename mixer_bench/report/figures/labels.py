"""Labels beside points, so that none covers another label, a point or a line where there is room."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mixer_bench.report.figures.style import GREY, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]  # left, bottom, right, top
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
DISTANCES = (6, 12, 20, 30, 42, 56)  # points from a point's centre
LED = 10  # points from which on a line leads to the label
SIZE = 7.5
PADDING = 1.5


def place(axes: Axes, points: Sequence[tuple[float, float, float, str]], front: Sequence[tuple[float, float]]) -> None:
    """Put labels beside points: each in turn, from the left, where it costs least among the places tried.

    The axes' limits must be set; the layout is frozen here, since places are of the figure as it stands.

    Args:
        axes: with all other marks drawn.
        points: x, y, half the length of the error bar, and label; in the axes' units.
        front: corners of a line that labels should not cross.
    """
    figure = axes.figure
    figure.draw_without_rendering()  # type: ignore[union-attr]
    figure.set_layout_engine("none")  # type: ignore[union-attr]
    scale = figure.dpi / 72
    room = _box(axes.get_window_extent().extents)
    at = [_seen(axes, x, y) for x, y, _, _ in points]
    hard = [(x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale) for x, y in at]
    ends = [(_seen(axes, x, y - half), _seen(axes, x, y + half)) for x, y, half, _ in points]
    soft = [(low[0] - 2 * scale, low[1], high[0] + 2 * scale, high[1]) for low, high in ends]
    corners = [_seen(axes, *corner) for corner in front]
    soft += [_spanned(a, b) for a, b in itertools.pairwise(corners)]
    for number in sorted(range(len(points)), key=lambda n: (at[n], points[n][3])):
        width, height = _size(axes, points[number][3])
        distance, offset, box = _best(at[number], (width, height), scale, room, hard, soft)
        hard.append(box)
        _write(axes, points[number], offset, led=distance >= LED)


def _best(
    centre: tuple[float, float],
    size: tuple[float, float],
    scale: float,
    room: Box,
    hard: Sequence[Box],
    soft: Sequence[Box],
) -> tuple[float, tuple[float, float], Box]:
    """Distance and offset of the label's centre, in points, and the label's box in pixels."""
    width, height = size
    lowest, best = math.inf, (0.0, (0.0, 0.0), room)
    for distance in DISTANCES:
        for right, up in DIRECTIONS:
            reach = distance * scale / (2**0.5 if right and up else 1)
            x = centre[0] + right * (reach + width / 2)
            y = centre[1] + up * (reach + height / 2)
            box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            outside = width * height - _overlap(box, room)
            cost = 50 * outside + 20 * sum(_overlap(box, other) for other in hard)
            cost += 4 * sum(_overlap(box, other) for other in soft) + distance
            if cost < lowest:
                lowest, best = cost, (distance, ((x - centre[0]) / scale, (y - centre[1]) / scale), box)
    return best


def _write(axes: Axes, point: tuple[float, float, float, str], offset: tuple[float, float], led: bool) -> None:
    x, y, _, label = point
    text = axes.annotate(
        label,
        (x, y),
        xytext=offset,
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=SIZE,
        color=INK,
        zorder=5,
        arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkB": 3} if led else None,
    )
    text.set_in_layout(False)


def _seen(axes: Axes, x: float, y: float) -> tuple[float, float]:
    across, up = axes.transData.transform((x, y))
    return float(across), float(up)


def _size(axes: Axes, label: str) -> tuple[float, float]:
    text = axes.text(0, 0, label, fontsize=SIZE)
    extent = text.get_window_extent()
    text.remove()
    return extent.width + 2 * PADDING, extent.height + 2 * PADDING


def _box(values: Sequence[float]) -> Box:
    left, bottom, right, top = map(float, values)
    return left, bottom, right, top


def _spanned(a: tuple[float, float], b: tuple[float, float]) -> Box:
    return (min(a[0], b[0]) - 1, min(a[1], b[1]) - 1, max(a[0], b[0]) + 1, max(a[1], b[1]) + 1)


def _overlap(a: Box, b: Box) -> float:
    across, up = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return across * up if across > 0 and up > 0 else 0.0
