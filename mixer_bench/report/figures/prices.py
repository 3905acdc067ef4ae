"""What each way of preparing images costs: differences with their intervals, one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mixer_bench.report.figures.style import INK, Plot, empty

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW = 0.26  # inches


@dataclass(frozen=True)
class Prices(Plot):
    """Differences in points from the way that a card states, each with its 95 % interval."""

    labels: Sequence[str]
    differences: Sequence[float]
    intervals: Sequence[tuple[float, float]]

    def figure(self) -> Figure:
        """Draw a point and a bar for each, filled where zero is outside of the interval."""
        figure = empty(0.9 + ROW * len(self.labels), self.title)
        axes = figure.add_subplot(xlabel="points")
        axes.axvline(0, color=INK, linewidth=0.8)
        for place, (difference, (low, high)) in enumerate(zip(self.differences, self.intervals, strict=True)):
            told_apart = not low <= 0 <= high
            axes.plot([low, high], [place, place], color=INK, linewidth=1.2)
            axes.plot(difference, place, "o", color=INK, markerfacecolor=INK if told_apart else "white", markersize=5)
        axes.set_yticks(range(len(self.labels)), self.labels)
        axes.set_ylim(len(self.labels) - 0.5, -0.5)
        return figure
