"""Measured numbers beside published ones: columns of their own, never mixed, and the difference in points. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from mixer_bench.report import published
from mixer_bench.report.cells import Cell, doubled, of_present_tasks, real_cells
from mixer_bench.report.columns import by_setting, labels
from mixer_bench.report.models import About
from mixer_bench.report.published import Published
from mixer_bench.report.tables.averages import averages, mean_over
from mixer_bench.report.tables.table import Row, Table, by_model, notes_of
from mixer_bench.task.task import Task

COMPARABLE = ("finetune", "linear")  # protocols of ours that papers print by the same name


def build(cells: Sequence[Cell], about: About, tasks: Mapping[str, Task]) -> list[Table]:
    """A table a setting whose models have published numbers for what was measured; whole runs of present tasks only."""
    present = of_present_tasks(cells, tasks)
    fitting = [cell for cell in present if cell.run.protocol in COMPARABLE and cell.run.limit is None]
    settings = by_setting(fitting)
    names = labels(settings)
    found = [_table(names[setting], group, about, tasks) for setting, group in settings.items()]
    return [table for table in found if table is not None]


def _table(setting: str, cells: Sequence[Cell], about: About, tasks: Mapping[str, Task]) -> Table | None:
    rows: list[Row] = []
    quantities = []
    protocol = cells[0].run.protocol
    for label, group in by_model(cells, about).items():
        for quantity, cell in _measured(group, tasks):
            printed = [one for one in published.of(group[0].run.model, quantity) if one.protocol == protocol]
            rows += [_row(f"{label} {quantity}", cell, one) for one in printed]
            quantities += [quantity for _ in printed]
    if not rows:
        return None
    aids = dict.fromkeys(aid for quantity in quantities if (aid := published.reading_aid(quantity)))
    notes = (*notes_of([row.cells["measured"] for row in rows]), *aids)
    title = f"Measured against published, {setting}: accuracy in % ± 95 % interval; difference in points"
    run = cells[0].run.model_copy(update={"task": f"published numbers, {setting}", "data": "", "metric": "several"})
    columns = ("measured", "published", "difference")
    return Table(run, title, columns, (), tuple(rows), notes, first="model and task", last="published in")


def _measured(cells: Sequence[Cell], tasks: Mapping[str, Task]) -> Iterator[tuple[str, Cell]]:
    """What one model was measured by: each task, ImageNet's ReaL, and means that are whole."""
    # Several variants of the images have a table each, and which is the paper's is not known.
    twice = doubled(cells)
    by_task = {cell.run.task: cell for cell in cells if cell.run.task not in twice}
    for task, cell in by_task.items():
        yield task, cell
        for real in real_cells([cell]):
            yield f"{task}_real", real
    for average in averages(tasks):
        for name, members in average.columns.items():
            if (mean := mean_over(members, by_task)) is not None:
                yield average.tag if members == average.members else f"{average.tag}/{name.lower()}", mean


def _row(label: str, cell: Cell, printed: Published) -> Row:
    gap = published.difference(100 * cell.mean, printed) / 100
    cells = {
        "measured": cell,
        "published": Cell(printed.value / 100, math.nan, 2, converged=True),
        "difference": replace(cell, mean=gap, difference=True),
    }
    run = cell.run
    side = run.preprocessing.resolution
    where = [printed.source, printed.verified]
    if printed.spread is not None:
        where.append(f"printed with ±{printed.spread:g}")
    if printed.resolution not in (None, side):
        where.append(f"at {printed.resolution} px, here {side}")
    if run.subset != "official":
        where.append(f"here {run.subset}")
    return Row(label, cells, about="; ".join([*where, *([printed.note] if printed.note else [])]))
