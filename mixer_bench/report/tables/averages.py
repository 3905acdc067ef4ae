"""Means over groups of tasks: one table a group and setting, a row a model. Pure; prints nothing.

A mean is printed only where all its tasks are there, each in one variant.
"""

from __future__ import annotations

from mixer_bench.report.index import GroupSheet, Index
from mixer_bench.report.models import About
from mixer_bench.report.tables.table import MEANS, Table, by_model, model_table, tasks_by_model, withheld
from mixer_bench.task.sources import Subset

WORST_FIRST: tuple[Subset, ...] = ("resampled", "official-lossy", "official")


def build(index: Index) -> list[Table]:
    """Return the tables of all groups and settings of which there are means, or numbers of half the tasks."""
    tables = [(sheet, of_sheet(sheet, index.about)) for sheet in index.of_groups]
    return [
        table
        for sheet, table in tables
        if any(row.cells for row in table.rows) or 2 * sum(sheet.subsets.values()) >= len(sheet.average.members)
    ]


def of_sheet(sheet: GroupSheet, about: About) -> Table:
    """Return the table of one group and setting."""
    average = sheet.average
    models = by_model(sheet.every, about)
    columns = {part: f"{part} ({len(tasks)})" for part, tasks in average.parts.items()}
    means = {}
    for label, cells in models.items():
        by_task = {cell.run.task: cell for cell in cells if cell.run.task not in sheet.doubled}
        means[label] = {columns[part]: mean for part, mean in average.means(by_task).items()}
    lost = withheld(tasks_by_model(sheet.every, about), average.members - set(sheet.doubled))
    if sheet.doubled:
        lost.append(f"means withheld: more than one variant of {', '.join(sheet.doubled)}; see their own tables")
    subsets = [subset for subset in WORST_FIRST if subset in sheet.subsets]
    words = ", ".join(f"{name}: {sheet.subsets[name]} of {len(average.members)} tasks" for name in subsets)
    title = f"{average.called(sheet.every)}, {sheet.name}: mean accuracy in % ± 95 % interval; {words}"
    title += f"; limited to {sheet.limit} a split" if sheet.limit else ""
    variant = sheet.every[0].run.variant._replace(task=average.tag, data="", subset=subsets[0])
    return model_table(MEANS, variant, title, list(columns.values()), models, means, about, lost)
