"""Accuracy against what it takes: throughput at inference, and the cost of pre-training, with the Pareto front."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mixer_bench.report.figures import labels as figures_labels
from mixer_bench.report.figures.boards import Board
from mixer_bench.report.figures.style import GREY, Drawn, Style, Styles, folded, frame, interval_words, marks
from mixer_bench.report.models import About

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW_TICKS = 3  # fewer say nothing of a scale
ON_FRONT = "Filled: no other model is better in one and as good in the other (Pareto front); hollow: some model is."


@dataclass(frozen=True)
class Spot:
    """A model in a plane: x in the axis's unit, y and half of its interval in percent."""

    label: str
    x: float
    y: float
    half: float
    style: Style


def pareto(points: Sequence[tuple[float, float]], larger: bool) -> list[bool]:
    """For each point (x, y), whether none is at least as good in both and better in one; y is better higher.

    Args:
        points: in any order and unit; equal ones are all on the front or none is.
        larger: whether x is better larger (throughput), else smaller (cost).
    """
    signed = [(x if larger else -x, y) for x, y in points]
    return [not any(other != own and other[0] >= own[0] and other[1] >= own[1] for other in signed) for own in signed]


def throughput(board: Board, about: About, styles: Styles) -> list[Drawn]:
    """Accuracy over images a second, a figure for each column of speeds in which two models have one."""
    speeds = about.speeds([[cell] for cell in board.cells.values()])
    drawn = []
    for number, heading in enumerate(speeds.headings):
        known = {
            label: speed
            for label, row in zip(board.cells, speeds.rows, strict=True)
            if (speed := row[number]) is not None
        }
        if len(known) < 2:  # noqa: PLR2004  nothing to compare
            continue
        lacking = [label for label in board.cells if label not in known]
        notes = [note for note in speeds.notes if not note.startswith("img/s (") or note.startswith(heading)]
        caption = [*(f"{note}." for note in notes), *_said("without a speed", lacking)]
        place = heading.removeprefix("img/s").replace("(", "device ").replace(")", "")
        name = f"throughput {board.on} {board.setting}{place}"
        drawn.append(_scatter(name, board, known, styles, f"{heading}, log scale", True, caption))
    return drawn


def cost(board: Board, about: About, styles: Styles) -> list[Drawn]:
    """Accuracy over the cost of pre-training, a figure for each unit in which two models have one."""
    origins = {label: origin for label, cell in board.cells.items() if (origin := about.origin(cell.record))}
    costs = {label: origin.cost for label, origin in origins.items() if origin.cost and origin.cost.amount}
    drawn = []
    for unit in dict.fromkeys(one.unit for one in costs.values()):
        known = {label: one.amount for label, one in costs.items() if one.unit == unit}
        if len(known) < 2:  # noqa: PLR2004  nothing to compare
            continue
        untrained = [label for label, origin in origins.items() if origin.pretrain == "none"]
        other = [f"{label} ({one.unit})" for label, one in costs.items() if one.unit != unit]
        unknown = [label for label in board.cells if label not in costs and label not in untrained]
        caption = [
            *_said("extrapolated by those who published it", [n for n in known if costs[n].extrapolated]),
            *_said("not pre-trained", untrained),
            *_said("in another unit", other),
            *_said("of unknown cost", unknown),
        ]
        name = f"cost {board.on} {board.setting} {unit}"
        drawn.append(_scatter(name, board, known, styles, f"pre-training, {unit}, log scale", False, caption))
    return drawn


def _said(what: str, labels: Sequence[str]) -> list[str]:
    if not labels:
        return []
    left_out = "" if what.startswith("extrapolated") else "Left out, "
    words = f"{left_out}{what}: {', '.join(labels)}."
    return [words[0].upper() + words[1:]]


def _scatter(
    name: str,
    board: Board,
    known: Mapping[str, float],
    styles: Styles,
    x: str,
    larger: bool,
    notes: Sequence[str],
) -> Drawn:
    cells = {label: board.cells[label] for label in known}
    spots = [
        Spot(folded(label + marks(cell)), known[label], 100 * cell.mean, 100 * cell.half, styles(cell.record))
        for label, cell in cells.items()
    ]
    figure, axes = frame(f"{board.on}, {board.setting}", x, f"{board.metric} in %")
    best = pareto([(spot.x, spot.y) for spot in spots], larger)
    front = sorted({(spot.x, spot.y) for spot, on in zip(spots, best, strict=True) if on})
    # What is had at a throughput is the front's point at that or more; at a cost, at that or less.
    steps = "steps-pre" if larger else "steps-post"
    axes.plot(*zip(*front, strict=True), drawstyle=steps, color=GREY, linewidth=1, zorder=1, label="Pareto front")
    for spot, on in zip(spots, best, strict=True):
        _point(axes, spot, on)
    _limits(axes, spots)
    corners = [front[0]]
    for before, after in itertools.pairwise(front):
        corners += [(before[0], after[1]) if larger else (after[0], before[1]), after]
    figures_labels.place(axes, [(s.x, s.y, s.half, s.label) for s in spots], corners)
    lacking = _said("without all tasks" if board.is_mean else "without this setting", board.lacking)
    over = "throughput" if larger else "the cost of pre-training"
    caption = f"{board.on}, {board.setting}: {board.metric} over {over}. {ON_FRONT}"
    return Drawn(name, " ".join([caption, *interval_words(list(cells.values())), *notes, *lacking]), figure)


def _point(axes: Axes, spot: Spot, on_front: bool) -> None:
    axes.errorbar(
        [spot.x],
        [spot.y],
        yerr=[spot.half],
        label=spot.label,
        fmt=spot.style.marker,
        color=spot.style.colour,
        markersize=9 if spot.style.marker == "*" else 6.5,  # a star of the same size looks smaller
        markerfacecolor=spot.style.colour if on_front else "white",
        elinewidth=0.9,
        capsize=2.5,
        zorder=3,
    )


def _limits(axes: Axes, spots: Sequence[Spot]) -> None:
    """Room for labels around the points, and ticks in plain numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = min(spot.x for spot in spots), max(spot.x for spot in spots)
    margin = max((high / low) ** 0.18, 1.15)
    bottom, top = min(s.y - s.half for s in spots), max(s.y + s.half for s in spots)
    height = max(top - bottom, 1.0)
    axes.set_xscale("log")
    axes.set_xlim(low / margin, high * margin)
    axes.set_ylim(bottom - 0.1 * height, top + 0.1 * height)
    axes.xaxis.set_major_locator(FixedLocator(log_ticks(low / margin, high * margin)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two positive ones, for a logarithmic axis: 1, 2, 5; closer ones where these are too few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for tenths in ((10,), (10, 20, 50), (10, 15, 20, 30, 50, 70), range(10, 100, 10), range(10, 100)):
        ticks = [n * 10.0**power / 10 for power in powers for n in tenths if low <= n * 10.0**power / 10 <= high]
        if len(ticks) >= FEW_TICKS:
            break
    return ticks[:: -(-len(ticks) // 9)] if ticks else [low, high]
