"""The paper's main table, and others that look across tasks: few-shot means by shots, tasks by models. Pure.

MLP-Mixer compares by ImageNet, ReaL, Avg. 5 and VTAB-1k beside throughput and pre-training cost (Tolstikhin et al.
2021, tables 2 and 3). A number is withheld where one of its tasks is missing, and the notes say which.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mixer_bench.report.cells import Cell, real_cells
from mixer_bench.report.index import MEAN, Average, Index, Sheet
from mixer_bench.report.models import About
from mixer_bench.report.tables.table import (
    MAIN,
    MATRIX,
    SHOTS,
    Row,
    Table,
    by_model,
    model_table,
    notes_of,
    tasks_by_model,
    unpublished,
    withheld,
)
from mixer_bench.system.grouping import grouped

IMAGENET = "imagenet"
WORTHWHILE = 2  # columns with numbers from which the main table says more than the others


def build(index: Index) -> list[Table]:
    """Return tasks by models, few-shot means by shots, and last the main table; each where there are numbers for it.

    Limited runs and tasks of other versions or with several variants of their data are in their own tables only.
    """
    sheets, doubled = index.whole
    few_shot = [sheet for sheet in sheets if sheet.setting.protocol == "fewshot"]
    built = [
        *(_matrix(average, sheet, index.about) for sheet in sheets for average in index.averages),
        *(_by_shots(average, few_shot, index.about) for average in index.averages),
        *(_main(sheet, index) for sheet in sheets),
    ]
    # Without it "no cifar10" would stand under a report that has two tables of it.
    note = f"left out, in more than one variant of their images: {', '.join(doubled)}; see their own tables"
    return [replace(t, notes=(*t.notes, *([note] if doubled else []))) for t in built if t]


def _main(sheet: Sheet, index: Index) -> Table | None:
    models = tasks_by_model(sheet.cells, index.about)
    shown = {label: _imagenet(by_task) for label, by_task in models.items()}
    names = {average.tag: average.called(sheet.cells) for average in index.averages}
    for label, by_task in models.items():
        shown[label].update({names[a.tag]: mean for a in index.averages if (mean := a.mean(by_task))})
    ordered = ("ImageNet", "ReaL", names.get("avg5"), names.get("vtab"))
    columns = [c for c in ordered if c and any(c in means for means in shown.values())]
    if len(columns) < WORTHWHILE:
        return None
    variant = sheet.cells[0].run.variant._replace(data="", metric="several")
    title = f"Main comparison, {sheet.name}: accuracy in % ± 95 % interval"
    kept = {label: list(by_task.values()) for label, by_task in models.items() if shown[label]}
    lost = [
        note for average in index.averages for note in withheld(models, average.members, names[average.tag], brief=True)
    ]
    return model_table(MAIN, variant, title, columns, kept, shown, index.about, lost)


def _imagenet(by_task: Mapping[str, Cell]) -> dict[str, Cell]:
    cells = [by_task[IMAGENET]] if IMAGENET in by_task else []
    return dict(zip(("ImageNet", "ReaL"), [*cells, *real_cells(cells)], strict=False))


def _by_shots(average: Average, sheets: Sequence[Sheet], about: About) -> Table | None:
    """Return the few-shot means of a group of tasks, a column a number of shots."""
    every = [cell for sheet in sheets for cell in sheet.cells if cell.run.task in average.members]
    models = by_model(every, about)
    means: dict[str, dict[str, Cell]] = defaultdict(dict)
    for sheet in sheets:
        # A sheet alone may name the model shorter: there, nothing need be told from it.
        by_network = grouped(sheet.cells, lambda cell: cell.run.network)
        for label, cells in models.items():
            by_task = {cell.run.task: cell for cell in by_network.get(cells[0].run.network, ())}
            if mean := average.mean(by_task):
                means[label][sheet.name] = mean
    columns = [sheet.name for sheet in sheets if any(sheet.name in row for row in means.values())]
    if len(columns) < WORTHWHILE:
        return None
    variant = every[0].run.variant._replace(task=average.tag, data="")
    title = f"{average.called(every)} by shots: mean accuracy of {len(average.members)} tasks in % ± 95 % interval"
    kept = {label: cells for label, cells in models.items() if label in means}
    lost = withheld(tasks_by_model(every, about), average.members)
    return model_table(SHOTS, variant, title, columns, kept, means, about, lost)


def _matrix(average: Average, sheet: Sheet, about: About) -> Table | None:
    """Return the tasks of a group that has parts by models, with the means of the parts below each and of all last."""
    members = [cell for cell in sheet.cells if cell.run.task in average.members]
    if len(average.parts) == 1 or len({cell.run.task for cell in members}) * 2 < len(average.members):
        return None
    models = tasks_by_model(members, about)
    means = {label: average.means(by_task) for label, by_task in models.items()}
    rows = []
    for part, tasks in average.parts.items():
        if part != MEAN:
            rows += [Row(task, _column(models, task), group=part) for task in sorted(tasks)]
        rows.append(Row(f"{part} ({len(tasks)})", _column(means, part), group=part))
    lost = withheld(models, average.members)
    variant = members[0].run.variant._replace(task=average.tag, data="")
    title = f"{average.called(members)} by task, {sheet.name}: accuracy in % ± 95 % interval"
    notes = (*lost, *unpublished(members), *notes_of(rows))
    return Table(MATRIX, variant, title, tuple(models), tuple(rows), notes, withheld=tuple(lost))


def _column(models: Mapping[str, Mapping[str, Cell]], name: str) -> dict[str, Cell]:
    return {label: cells[name] for label, cells in models.items() if name in cells}
