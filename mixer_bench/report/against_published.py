"""Measured numbers beside published ones: columns of their own, never mixed, and the difference in points. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from mixer_bench.record import Record
from mixer_bench.report import published
from mixer_bench.report.about import About
from mixer_bench.report.averages import averages, mean_cell
from mixer_bench.report.published import Published
from mixer_bench.report.settings import by_setting, grouped, labels
from mixer_bench.report.tables import Cell, Row, Table, by_model, cell_of, notes_of
from mixer_bench.task import Task

COMPARABLE = ("finetune", "linear")  # protocols of ours that papers print by the same name


def build(records: Sequence[Record], about: About, tasks: Mapping[str, Task]) -> list[Table]:
    """A table a setting whose models have published numbers for what was measured; whole runs of present tasks only."""
    fitting = [
        r
        for r in records
        if r.run.protocol in COMPARABLE
        and r.run.limit is None
        and r.run.task in tasks
        and r.run.task_version == tasks[r.run.task].version
    ]
    settings = by_setting(fitting)
    names = labels(settings)
    found = [_table(names[setting], group, about, tasks) for setting, group in settings.items()]
    return [table for table in found if table is not None]


def _table(setting: str, records: Sequence[Record], about: About, tasks: Mapping[str, Task]) -> Table | None:
    rows: list[Row] = []
    quantities = []
    protocol = records[0].run.protocol
    for label, group in by_model(records, about).items():
        for quantity, cell in _measured(group, about, tasks):
            printed = [one for one in published.of(group[0].run.model, quantity) if one.protocol == protocol]
            rows += [_row(f"{label} {quantity}", cell, one, group[0]) for one in printed]
            quantities += [quantity for _ in printed]
    if not rows:
        return None
    aids = dict.fromkeys(aid for quantity in quantities if (aid := published.reading_aid(quantity)))
    notes = (*notes_of([row.cells["measured"] for row in rows]), *aids)
    title = f"Measured against published, {setting}: accuracy in % ± 95 % interval; difference in points"
    run = records[0].run.model_copy(update={"task": f"published numbers, {setting}", "data": "", "metric": "several"})
    columns = ("measured", "published", "difference")
    return Table(run, title, columns, (), tuple(rows), notes, first="model and task", last="published in")


def _measured(records: Sequence[Record], about: About, tasks: Mapping[str, Task]) -> Iterator[tuple[str, Cell]]:
    """What one model was measured by: each task, ImageNet's ReaL, and means that are whole."""
    by_task = grouped(records, lambda r: r.run.task)
    for task, group in by_task.items():
        if len({(r.run.data, r.run.metric) for r in group}) > 1:
            continue  # several variants of the pictures: each has its own table, and which is the paper's is not known
        yield task, cell_of(group, group[0].run.metric, about.is_in_domain(group[0]))
        if all("real" in record.metrics for record in group):
            yield f"{task}_real", cell_of(group, "real", about.is_in_domain(group[0]))
    for average in averages(tasks):
        for name, members in average.columns.items():
            if members <= by_task.keys():
                quantity = average.tag if members == average.members else f"{average.tag}/{name.lower()}"
                yield quantity, mean_cell([by_task[task] for task in sorted(members)], about)


def _row(label: str, cell: Cell, printed: Published, record: Record) -> Row:
    gap = published.difference(100 * cell.mean, printed) / 100
    cells = {
        "measured": cell,
        "published": Cell(printed.value / 100, math.nan, 2, converged=True),
        "difference": replace(cell, mean=gap, difference=True),
    }
    side = record.run.preprocessing.resolution
    where = [printed.source, printed.verified]
    if printed.spread is not None:
        where.append(f"printed with ±{printed.spread:g}")
    if printed.resolution not in (None, side):
        where.append(f"at {printed.resolution} px, here {side}")
    if record.run.subset != "official":
        where.append(f"here {record.run.subset}")
    return Row(label, cells, about="; ".join([*where, *([printed.note] if printed.note else [])]))
