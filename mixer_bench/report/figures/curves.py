"""Lines: the loss of trainings over steps, and accuracy over the number of shots."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixer_bench.report.cells import Cell
from mixer_bench.report.columns import of_task
from mixer_bench.report.figures.boards import Board, interval_words, marks
from mixer_bench.report.figures.style import CROWD, GREY, HEIGHT, Plot, Style, Styles, crowd_words, folded, frame
from mixer_bench.report.index import Index
from mixer_bench.report.tables.table import by_model
from mixer_bench.results.setting import Setting, Variant
from mixer_bench.system.grouping import grouped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MANY = 10  # lines from which on they are thin, without bands


@dataclass(frozen=True, eq=False)
class Line:
    """A model's line, and where a band around it ends."""

    label: str
    style: Style
    x: tuple[int, ...]
    y: np.ndarray  # [N]
    band: np.ndarray  # [2, N], lower and upper end; NaN where there is none


@dataclass(frozen=True)
class Lines(Plot):
    """A line a model."""

    x: str  # what the axes show
    y: str
    lines: tuple[Line, ...]
    ticks: tuple[int, ...] = ()  # of a logarithmic x axis; on a linear one, y starts at 0

    @property
    def has_bands(self) -> bool:
        """Whether bands are drawn: few enough to be told apart."""
        return len(self.lines) <= MANY

    @property
    def named(self) -> list[Line]:
        """Those with a place in the legend, in the order in which they end, from the top; of a crowd the best."""
        ordered = sorted(self.lines, key=lambda line: -line.y[-1])
        return ordered[:CROWD] if self.ticks else ordered[-CROWD:]

    def figure(self) -> Figure:
        """Draw the lines, those that are named over the others, with a legend outside the axes."""
        figure, axes = frame(self.title, self.x, self.y)
        named, handles = self.named, {}
        for line in self.lines:
            if line not in named:
                axes.plot(line.x, line.y, color=GREY, linewidth=0.5, alpha=0.5, zorder=1)
                continue
            style = line.style
            (handles[line],) = axes.plot(
                line.x,
                line.y,
                label=folded(line.label),
                color=style.colour,
                linewidth=1.8 if self.has_bands and not style.untrained else 1.0,
                dashes=style.dashes or (None, None),
                marker=style.marker,
                markevery=max(1, len(line.x) // 8),
                markersize=5,
                markerfacecolor=style.face,
            )
            if self.has_bands and np.isfinite(line.band).any():
                axes.fill_between(line.x, *line.band, color=style.colour, alpha=0.15, linewidth=0)
        if self.ticks:
            axes.set_xscale("log")
            axes.set_xticks(self.ticks, list(map(str, self.ticks)))
            axes.minorticks_off()
        else:
            axes.set_ylim(bottom=0)
        rows = sum(1 + folded(line.label).count("\n") for line in named)
        figure.set_figheight(max(HEIGHT, 0.3 + 0.15 * rows))  # inches
        size = 8 if self.has_bands else 7
        figure.legend(
            handles=[handles[line] for line in named], loc="outside right upper", fontsize=size, handlelength=3
        )
        return figure


def loss_curves(index: Index, styles: Styles, variants: Collection[Variant] | None = None) -> list[Lines]:
    """Return the training loss over steps: a figure a task and setting, a line a model, a band from seed to seed.

    Of ``variants`` alone, or of all that there are.
    """
    plots = []
    for variant, cells in ((v, cells) for v, cells in index.variants.items() if variants is None or v in variants):
        on, group = index.names[variant], [cell for cell in cells if _curves(cell)]
        labels = of_task(group)
        for column, members in grouped(group, lambda cell: cell.run.setting).items():
            lines = [_loss(label, cell, styles) for label, (cell,) in by_model(members, index.about).items()]
            seeds = len({record.run.seed for cell in members for record in cell.records if record.curve})
            band = _band_words(len(lines), "the band from the lowest to the highest")
            what = f"{on}, {labels[column]}"
            crowd = crowd_words(len(lines), "the lowest have colours and names")
            caption = " ".join([f"Training loss on {what}; mean of {seeds} seeds, {band}.", *crowd])
            plots.append(Lines(f"loss {on} {labels[column]}", what, caption, "step", "training loss", tuple(lines)))
    return plots


def _curves(cell: Cell) -> list[tuple[tuple[int, float], ...]]:
    return [record.curve for record in cell.records if record.curve]


def _loss(label: str, cell: Cell, styles: Styles) -> Line:
    curves = np.array(_curves(cell))  # [seeds, entries, step and loss]
    losses = curves[:, :, 1]
    band = np.array([losses.min(axis=0), losses.max(axis=0)])
    return Line(label, styles(cell.record), tuple(map(int, curves[0, :, 0])), losses.mean(axis=0), band)


def _band_words(count: int, words: str) -> str:
    return words if count <= MANY else "without bands for so many models"


def shot_curves(boards: Sequence[Board], styles: Styles) -> list[Lines]:
    """Return accuracy over shots, of boards alike but for these: a line a model, a band of 95 % over its seeds."""
    groups: dict[tuple[str, Setting], dict[int, Board]] = defaultdict(dict)
    for board in boards:
        if board.setting.shots is not None:
            groups[board.on, board.setting.without_shots][board.setting.shots] = board
    return [_over_shots(dict(sorted(by_shots.items())), styles) for by_shots in groups.values() if len(by_shots) > 1]


def _over_shots(boards: Mapping[int, Board], styles: Styles) -> Lines:
    lines = []
    for label in dict.fromkeys(label for board in boards.values() for label in board.cells):
        cells = {shots: board.cells[label] for shots, board in boards.items() if label in board.cells}
        means = np.array([100 * cell.mean for cell in cells.values()])
        halves = np.array([100 * cell.half if cell.over_seeds else np.nan for cell in cells.values()])
        worst = max((marks(cell) for cell in cells.values()), key=len)
        style = styles(next(iter(cells.values())).record)
        lines.append(Line(label + worst, style, tuple(cells), means, np.array([means - halves, means + halves])))
    shots, board = next(iter(boards.items()))
    setting = board.name.replace(f"{shots}-shot", "few-shot")
    what = f"{board.on}, {setting}"
    band = _band_words(len(lines), "the band is the interval, where there are several seeds")
    crowd = crowd_words(len(lines), "the highest have colours and names")
    words = interval_words([cell for board in boards.values() for cell in board.cells.values()])
    caption = " ".join([f"{what}: {board.metric} over examples of a class; {band}.", *words, *crowd])
    x, y = "shots (examples of a class), log scale", f"{board.metric} in %"
    return Lines(f"shots {board.on} {setting}", what, caption, x, y, tuple(lines), tuple(boards))
