"""A group of tasks at once: every task's accuracy as a heat map, and the means over the group's parts as bars."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixer_bench.report.cells import Cell
from mixer_bench.report.figures.boards import interval_words, marks
from mixer_bench.report.figures.style import (
    CROWD,
    INK,
    OVER_DARK,
    OVER_LIGHT,
    WIDTH,
    Plot,
    Style,
    Styles,
    crowd_words,
    empty,
    folded,
)
from mixer_bench.report.index import MEAN, Average, GroupSheet
from mixer_bench.report.models import About
from mixer_bench.report.tables import averages
from mixer_bench.report.tables.table import by_model
from mixer_bench.task import task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = "cividis"  # perceptually uniform, read alike with colour blindness (Nuñez et al. 2018), dark to light in grey
DARK = 0.45  # share of the colours below which white text has the higher contrast
SMALLEST, LARGEST = 5.0, 7.0  # points of text in cells; below the smallest, decimals go


@dataclass(frozen=True)
class HeatMap(Plot):
    """Models x tasks; parts of the group stand apart."""

    parts: Mapping[str, Sequence[str]]  # tasks, by the part's name
    models: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]  # by model and task; a missing one is hatched

    @property
    def tasks(self) -> list[str]:
        """All tasks in their order."""
        return [task for tasks in self.parts.values() for task in tasks]

    @property
    def shares(self) -> np.ma.MaskedArray:
        """Accuracy [M, T] with each task's lowest at 0 and highest at 1, 0.5 where all are alike; missing is masked."""
        cells = [[self.cells.get((model, task)) for task in self.tasks] for model in self.models]
        values = np.ma.masked_invalid([[cell.mean if cell else math.nan for cell in row] for row in cells])
        low = values.min(axis=0)
        shares = (values - low) / (values.max(axis=0) - low)  # masked as well where all are alike
        return np.ma.array(shares.filled(0.5), mask=values.mask)

    def figure(self) -> Figure:
        """Draw it with the parts' names above and the tasks' below."""
        figure = empty(_height(self.models) + 1.6, self.title)
        axes = figure.add_subplot()
        axes.patch.set(hatch="////", edgecolor="#999999")  # seen where a cell is missing
        shares = self.shares
        # A square a cell as it is: otherwise matplotlib draws each cell of a vector image in thousands of pixels.
        axes.imshow(shares, cmap=COLOURS, vmin=0, vmax=1, aspect="auto", interpolation="none")
        rows, columns = (np.arange(count + 1) - 0.5 for count in shares.shape)
        axes.hlines(rows, columns[0], columns[-1], color="white", linewidth=0.6)
        axes.vlines(columns, rows[0], rows[-1], color="white", linewidth=0.3)
        if len(self.models) <= CROWD:
            self._write(axes, shares)
        _name_rows(axes, self.models)
        axes.set_xticks(range(len(self.tasks)), list(map(short, self.tasks)), rotation=90, fontsize=7.5)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        self._separate(axes)
        return figure

    def _write(self, axes: Axes, shares: np.ma.MaskedArray) -> None:
        """Write each cell's number into it."""
        texts, size = self._texts()
        for (model, name), text in texts.items():
            row, column = self.models.index(model), self.tasks.index(name)
            colour = OVER_DARK if shares[row, column] < DARK else OVER_LIGHT
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)

    def _texts(self) -> tuple[dict[tuple[str, str], str], float]:
        """Return what cells say, and its size in points: one decimal where there is room for it."""
        longest = max(len(line) for label in self.models for line in folded(label).split("\n"))
        width = 72 * (WIDTH - 0.3 - 0.064 * longest) / len(self.tasks)  # points that a cell is wide
        for digits in (1, 0):
            texts = {place: f"{100 * cell.mean:.{digits}f}{marks(cell)}" for place, cell in self.cells.items()}
            size = width / (0.7 * max(map(len, texts.values())))
            if size >= SMALLEST:
                break
        return texts, min(LARGEST, size)

    def _separate(self, axes: Axes) -> None:
        """Draw a gap between parts, and each part's name above it."""
        from matplotlib.transforms import ScaledTranslation

        end = 0
        above = axes.get_xaxis_transform() + ScaledTranslation(0, 4 / 72, axes.figure.dpi_scale_trans)  # 4 points
        for name, tasks in self.parts.items():
            start, end = end, end + len(tasks)
            if start:
                axes.axvline(start - 0.5, color="white", linewidth=2.5)
            if name:
                axes.plot([start - 0.4, end - 0.6], [1, 1], color=INK, linewidth=1, transform=above, clip_on=False)
                at = ((start + end - 1) / 2, 1)
                axes.annotate(name, at, (0, 2), above, "offset points", ha="center", va="bottom", fontsize=8)
        axes.set_xlim(-0.5, end - 0.5)


