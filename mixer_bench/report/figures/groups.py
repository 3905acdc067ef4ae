"""A group of tasks at once: every task's accuracy as a heat map, and the means over the group's parts as bars."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mixer_bench.report.cells import Cell
from mixer_bench.report.figures.boards import Sheet, means
from mixer_bench.report.figures.style import INK, WIDTH, Drawn, Styles, empty, folded, interval_words, marks, wrapped
from mixer_bench.report.models import About
from mixer_bench.report.tables.averages import MEAN, Average
from mixer_bench.report.tables.table import by_model
from mixer_bench.task import task as task_files
from mixer_bench.task.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = "cividis"  # perceptually uniform, read alike with colour blindness (Nuñez et al. 2018), dark to light in grey
MISSING = "////"
DARK = 0.45  # share of the colours below which white text has the higher contrast
SMALLEST = 5.0  # points of text in cells; below, decimals go


def heat_map(sheet: Sheet, about: About) -> Drawn | None:
    """Models x the group's tasks, colour relative to the task's models; None with one model or under half the tasks.

    Missing cells are hatched; parts of the group stand apart.
    """
    models = by_model(sheet.cells, about)
    parts = ordered(sheet.average)
    tasks = [task for members in parts.values() for task in members]
    cells = {(label, cell.run.task): cell for label, own in models.items() for cell in own}
    if len(models) < 2 or 2 * len({task for _, task in cells}) < len(tasks):  # noqa: PLR2004  nothing to compare
        return None
    values = np.array([[_percent(cells.get((label, task))) for task in tasks] for label in models])
    figure = empty(_height(models) + 1.6)
    title = f"{sheet.on}, {sheet.setting}: accuracy in %; dark to light: a task's lowest to highest"
    axes = figure.add_subplot()
    figure.suptitle(wrapped(title), x=0.01, ha="left", fontsize=10)  # from the figure's edge: it is a long one
    _colours(axes, values)
    _texts(
        axes,
        values,
        [[cells.get((label, task)) for task in tasks] for label in models],
        max(len(part) for label in models for part in folded(label).split("\n")),
    )
    _name(axes, list(models), tasks)
    _separate(axes, {name: len(members) for name, members in parts.items()})
    caption = (
        f"{sheet.on}, {sheet.setting}: accuracy in % of each model on each task. Colour is relative to the task: from "
        "dark, its lowest of these models, to light, its highest. Hatched: not measured. "
    )
    return Drawn(
        f"tasks {sheet.on} {sheet.setting}",
        " ".join([caption, *_marks(list(cells.values())), *_doubled(sheet)]),
        figure,
    )


def _name(axes: Axes, models: Sequence[str], tasks: Sequence[str]) -> None:
    axes.set_yticks(range(len(models)), [folded(label) for label in models], fontsize=7.5)
    axes.set_xticks(range(len(tasks)), [short(task) for task in tasks], rotation=90, fontsize=7.5)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def ordered(average: Average) -> dict[str, list[str]]:
    """The group's tasks by part, in the papers' order; a group without parts is one part, as are tasks of no part."""
    parts = {name: sorted(tasks, key=_place) for name, tasks in average.columns.items() if name != MEAN and tasks}
    rest = average.members - {task for tasks in parts.values() for task in tasks}
    return {**parts, **({"": sorted(rest, key=_place)} if rest else {})}


def _place(name: str) -> tuple[float, str]:
    """Where papers print a task; those they do not print follow by name."""
    task = task_files.tasks().get(name)
    return (math.inf if task is None or task.position is None else task.position, name)


def short(name: str) -> str:
    """A task's name as papers print it, else its last part."""
    task = task_files.tasks().get(name)
    return task.title if task and task.title else name.rpartition("/")[2]


def _height(labels: Iterable[str]) -> float:
    """Inches that rows of so many labels take."""
    return sum(0.12 + 0.12 * max(1, len(folded(label).split("\n"))) for label in labels)


def _percent(cell: Cell | None) -> float:
    return 100 * cell.mean if cell else np.nan


def _relative(values: np.ndarray) -> np.ndarray:
    """Values [M, T] with each column's lowest at 0 and highest at 1; 0.5 where all are alike; NaN stays."""
    low = np.nanmin(np.where(np.isnan(values), np.inf, values), axis=0)
    high = np.nanmax(np.where(np.isnan(values), -np.inf, values), axis=0)
    span = high - low
    apart = np.isfinite(span) & (span > 0)
    scaled = (values - np.where(apart, low, 0)) / np.where(apart, span, 1)
    return np.where(np.isnan(values), np.nan, np.where(apart, scaled, 0.5))


def _colours(axes: Axes, values: np.ndarray) -> None:
    from matplotlib.patches import Rectangle

    axes.imshow(np.ma.masked_invalid(_relative(values)), cmap=COLOURS, vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(np.isnan(values)):
        corner = (column - 0.5, row - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor="white", edgecolor="#999999", linewidth=0, hatch=MISSING))
    for edge in range(1, len(values)):
        axes.axhline(edge - 0.5, color="white", linewidth=0.6)
    for edge in range(1, values.shape[1]):
        axes.axvline(edge - 0.5, color="white", linewidth=0.3)


