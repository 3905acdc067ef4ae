"""What figures compare, the same cells as in tables: models on a task or a mean, in one setting. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mixer_bench.report.cells import Cell
from mixer_bench.report.columns import of_task
from mixer_bench.report.index import MEAN, Index
from mixer_bench.report.tables import averages
from mixer_bench.report.tables.table import MEANS, Table, by_model
from mixer_bench.report.verdict import Verdict
from mixer_bench.results.setting import Setting, Variant
from mixer_bench.stats import metrics


@dataclass(frozen=True)
class Board:
    """Models in one setting, on one task or on the mean over a whole group of tasks."""

    measured_on: Variant  # as the table of the same cells has it
    on: str  # the task with what sets its variant apart, or the group
    is_mean: bool
    metric: str  # in words
    setting: Setting
    name: str  # the same in short
    cells: Mapping[str, Cell]  # by the model's label, in the order of tables
    lacking: tuple[str, ...] = ()  # models with other settings of the task alone, or not all tasks of the group


def boards(index: Index) -> list[Board]:
    """Return a board for each task and setting."""
    boards = []
    for variant, cells in index.variants.items():
        models = by_model(cells, index.about)
        metric = metrics.words(variant.metric)
        for setting, name in of_task(cells).items():
            shown = {label: cell for label, group in models.items() for cell in group if cell.run.setting == setting}
            lacking = tuple(label for label in models if label not in shown)
            boards.append(Board(variant, index.names[variant], False, metric, setting, name, shown, lacking))
    return boards


def mean_boards(index: Index) -> list[Board]:
    """Return a board for each group and setting in which some model has all tasks."""
    boards = []
    for sheet in index.of_groups:
        table = averages.of_sheet(sheet, index.about)
        rows = table.rows
        count = len(sheet.average.members)
        cells = {row.model: cell for row in rows if (cell := row.cells.get(f"{MEAN} ({count})"))}
        if cells:
            lacking = tuple(row.model for row in rows if row.model not in cells)
            on = f"{sheet.on}, mean of {count} tasks"
            boards.append(
                Board(table.measured_on, on, True, "mean accuracy", sheet.setting, sheet.name, cells, lacking)
            )
    return boards


def of_verdict(told: Verdict, table: Table) -> Board:
    """Return the board of the column of ``table`` that a verdict is told of."""
    column = told.best.column
    cells = {row.model: row.cells[column] for row in table.rows if column in row.cells}
    lacking = tuple(row.model for row in table.rows if column not in row.cells)
    metric = "mean accuracy" if table.kind is MEANS else metrics.words(table.measured_on.metric)
    on, is_mean = table.title.partition(":")[0], table.kind is MEANS
    return Board(table.measured_on, on, is_mean, metric, told.best.cell.run.setting, column, cells, lacking)


def marks(cell: Cell) -> str:
    """Return what a label adds to a model's name: as in tables."""
    return ("" if cell.converged else "!") + ("†" if cell.in_domain else "")


def interval_words(cells: Sequence[Cell]) -> list[str]:
    """Say what the intervals of a figure's cells are, and then what its marks mean; each a sentence."""
    seeds = sorted({cell.seeds for cell in cells if cell.over_seeds})
    words = [f"over {' or '.join(map(str, seeds))} seeds"] if seeds else []
    if any(not cell.over_seeds for cell in cells):
        words.append("of the test sample for a single run" if seeds else "of the test sample")
    sentences = [f"Intervals of 95 % are {', '.join(words)}."]
    if any(not cell.converged for cell in cells):
        sentences.append("! the solver did not converge.")
    if any(cell.in_domain for cell in cells):
        sentences.append("† images of it were among those of pre-training.")
    return sentences
