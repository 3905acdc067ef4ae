"""Accuracy against what it takes: throughput at inference, and the cost of pre-training, with the Pareto front."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixer_bench.report.figures.boards import Board, interval_words, marks
from mixer_bench.report.figures.style import GREY, INK, Plot, Style, Styles, crowd_words, folded, frame
from mixer_bench.report.models import About
from mixer_bench.system.grouping import grouped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator

NEAR, FAR = 10, 1000  # ends of an axis, one as many times the other, below which its ticks are linear, and above rare
MOST_NAMED = 20  # models; of more, names cover each other, and finding places for 40 takes ten seconds
KINDS = {"latency": "latency", "img/s": "throughput"}  # of figures, by the quantity's heading
ON_FRONT = "Filled: no other model is better in one and as good in the other (Pareto front); hollow: some model is."


@dataclass(frozen=True)
class Spot:
    """A model in a plane: x in the axis's unit, y and half of its interval in percent."""

    label: str
    x: float
    y: float
    half: float
    style: Style


@dataclass(frozen=True)
class Plane(Plot):
    """A point a model, with its interval."""

    x: str  # what the axes show
    y: str
    spots: tuple[Spot, ...]
    larger: bool  # whether x is better larger

    @property
    def front(self) -> list[Spot]:
        """Those that nothing beats, from the left."""
        on_front = pareto([(spot.x, spot.y) for spot in self.spots], self.larger)
        return sorted(itertools.compress(self.spots, on_front), key=lambda spot: (spot.x, spot.y))

    @property
    def named(self) -> Sequence[Spot]:
        """Those whose names are written: of a crowd only such as nothing beats."""
        return self.spots if len(self.spots) <= MOST_NAMED else self.front[:MOST_NAMED]

    @property
    def steps(self) -> list[tuple[float, float]]:
        """Corners of the front's line: at a throughput, what is had at that or more; at a cost, at that or less."""
        corners = [(self.front[0].x, self.front[0].y)]
        for before, after in itertools.pairwise(self.front):
            corners += [(before.x, after.y) if self.larger else (after.x, before.y), (after.x, after.y)]
        return corners

    def figure(self) -> Figure:
        """Draw points, filled on the front, with labels that cover nothing where there is room."""
        figure, axes = frame(self.title, self.x, self.y)
        front = self.front
        for (style, on_front), spots in grouped(self.spots, lambda spot: (spot.style, spot in front)).items():
            axes.errorbar(
                [spot.x for spot in spots],
                [spot.y for spot in spots],
                yerr=[spot.half for spot in spots],
                fmt=style.marker,
                color=style.colour,
                markersize=_size(style),
                markerfacecolor=style.colour if on_front else "white",
                zorder=3,
            )
        axes.plot(*zip(*self.steps, strict=True), color=GREY, linewidth=1, zorder=1)
        axes.set_xscale("log")
        axes.margins(x=0.18, y=0.1)  # room for labels
        axes.xaxis.set_major_locator(ticks(*axes.get_xlim()))
        axes.xaxis.set_major_formatter("{x:,.12g}")
        axes.minorticks_off()
        _label(figure, axes, self, self.steps)
        return figure


def _size(style: Style) -> float:
    """Return the points a marker is wide: a star of the same size looks smaller."""
    return 9 if style.marker == "*" else 6.5


def ticks(low: float, high: float) -> Locator:
    """Return what finds round numbers between two on a logarithmic axis: more of them where the two are near."""
    from matplotlib.ticker import AutoLocator, LogLocator

    if high < NEAR * low:
        return AutoLocator()
    return LogLocator(subs=(1, 2, 5) if high < FAR * low else (1,))


def _label(figure: Figure, axes: Axes, plane: Plane, corners: Sequence[tuple[float, float]]) -> None:
    """Write models' names beside their points, led to them by a line where they stand further off."""
    from adjustText import adjust_text
    from matplotlib.transforms import Bbox
    from scipy.spatial import KDTree

    texts = [axes.text(spot.x, spot.y, folded(spot.label), fontsize=7.5, color=INK, zorder=5) for spot in plane.named]
    for text in texts:
        text.set_in_layout(False)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # places are of the figure as it stands
    every, at = (axes.transData.transform([(s.x, s.y) for s in spots]) for spots in (plane.spots, plane.named))
    nearest = every[np.asarray(KDTree(every).query(at, k=2)[1])[:, 1]]
    for text, (_, y), (_, other) in zip(texts, at, nearest, strict=True):
        text.set_verticalalignment("bottom" if y >= other else "top")  # of two near each other, one above and one below
    ends = [[(spot.x, spot.y - spot.half), (spot.x, spot.y + spot.half)] for spot in plane.spots]
    bars = [Bbox(axes.transData.transform(pair)) for pair in ends]
    sizes = [_size(spot.style) * figure.dpi / 144 for spot in plane.spots]  # half of a marker, from points to pixels
    marks = [Bbox([place, place]).padded(size) for place, size in zip(every, sizes, strict=True)]
    cap = 2.5 * figure.dpi / 72  # of a bar's ends, points on either side
    boxes = [*(bar.padded(cap, 2) for bar in bars), *(mark.padded(2) for mark in marks)]
    drawn = [box.transformed(axes.transData.inverted()) for box in boxes]
    line = [Bbox([start, end]) for start, end in itertools.pairwise(corners)]
    adjust_text(
        texts,
        ax=axes,
        objects=[*drawn, *line],
        expand=(1.05, 1.3),
        min_arrow_len=12,
        iter_lim=500,
        arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6},
    )