def _texts(axes: Axes, values: np.ndarray, cells: Sequence[Sequence[Cell | None]], longest: int) -> None:
    width = 72 * (WIDTH - 0.3 - 0.064 * longest) / values.shape[1]  # points that a cell is wide
    digits = 1
    texts = _written(cells, digits)
    if (size := _size(texts, width)) < SMALLEST:
        digits = 0
        texts = _written(cells, digits)
        size = _size(texts, width)
    for (row, column), share in np.ndenumerate(_relative(values)):
        colour = "white" if share < DARK else "black"
        axes.text(column, row, texts[row][column], ha="center", va="center", fontsize=size, color=colour)


def _written(cells: Sequence[Sequence[Cell | None]], digits: int) -> list[list[str]]:
    return [[f"{100 * cell.mean:.{digits}f}{marks(cell)}" if cell else "" for cell in row] for row in cells]


def _size(texts: Sequence[Sequence[str]], width: float) -> float:
    return min(7.0, width / (0.7 * max(len(text) for row in texts for text in row)))


def _separate(axes: Axes, counts: Mapping[str, int]) -> None:
    """A gap between parts, and each part's name above it."""
    from matplotlib.transforms import ScaledTranslation

    end = 0.0
    above = axes.get_xaxis_transform() + ScaledTranslation(0, 4 / 72, axes.figure.dpi_scale_trans)  # 4 points
    for name, count in counts.items():
        if end:
            axes.axvline(end - 0.5, color="white", linewidth=2.5)
        if name:
            axes.plot([end - 0.4, end + count - 0.6], [1, 1], color=INK, linewidth=1, transform=above, clip_on=False)
            middle = end + (count - 1) / 2
            axes.annotate(name, (middle, 1), (0, 2), above, "offset points", ha="center", va="bottom", fontsize=8)
        end += count
    axes.set_xlim(-0.5, end - 0.5)


def bars(sheet: Sheet, about: About, tasks: Mapping[str, Task], styles: Styles) -> Drawn | None:
    """The means over a group's parts and over all of it, a panel each, a bar a model; only those that are complete.

    None where no two models have one.
    """
    table = means(sheet, about, tasks)
    if table is None:
        return None
    columns = {name: {r.model: r.cells[name] for r in table.rows if name in r.cells} for name in table.columns}
    columns = {name: cells for name, cells in columns.items() if len(cells) > 1}
    if not columns:
        return None
    labels = [row.model for row in table.rows if any(row.model in cells for cells in columns.values())]
    figure = empty(_height(labels) + 1.2)
    panels = figure.subplots(1, len(columns), sharex=True, sharey=True, squeeze=False)[0]
    figure.suptitle(wrapped(f"{sheet.on}, {sheet.setting}: mean accuracy in %"), x=0.01, ha="left", fontsize=10)
    shown = [cell for cells in columns.values() for cell in cells.values()]
    reach = max(100 * (cell.mean + cell.half) for cell in shown)
    for axes, (name, cells) in zip(panels, columns.items(), strict=True):
        _panel(axes, name, cells, labels, styles, reach)
    panels[0].set_xlim(0, 1.3 * reach)
    withheld = [note[0].upper() + note[1:] + "." for note in table.notes if note.startswith("mean")]
    caption = (
        f"{sheet.on}, {sheet.setting}: mean accuracy in % over the tasks of each part, their number in brackets; only "
        "where all of them are there."
    )
    return Drawn(f"means {sheet.on} {sheet.setting}", " ".join([caption, *interval_words(shown), *withheld]), figure)


def _panel(
    axes: Axes, name: str, cells: Mapping[str, Cell], labels: Sequence[str], styles: Styles, reach: float
) -> None:
    for place, label in enumerate(labels):
        if (cell := cells.get(label)) is None:
            axes.text(0.02 * reach, place, "–", va="center", fontsize=7)
            continue
        style = styles(cell.record)
        face = "white" if style.untrained else style.colour
        end, half = 100 * cell.mean, 100 * cell.half
        axes.barh(
            place, end, 0.7, xerr=half, color=face, edgecolor=style.colour, capsize=2, error_kw={"elinewidth": 0.9}
        )
        axes.text(end + half + 0.03 * reach, place, f"{end:.1f}{marks(cell)}", va="center", fontsize=7)
    axes.set_yticks(range(len(labels)), [folded(label) for label in labels], fontsize=7.5)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_title(name, loc="left", fontsize=8)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7)


def _marks(cells: Sequence[Cell]) -> list[str]:
    """The sentences on marks alone: a heat map shows no intervals."""
    return interval_words(cells)[1:]


def _doubled(sheet: Sheet) -> list[str]:
    return [f"Left out, in more than one variant: {', '.join(sheet.doubled)}."] if sheet.doubled else []
