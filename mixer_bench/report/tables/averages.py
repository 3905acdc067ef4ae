"""Means over groups of tasks (averages.toml): one table a group and setting, a row a model. Pure; prints nothing.

A mean is printed only where all its tasks are there, each in one variant.
"""

from __future__ import annotations

import functools
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from mixer_bench.report.cells import Cell, by_limit, doubled, mean_of, of_present_tasks
from mixer_bench.report.columns import by_setting, labels
from mixer_bench.report.models import About
from mixer_bench.report.tables.table import Row, Table, by_model, notes_of, row_of, unfinished
from mixer_bench.system.grouping import grouped
from mixer_bench.task.sources import Subset
from mixer_bench.task.task import Task

MEAN = "Mean"
WORST_FIRST: tuple[Subset, ...] = ("resampled", "official-lossy", "official")


@dataclass(frozen=True)
class Average:
    """A group of tasks and the parts that are averaged by themselves; each a column's name and its tasks."""

    tag: str
    title: str
    columns: Mapping[str, frozenset[str]]

    @property
    def members(self) -> frozenset[str]:
        """All tasks of the group."""
        return self.columns[MEAN]


@functools.cache
def _declared() -> dict[str, dict[str, object]]:
    return tomllib.loads((files("mixer_bench.report.tables") / "averages.toml").read_text(encoding="utf-8"))


def averages(tasks: Mapping[str, Task]) -> list[Average]:
    """The declared groups that have tasks."""
    found = []
    for tag, table in _declared().items():
        parts = {**dict(table["parts"]), MEAN: tag}  # type: ignore[call-overload]
        columns = {
            name: frozenset(task.name for task in tasks.values() if part in task.tags) for name, part in parts.items()
        }
        if columns[MEAN]:
            found.append(Average(tag, str(table["title"]), columns))
    return found


def build(cells: Sequence[Cell], about: About, tasks: Mapping[str, Task]) -> list[Table]:
    """The tables of all groups and settings of which there are means, or numbers of half the tasks.

    Of each task the present version counts.
    """
    tables = []
    for average in averages(tasks):
        members = [cell for cell in of_present_tasks(cells, tasks) if cell.run.task in average.members]
        for _, limited in by_limit(members):
            for variant in averageable(limited):
                tables += _tables(average, variant, about)
    return tables


def averageable(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells that may be averaged: together where each task has one variant of its data, else subset by subset."""
    if not doubled(cells):
        return [list(cells)]
    return [group for _, group in sorted(grouped(cells, lambda cell: cell.run.subset).items())]


def _tables(average: Average, cells: Sequence[Cell], about: About) -> list[Table]:
    settings = by_setting(cells)
    names = labels(settings)
    found = []
    for setting, group in settings.items():
        table = _table(average, names[setting], group, about)
        begun = 2 * len({cell.run.task for cell in group}) >= len(average.members)
        if begun or any(row.cells for row in table.rows):
            found.append(table)
    return found


def _table(average: Average, setting: str, cells: Sequence[Cell], about: About) -> Table:
    twice = doubled(cells)
    rows: list[Row] = []
    lacking: dict[tuple[str, ...], list[str]] = defaultdict(list)  # tasks -> models
    models = by_model(cells, about)
    speeds = about.speeds(list(models.values()))
    for (label, group), speed in zip(models.items(), speeds.rows, strict=True):
        by_task = {} if twice else {cell.run.task: cell for cell in group}
        means = {
            f"{name} ({len(members)})": mean
            for name, members in average.columns.items()
            if (mean := mean_over(members, by_task)) is not None
        }
        rows.append(row_of(label, means, speed, group[0], about))
        if missing := tuple(sorted(average.members - {cell.run.task for cell in group})):
            lacking[missing].append(label)
    withheld = [f"mean withheld, {', '.join(models)}: no {', '.join(tasks)}" for tasks, models in lacking.items()]
    if twice:
        withheld.append(f"means withheld: more than one variant of {', '.join(twice)}; see their own tables")
    run = cells[0].run
    subsets = {name: {cell.run.task for cell in cells if cell.run.subset == name} for name in WORST_FIRST}
    words = ", ".join(
        f"{name}: {len(tasks)} of {len(average.members)} tasks" for name, tasks in subsets.items() if tasks
    )
    title = f"{average.title}, {setting}: mean accuracy in % ± 95 % interval; {words}"
    title += f"; limited to {run.limit} a split" if run.limit else ""
    worst = next(name for name in WORST_FIRST if subsets[name])
    measured_on = run.model_copy(update={"task": f"mean of {average.tag}", "data": "", "subset": worst})
    columns = tuple(f"{name} ({len(tasks)})" for name, tasks in average.columns.items())
    notes = [*notes_of([cell for row in rows for cell in row.cells.values()]), *unfinished(rows)]
    return Table(
        measured_on,
        title,
        columns,
        speeds.headings,
        tuple(rows),
        (*notes, *speeds.notes, *withheld),
    )


def mean_over(tasks: frozenset[str], by_task: Mapping[str, Cell]) -> Cell | None:
    """The mean over ``tasks``; None where one of them is missing."""
    return mean_of([by_task[task] for task in sorted(tasks)]) if tasks <= by_task.keys() else None
