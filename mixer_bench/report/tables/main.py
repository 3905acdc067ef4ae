"""The paper's main table, and others that look across tasks: few-shot means by shots, tasks by models. Pure.

MLP-Mixer compares by ImageNet, ReaL, Avg. 5 and VTAB-1k beside throughput and pre-training cost (Tolstikhin et al.
2021, tables 2 and 3). A number is withheld where one of its tasks is missing, and the notes say which.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mixer_bench.report.cells import Cell, doubled, of_present_tasks, real_cells
from mixer_bench.report.columns import by_setting, labels
from mixer_bench.report.models import About
from mixer_bench.report.tables.averages import MEAN, Average, averages, mean_over
from mixer_bench.report.tables.table import Row, Table, by_model, notes_of, row_of, unfinished
from mixer_bench.task.task import Task

IMAGENET = "imagenet"
WORTHWHILE = 2  # columns with numbers from which the main table says more than the others


def build(cells: Sequence[Cell], about: About, tasks: Mapping[str, Task]) -> list[Table]:
    """Tasks by models, few-shot means by shots, and last the main table; each where there are numbers for it.

    Limited runs and tasks of other versions or with several variants of their data are in their own tables only.
    """
    present = [cell for cell in of_present_tasks(cells, tasks) if cell.run.limit is None]
    twice = doubled(present)
    settings = by_setting([cell for cell in present if cell.run.task not in twice])
    names = labels(settings)
    known = averages(tasks)
    matrices = [t for key, group in settings.items() for one in known for t in _matrices(one, names[key], group, about)]
    few_shot = {names[key]: group for key, group in settings.items() if key.protocol == "fewshot"}
    shots = [table for one in known if (table := _by_shots(one, few_shot, about))]
    main = [table for key, group in settings.items() if (table := _main(names[key], group, about, known))]
    built = [*matrices, *shots, *main]
    if not twice:
        return built
    # Without it "no cifar10" would stand under a report that has two tables of it.
    note = f"left out, in more than one variant of their images: {', '.join(twice)}; see their own tables"
    return [replace(table, notes=(*table.notes, note)) for table in built]


def _main(setting: str, cells: Sequence[Cell], about: About, known: Sequence[Average]) -> Table | None:
    models = by_model(cells, about)
    speeds = about.speeds(list(models.values()))
    means = {average.title: average for average in known}
    rows, lacking = [], defaultdict(list)
    for (label, group), speed in zip(models.items(), speeds.rows, strict=True):
        by_task = {cell.run.task: cell for cell in group}
        shown = _imagenet(by_task.get(IMAGENET))
        for title, average in means.items():
            mean = mean_over(average.members, by_task)
            if mean is not None:
                shown[title] = mean
            elif begun := average.members & by_task.keys():
                missing = sorted(average.members - begun)
                what = ", ".join(missing) if len(missing) <= len(begun) else f"{len(missing)} tasks"
                lacking[title, what].append(label)
        rows.append(row_of(label, shown, speed, group[0], about))
    columns = [c for c in ("ImageNet", "ReaL", "Avg. 5", "VTAB-1k") if any(c in row.cells for row in rows)]
    if len(columns) < WORTHWHILE:
        return None
    withheld = [f"{title} withheld, {', '.join(names)}: no {what}" for (title, what), names in lacking.items()]
    return Table(
        cells[0].run.model_copy(update={"task": "main comparison", "data": "", "metric": "several"}),
        f"Main comparison, {setting}: accuracy in % ± 95 % interval",
        tuple(columns),
        speeds.headings,
        tuple(row for row in rows if row.cells),
        (*_notes(rows, cells), *unfinished(rows), *speeds.notes, *withheld),
        repeats=True,
    )


def _imagenet(cell: Cell | None) -> dict[str, Cell]:
    if cell is None:
        return {}
    return dict(zip(("ImageNet", "ReaL"), [cell, *real_cells([cell])], strict=False))


def _notes(rows: Sequence[Row], cells: Sequence[Cell]) -> list[str]:
    notes = notes_of([cell for row in rows for cell in row.cells.values()])
    others = sorted({f"{cell.run.task} {cell.run.subset}" for cell in cells if cell.run.subset != "official"})
    if others:
        notes.append(f"not on the published examples: {', '.join(others)}")
    return notes


def _withheld(models: Mapping[str, Sequence[Cell]], members: frozenset[str]) -> list[str]:
    """Which models lack which of a mean's tasks."""
    lacking = defaultdict(list)
    for label, group in models.items():
        if missing := tuple(sorted(members - {cell.run.task for cell in group})):
            lacking[missing].append(label)
    return [f"mean withheld, {', '.join(names)}: no {', '.join(missing)}" for missing, names in lacking.items()]


