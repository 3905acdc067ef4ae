"""Means over groups of tasks (averages.toml): one table a group and setting, a row a model. Pure; prints nothing.

A mean is printed only where all its tasks are there, each in one variant.
"""

from __future__ import annotations

import functools
import statistics
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from mixer_bench import stats
from mixer_bench.record import Record
from mixer_bench.report.about import About
from mixer_bench.report.settings import by_setting, grouped, labels
from mixer_bench.report.tables import Cell, Row, Table, by_model, cell_of, doubled, notes_of, unfinished
from mixer_bench.source import Subset
from mixer_bench.task import Task

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
    return tomllib.loads((files("mixer_bench.report") / "averages.toml").read_text(encoding="utf-8"))


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


def build(records: Sequence[Record], about: About, tasks: Mapping[str, Task]) -> list[Table]:
    """The tables of all groups and settings of which there are means, or records of half the tasks.

    Of each task the present version counts.
    """
    tables = []
    for average in averages(tasks):
        members = [
            r for r in records if r.run.task in average.members and r.run.task_version == tasks[r.run.task].version
        ]
        for _, limited in sorted(grouped(members, lambda r: r.run.limit or 0).items()):
            for variant in _variants(limited):
                tables += _tables(average, variant, about)
    return tables


def _variants(records: Sequence[Record]) -> list[list[Record]]:
    """Records that may be averaged: together where each task has one variant of its data, else subset by subset."""
    if not doubled(records):
        return [list(records)]
    return [group for _, group in sorted(grouped(records, lambda r: r.run.subset).items())]


def _tables(average: Average, records: Sequence[Record], about: About) -> list[Table]:
    settings = by_setting(records)
    names = labels(settings)
    found = []
    for setting, group in settings.items():
        table = _table(average, names[setting], group, about)
        begun = 2 * len({record.run.task for record in group}) >= len(average.members)
        if begun or any(row.cells for row in table.rows):
            found.append(table)
    return found


def _table(average: Average, setting: str, records: Sequence[Record], about: About) -> Table:
    twice = doubled(records)
    rows: list[Row] = []
    lacking: dict[tuple[str, ...], list[str]] = defaultdict(list)  # tasks -> models
    models = by_model(records, about)
    speeds = about.speeds(list(models.values()))
    for (label, group), speed in zip(models.items(), speeds.rows, strict=True):
        by_task = grouped(group, lambda r: r.run.task)
        whole = {name: tasks for name, tasks in average.columns.items() if not twice and tasks <= by_task.keys()}
        cells = {
            f"{name} ({len(tasks)})": mean_cell([by_task[task] for task in sorted(tasks)], about)
            for name, tasks in whole.items()
        }
        rows.append(Row(label, cells, speed, about.pretraining(group[0]), about.pictures(group[0])))
        if missing := tuple(sorted(average.members - by_task.keys())):
            lacking[missing].append(label)
    withheld = [f"mean withheld, {', '.join(models)}: no {', '.join(tasks)}" for tasks, models in lacking.items()]
    if twice:
        withheld.append(f"means withheld: more than one variant of {', '.join(twice)}; see their own tables")
    run = records[0].run
    subsets = {name: {r.run.task for r in records if r.run.subset == name} for name in WORST_FIRST}
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


def mean_cell(tasks: Sequence[Sequence[Record]], about: About) -> Cell:
    """The plain mean over tasks; where all have the same seeds, with the interval over the seeds' means."""
    seeds = {tuple(sorted(record.run.seed for record in runs)) for runs in tasks}
    cells = [cell_of(runs, runs[0].run.metric, about.is_in_domain(runs[0])) for runs in tasks]
    in_domain = any(cell.in_domain for cell in cells)
    converged = all(cell.converged for cell in cells)
    records = tuple(record for cell in cells for record in cell.records)
    mean = statistics.fmean(cell.mean for cell in cells)
    same = next(iter(seeds))
    if len(seeds) == 1 and len(same) > 1:
        by_seed = [
            statistics.fmean(r.metrics[r.run.metric].value for runs in tasks for r in runs if r.run.seed == seed)
            for seed in same
        ]
        _, half = stats.mean_interval(by_seed)
        return Cell(mean, half, len(same), converged, in_domain, records, cells[0].metric)
    # Independent test samples: variances add up.
    half = sum(cell.half**2 for cell in cells) ** 0.5 / len(cells)
    return Cell(mean, half, min(cell.seeds for cell in cells), converged, in_domain, records, cells[0].metric)