def heat_maps(sheet: GroupSheet, about: About) -> list[HeatMap]:
    """Return the models x the group's tasks; nothing with one model or under half the tasks."""
    models = by_model(sheet.cells, about)
    parts = ordered(sheet.average)
    cells = {(label, cell.run.task): cell for label, group in models.items() for cell in group}
    measured = {task for _, task in cells}
    if len(models) < 2 or 2 * len(measured) < len(sheet.average.members):  # noqa: PLR2004  nothing to compare
        return []
    what = f"{sheet.on}, {sheet.name}: accuracy in %"
    caption = (
        f"{what} of each model on each task. Colour is relative to the task: from dark, its lowest of these models, to "
        "light, its highest. Hatched: not measured. "
    )
    doubled = [f"Left out, in more than one variant: {', '.join(sheet.doubled)}."] if sheet.doubled else []
    doubled += crowd_words(len(models), "no numbers are written")
    caption = " ".join([caption, *interval_words(list(cells.values()))[1:], *doubled])  # it shows no intervals
    title = f"{what}; dark to light: a task's lowest to highest"
    return [HeatMap(f"tasks {sheet.on} {sheet.name}", title, caption, parts, tuple(models), cells)]


def ordered(average: Average) -> dict[str, list[str]]:
    """Return the group's tasks by part, in the papers' order; those of no part are a part without a name."""
    parts = {name: sorted(tasks, key=_place) for name, tasks in average.parts.items() if name != MEAN and tasks}
    rest = average.members - {task for tasks in parts.values() for task in tasks}
    return {**parts, **({"": sorted(rest, key=_place)} if rest else {})}


def _place(name: str) -> tuple[float, str]:
    """Return where papers print a task; those they do not print follow by name."""
    return (task.tasks()[name].position or math.inf, name)


def short(name: str) -> str:
    """Return a task's name as papers print it, else its last part."""
    return task.tasks()[name].title or name.rpartition("/")[2]


def _height(labels: Collection[str]) -> float:
    """Return the inches that rows of so many labels take."""
    heights = [0.24 + 0.12 * folded(label).count("\n") for label in labels]
    return sum(heights) * (1 if len(heights) <= CROWD else 0.75)


def _name_rows(axes: Axes, labels: Collection[str]) -> None:
    axes.set_yticks(range(len(labels)), list(map(folded, labels)), fontsize=7.5 if len(labels) <= CROWD else 6)


@dataclass(frozen=True)
class Bars(Plot):
    """A panel a part, a bar a model with its interval."""

    models: Mapping[str, Style]
    panels: Mapping[str, Mapping[str, Cell]]  # by part and model; only what is complete

    def figure(self) -> Figure:
        """Draw the panels beside each other, on one scale."""
        figure = empty(_height(self.models) + 1.2, self.title)
        panels = figure.subplots(1, len(self.panels), sharex=True, squeeze=False)[0]
        for axes, (name, cells) in zip(panels, self.panels.items(), strict=True):
            axes.set_title(name, loc="left", fontsize=8)
            self._panel(axes, cells)
            axes.set_ylim(len(self.models) - 0.5, -0.5)
            axes.set_yticks([])
        panels[0].margins(x=0.3)
        _name_rows(panels[0], self.models)
        return figure

    def _panel(self, axes: Axes, cells: Mapping[str, Cell]) -> None:
        shown = [
            (place, style, cells[label]) for place, (label, style) in enumerate(self.models.items()) if label in cells
        ]
        places, styles, values = zip(*shown, strict=True)
        bars = axes.barh(
            places,
            [100 * cell.mean for cell in values],
            0.7,
            xerr=[100 * cell.half for cell in values],
            color=[style.face for style in styles],
            edgecolor=[style.colour for style in styles],
        )
        if len(self.models) <= CROWD:
            axes.bar_label(bars, [f"{100 * cell.mean:.1f}{marks(cell)}" for cell in values], padding=3, fontsize=7)
        for place in set(range(len(self.models))) - set(places):
            axes.text(0, place, " –", va="center", fontsize=7)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelsize=7)


def bars(sheet: GroupSheet, about: About, styles: Styles) -> list[Bars]:
    """Return the means over a group's parts and over all of it, those that are complete; none without two models."""
    table = averages.of_sheet(sheet, about)
    columns = {name: {row.model: row.cells[name] for row in table.rows if name in row.cells} for name in table.columns}
    panels = {name: cells for name, cells in columns.items() if len(cells) > 1}
    if not panels:
        return []
    shown = [cell for cells in panels.values() for cell in cells.values()]
    rows = [row for row in table.rows if any(row.model in cells for cells in panels.values())]
    models = {row.model: styles(next(iter(row.cells.values())).record) for row in rows}
    withheld = [note[0].upper() + note[1:] + "." for note in table.withheld]
    title = f"{sheet.on}, {sheet.name}: mean accuracy in %"
    caption = f"{title} over the tasks of each part, their number in brackets; only where all of them are there."
    withheld += crowd_words(len(models), "no numbers are written")
    caption = " ".join([caption, *interval_words(shown), *withheld])
    return [Bars(f"means {sheet.on} {sheet.name}", title, caption, models, panels)]