def _by_shots(average: Average, settings: Mapping[str, Sequence[Cell]], about: About) -> Table | None:
    """The few-shot means of a group of tasks, a column a number of shots."""
    means: dict[str, dict[str, Cell]] = defaultdict(dict)
    every = [cell for cells in settings.values() for cell in cells if cell.run.task in average.members]
    models = by_model(every, about)
    for name, cells in settings.items():
        for label, group in by_model(cells, about).items():
            mean = mean_over(average.members, {cell.run.task: cell for cell in group})
            if label in models and mean is not None:
                means[label][name] = mean
    columns = tuple(name for name in settings if any(name in found for found in means.values()))
    if len(columns) < WORTHWHILE:
        return None
    kept = {label: group for label, group in models.items() if means[label]}
    speeds = about.speeds(list(kept.values()))
    rows = tuple(
        row_of(label, means[label], speed, group[0], about)
        for (label, group), speed in zip(kept.items(), speeds.rows, strict=True)
    )
    run = every[0].run.model_copy(update={"task": f"mean of {average.tag}", "data": ""})
    notes = (*_notes(rows, every), *unfinished(rows), *speeds.notes, *_withheld(models, average.members))
    title = f"{average.title} by shots: mean accuracy of {len(average.members)} tasks in % ± 95 % interval"
    return Table(run, title, columns, speeds.headings, rows, notes, repeats=True)


def _matrices(average: Average, setting: str, cells: Sequence[Cell], about: About) -> list[Table]:
    """The tasks of a group that has parts by models, with the means of the parts below each and of all at the end."""
    members = [cell for cell in cells if cell.run.task in average.members]
    parts = {name: tasks for name, tasks in average.columns.items() if name != MEAN}
    models = by_model(members, about)
    if not parts or len({cell.run.task for cell in members}) * 2 < len(average.members):
        return []
    by_task = {name: {cell.run.task: cell for cell in group} for name, group in models.items()}
    rows = [row for part, tasks in parts.items() for row in _part(part, sorted(tasks), by_task)]
    mean = _mean_row(f"Mean ({len(average.members)})", average.members, by_task)
    every = (*rows, replace(mean, group=MEAN))
    title = f"{average.title} by task, {setting}: accuracy in % ± 95 % interval"
    run = members[0].run.model_copy(update={"task": f"tasks of {average.tag}", "data": ""})
    notes = (*_notes(every, members), *_withheld(models, average.members))
    return [Table(run, title, tuple(models), (), every, notes, first="task", last="", repeats=True)]


def _part(part: str, tasks: Sequence[str], by_task: Mapping[str, Mapping[str, Cell]]) -> list[Row]:
    rows = [
        Row(task, {name: found[task] for name, found in by_task.items() if task in found}, group=part) for task in tasks
    ]
    return [*rows, replace(_mean_row(f"{part} ({len(tasks)})", frozenset(tasks), by_task), group=part)]


def _mean_row(label: str, tasks: frozenset[str], by_task: Mapping[str, Mapping[str, Cell]]) -> Row:
    means = {name: mean_over(tasks, found) for name, found in by_task.items()}
    return Row(label, {name: mean for name, mean in means.items() if mean is not None})
