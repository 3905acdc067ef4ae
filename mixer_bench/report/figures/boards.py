"""What figures compare, the same cells as in tables: models on a task or a mean, in one setting. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixer_bench.report.cells import Cell, by_limit, doubled, of_present_tasks
from mixer_bench.report.columns import by_setting, column_labels, column_order, labels
from mixer_bench.report.models import About
from mixer_bench.report.tables import averages
from mixer_bench.report.tables.averages import MEAN, Average
from mixer_bench.report.tables.table import Table, by_model
from mixer_bench.results.setting import Setting
from mixer_bench.stats import metrics
from mixer_bench.system.grouping import grouped
from mixer_bench.task.task import Task


@dataclass(frozen=True)
class Board:
    """Models in one setting, on one task or on the mean over a whole group of tasks."""

    on: str  # the task with what sets its variant apart, or the group
    is_mean: bool
    metric: str  # in words
    column: Setting
    setting: str  # the same in short
    cells: Mapping[str, Cell]  # by the model's label, in the order of tables
    lacking: tuple[str, ...] = ()  # models with other settings of the task alone, or not all tasks of the group

    @property
    def shots(self) -> int | None:
        """Examples of a class; None where the protocol takes all."""
        return self.column.shots


@dataclass(frozen=True)
class Sheet:
    """Cells of a group's tasks in one setting; each task in one variant."""

    average: Average
    on: str
    setting: str
    cells: tuple[Cell, ...]
    doubled: tuple[str, ...]  # tasks in more than one variant all the same, whose cells are not here


def boards(cells: Sequence[Cell], about: About) -> list[Board]:
    """A board for each task and setting."""
    found = []
    for key, group in variants(cells).items():
        names = column_labels(group)
        models = by_model(group, about)
        for column in sorted(names, key=column_order):
            shown = {label: cell for label, own in models.items() for cell in own if cell.run.setting == column}
            lacking = tuple(label for label in models if label not in shown)
            metric = metrics.of_record(group[0].metric).words
            found.append(Board(key, False, metric, column, names[column], shown, lacking))
    return found


def mean_boards(sheets: Sequence[Sheet], about: About, tasks: Mapping[str, Task]) -> list[Board]:
    """A board for each group and setting in which some model has all tasks."""
    found = []
    for sheet in sheets:
        table = means(sheet, about, tasks)
        name = f"{MEAN} ({len(sheet.average.members)})"
        cells = {row.model: row.cells[name] for row in table.rows if name in row.cells} if table else {}
        if cells:
            on = f"{sheet.on}, mean of {len(sheet.average.members)} tasks"
            lacking = tuple(row.model for row in table.rows if row.model not in cells) if table else ()
            column = sheet.cells[0].run.setting
            found.append(Board(on, True, "mean accuracy", column, sheet.setting, cells, lacking))
    return found


def means(sheet: Sheet, about: About, tasks: Mapping[str, Task]) -> Table | None:
    """The table of a sheet's means; None where there are too few cells for one."""
    built = averages.build(sheet.cells, about, tasks)
    return next((table for table in built if table.measured_on.task == f"mean of {sheet.average.tag}"), None)


def sheets(cells: Sequence[Cell], tasks: Mapping[str, Task]) -> list[Sheet]:
    """A sheet for each declared group of tasks, limit and setting; by subset where tasks have several variants."""
    found = []
    for average in averages.averages(tasks):
        members = [cell for cell in of_present_tasks(cells, tasks) if cell.run.task in average.members]
        for _, limited in by_limit(members):
            for group in averages.averageable(limited):
                settings = by_setting(group)
                names = labels(settings)
                found += [_sheet(average, names[setting], own) for setting, own in settings.items()]
    return found


def _sheet(average: Average, setting: str, cells: Sequence[Cell]) -> Sheet:
    twice = doubled(cells)
    subsets = sorted({cell.run.subset for cell in cells})
    on = average.title + _words(subsets, cells[0].run.limit)
    return Sheet(average, on, setting, tuple(cell for cell in cells if cell.run.task not in twice), tuple(twice))


def variants(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Cells by what they were measured on, each under a name of its own."""
    groups = dict(sorted(grouped(cells, lambda cell: cell.run.variant).items(), key=lambda item: str(item[0])))
    names = {key: key[0] + _words([group[0].run.subset], group[0].run.limit) for key, group in groups.items()}
    given = list(names.values())
    return {
        name if given.count(name) == 1 else f"{name} (version {key[1]}, data {key[2][:8]}, {key[5]})": groups[key]
        for key, name in names.items()
    }


def _words(subsets: Sequence[str], limit: int | None) -> str:
    said: list[Any] = [] if list(subsets) == ["official"] else [" and ".join(subsets)]
    said += [f"limited to {limit} a split"] if limit else []
    return f" ({', '.join(said)})" if said else ""


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
