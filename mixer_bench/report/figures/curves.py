"""Lines: the loss of trainings over steps, and accuracy over the number of shots."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from mixer_bench.report.cells import Cell
from mixer_bench.report.columns import column_labels
from mixer_bench.report.figures.boards import Board, variants
from mixer_bench.report.figures.style import MANY, Drawn, Styles, frame, interval_words, legend, line, marks
from mixer_bench.report.models import About
from mixer_bench.report.tables.table import by_model
from mixer_bench.results.record import Record
from mixer_bench.results.setting import Setting
from mixer_bench.system.grouping import grouped


def losses(cells: Sequence[Cell]) -> dict[tuple[str, str], list[Cell]]:
    """Cells of runs with a loss curve, by what they were measured on and their setting in short."""
    found = {}
    for on, group in variants([cell for cell in cells if _trained(cell)]).items():
        labels = column_labels(group)
        columns = grouped(group, lambda cell: cell.run.setting)
        found.update({(on, labels[column]): own for column, own in columns.items()})
    return found


def _trained(cell: Cell) -> list[Record]:
    return [record for record in cell.records if record.curve]


def loss_curves(groups: Mapping[tuple[str, str], Sequence[Cell]], about: About, styles: Styles) -> list[Drawn]:
    """The training loss over steps: a figure a task and setting, a line a model, a band from seed to seed.

    More than ten lines are thin and without bands; the caption says so.

    Args:
        groups: of ``losses``.
        about: what is known of the models.
        styles: how each is drawn.
    """
    drawn = []
    for (on, setting), group in groups.items():
        models = by_model(group, about)
        many = len(models) > MANY
        figure, axes = frame(f"{on}, {setting}", "step", "training loss")
        for label, (cell,) in models.items():
            curves = [record.curve for record in _trained(cell)]
            steps = np.array([step for step, _ in curves[0]])
            values = np.array([[loss for _, loss in curve] for curve in curves])  # [seeds, entries]
            style = styles(cell.record)
            line(axes, steps, values.mean(axis=0), label, style, thin=many)
            if not many:
                low, high = values.min(axis=0), values.max(axis=0)
                axes.fill_between(steps, low, high, color=style.colour, alpha=0.15, linewidth=0)
        axes.set_ylim(bottom=0)
        legend(figure, axes)
        seeds = len({record.run.seed for cell in group for record in _trained(cell)})
        band = "without bands for so many models" if many else "the band from the lowest to the highest"
        caption = f"Training loss on {on}, {setting}; mean of {seeds} seeds, {band}."
        drawn.append(Drawn(f"loss {on} {setting}", caption, figure))
    return drawn


def by_shots(boards: Sequence[Board]) -> list[list[Board]]:
    """Boards that one figure shows: alike but for the number of shots, of which there are two at least."""
    few = [board for board in boards if board.shots is not None]
    groups: dict[tuple[str, Setting], list[Board]] = defaultdict(list)
    for board in few:
        groups[board.on, board.column.without_shots].append(board)
    return [sorted(group, key=lambda b: b.shots or 0) for group in groups.values() if len(group) > 1]


def shot_curve(boards: Sequence[Board], styles: Styles) -> Drawn:
    """Accuracy over shots: a line a model, a band of 95 % over its seeds.

    Args:
        boards: an entry of ``by_shots``.
        styles: how each model is drawn.
    """
    first = boards[0]
    setting = _without_shots(first)
    figure, axes = frame(f"{first.on}, {setting}", "shots (examples of a class), log scale", f"{first.metric} in %")
    labels = dict.fromkeys(label for board in boards for label in board.cells)
    many = len(labels) > MANY
    for label in labels:
        cells = {board.shots or 0: board.cells[label] for board in boards if label in board.cells}
        means = np.array([100 * cell.mean for cell in cells.values()])
        halves = np.array([100 * cell.half if cell.over_seeds else np.nan for cell in cells.values()])
        style = styles(next(iter(cells.values())).record)
        worst = max((marks(cell) for cell in cells.values()), key=len)
        line(axes, list(cells), means, label + worst, style, thin=many)
        if not many and np.isfinite(halves).any():
            axes.fill_between(list(cells), means - halves, means + halves, color=style.colour, alpha=0.15, linewidth=0)
    _shot_axis(axes, [board.shots or 0 for board in boards])
    legend(figure, axes)
    cells_of_all = [cell for board in boards for cell in board.cells.values()]
    band = "without bands for so many models" if many else "the band is the interval, where there are several seeds"
    caption = f"{first.on}, {setting}: {first.metric} over examples of a class; {band}."
    return Drawn(f"shots {first.on} {setting}", " ".join([caption, *interval_words(cells_of_all)]), figure)


def _without_shots(board: Board) -> str:
    """The setting in short, without the number of shots."""
    words = board.setting.replace(f"{board.shots}-shot", "few-shot")
    return " ".join(words.split())


def _shot_axis(axes: object, shots: Sequence[int]) -> None:
    from matplotlib.axes import Axes
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    assert isinstance(axes, Axes)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(shots))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