def pareto(points: Sequence[tuple[float, float]], larger: bool) -> list[bool]:
    """Return, for each point (x, y), whether none is at least as good in both and better in one; y is better higher.

    Args:
        points: in any order and unit; equal ones are all on the front or none is.
        larger: whether x is better larger (throughput), else smaller (cost).
    """
    signed = [(x if larger else -x, y) for x, y in points]
    return [
        not any(other != point and other[0] >= point[0] and other[1] >= point[1] for other in signed)
        for point in signed
    ]


def speed(board: Board, about: About, styles: Styles) -> list[Plane]:
    """Return accuracy over latency, then over throughput, a figure for each column of these that two models have."""
    costs = about.costs([[cell] for cell in board.cells.values()])
    planes = []
    for quantity in costs.quantities:
        kind, _, unit = quantity.heading.partition(" ")
        if kind not in KINDS:
            continue
        column = zip(board.cells, quantity.values, strict=True)
        known = {label: value for label, value in column if value is not None}
        where = [f"{quantity.heading}: {quantity.where}."] if quantity.where else []
        notes = [*where, *(f"{remark}." for remark in costs.remarks)]
        notes += _said("Left out, not measured", [label for label in board.cells if label not in known])
        name = f"{KINDS[kind]} {board.on} {board.name} {unit if quantity.larger else ''}".strip()
        x = f"{quantity.heading}, log scale"
        planes.append(_plane(name, board, known, styles, x, notes, larger=quantity.larger))
    return sorted((plane for plane in planes if plane), key=lambda plane: plane.larger)


def cost(board: Board, about: About, styles: Styles) -> list[Plane]:
    """Return accuracy over the cost of pre-training, a figure for each unit in which two models have one."""
    origins = {label: about.origin(cell.record) for label, cell in board.cells.items()}
    costs = {label: origin.cost for label, origin in origins.items() if origin.cost and origin.cost.amount}
    untrained = [label for label, origin in origins.items() if origin.pretrain == "none"]
    unknown = [label for label in board.cells if label not in costs and label not in untrained]
    planes = []
    for unit, labels in grouped(costs, lambda label: costs[label].unit).items():
        notes = [
            *_said("Extrapolated by those who published it", [label for label in labels if costs[label].extrapolated]),
            *_said("Left out, not pre-trained", untrained),
            *_said("Left out, in another unit", [f"{n} ({costs[n].unit})" for n in costs if n not in labels]),
            *_said("Left out, of unknown cost", unknown),
        ]
        amounts = {label: costs[label].amount for label in labels}
        name, x = f"cost {board.on} {board.name} {unit}", f"pre-training, {unit}, log scale"
        planes.append(_plane(name, board, amounts, styles, x, notes, larger=False))
    return [plane for plane in planes if plane]


def _said(what: str, labels: Sequence[str]) -> list[str]:
    told = ", ".join(labels) if len(labels) <= MOST_NAMED else f"{len(labels)} models"
    return [f"{what}: {told}."] if labels else []


def _plane(
    name: str, board: Board, xs: Mapping[str, float], styles: Styles, x: str, notes: Sequence[str], larger: bool = True
) -> Plane | None:
    """Return the points of the models in ``xs``; None where there are not two to compare."""
    if len(xs) < 2:  # noqa: PLR2004
        return None
    cells = {label: board.cells[label] for label in xs}
    spots = tuple(
        Spot(label + marks(cell), xs[label], 100 * cell.mean, 100 * cell.half, styles(cell.record))
        for label, cell in cells.items()
    )
    over = {"cost": "the cost of pre-training"}.get(kind := name.split(maxsplit=1)[0], kind)
    title = f"{board.on}, {board.name}"
    caption = [f"{title}: {board.metric} over {over}. {ON_FRONT}", *interval_words(list(cells.values())), *notes]
    caption += _said(f"Left out, without {'all tasks' if board.is_mean else 'this setting'}", board.lacking)
    caption += crowd_words(len(spots), "those on the front alone are named", MOST_NAMED)
    return Plane(name, title, " ".join(caption), x, f"{board.metric} in %", spots, larger)
