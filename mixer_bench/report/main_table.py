"""The paper's main table, and others that look across tasks: few-shot means by shots, tasks by models. Pure.

MLP-Mixer compares by ImageNet, ReaL, Avg. 5 and VTAB-1k beside throughput and pre-training cost (Tolstikhin et al.
2021, tables 2 and 3). A number is withheld where one of its tasks is missing, and the notes say which.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mixer_bench.record import Record
from mixer_bench.report.about import About
from mixer_bench.report.averages import MEAN, Average, averages, mean_cell
from mixer_bench.report.settings import by_setting, grouped, labels
from mixer_bench.report.tables import Cell, Row, Table, by_model, cell_of, doubled, notes_of, unfinished
from mixer_bench.task import Task

IMAGENET = "imagenet"
WORTHWHILE = 2  # columns with numbers from which the main table says more than the others


def build(records: Sequence[Record], about: About, tasks: Mapping[str, Task]) -> list[Table]:
    """Tasks by models, few-shot means by shots, and last the main table; each where there are numbers for it.

    Limited runs and tasks of other versions or with several variants of their data are in their own tables only.
    """
    present = [r for r in records if r.run.limit is None and _is_present(r, tasks)]
    twice = doubled(present)
    whole = [r for r in present if r.run.task not in twice]
    settings = by_setting(whole)
    names = labels(settings)
    known = averages(tasks)
    matrices = [t for key, group in settings.items() for one in known for t in _matrices(one, names[key], group, about)]
    few_shot = {names[key]: group for key, group in settings.items() if json.loads(key)[0] == "fewshot"}
    shots = [table for one in known if (table := _by_shots(one, few_shot, about))]
    main = [table for key, group in settings.items() if (table := _main(names[key], group, about, known))]
    built = [*matrices, *shots, *main]
    if not twice:
        return built
    # Without it "no cifar10" would stand under a report that has two tables of it.
    note = f"left out, in more than one variant of their pictures: {', '.join(twice)}; see their own tables"
    return [replace(table, notes=(*table.notes, note)) for table in built]


def _is_present(record: Record, tasks: Mapping[str, Task]) -> bool:
    task = tasks.get(record.run.task)
    return task is not None and task.version == record.run.task_version


def _whole_mean(members: frozenset[str], by_task: Mapping[str, list[Record]], about: About) -> Cell | None:
    return mean_cell([by_task[task] for task in sorted(members)], about) if members <= by_task.keys() else None


def _main(setting: str, records: Sequence[Record], about: About, known: Sequence[Average]) -> Table | None:
    models = by_model(records, about)
    speeds = about.speeds(list(models.values()))
    means = {average.title: average for average in known}
    rows, lacking = [], defaultdict(list)
    for (label, group), speed in zip(models.items(), speeds.rows, strict=True):
        by_task = grouped(group, lambda r: r.run.task)
        cells = _imagenet(by_task.get(IMAGENET, []), about)
        for title, average in means.items():
            cell = _whole_mean(average.members, by_task, about)
            if cell is not None:
                cells[title] = cell
            elif begun := average.members & by_task.keys():
                missing = sorted(average.members - begun)
                what = ", ".join(missing) if len(missing) <= len(begun) else f"{len(missing)} tasks"
                lacking[title, what].append(label)
        rows.append(Row(label, cells, speed, about.pretraining(group[0]), about.pictures(group[0])))
    columns = [c for c in ("ImageNet", "ReaL", "Avg. 5", "VTAB-1k") if any(c in row.cells for row in rows)]
    if len(columns) < WORTHWHILE:
        return None
    withheld = [f"{title} withheld, {', '.join(names)}: no {what}" for (title, what), names in lacking.items()]
    return Table(
        records[0].run.model_copy(update={"task": "main comparison", "data": "", "metric": "several"}),
        f"Main comparison, {setting}: accuracy in % ± 95 % interval",
        tuple(columns),
        speeds.headings,
        tuple(row for row in rows if row.cells),
        (*_notes(rows, records), *unfinished(rows), *speeds.notes, *withheld),
        repeats=True,
    )


def _imagenet(records: Sequence[Record], about: About) -> dict[str, Cell]:
    if not records:
        return {}
    in_domain = about.is_in_domain(records[0])
    found = {"ImageNet": cell_of(records, records[0].run.metric, in_domain)}
    if all("real" in record.metrics for record in records):
        found["ReaL"] = cell_of(records, "real", in_domain)
    return found


def _notes(rows: Sequence[Row], records: Sequence[Record]) -> list[str]:
    notes = notes_of([cell for row in rows for cell in row.cells.values()])
    others = sorted({f"{r.run.task} {r.run.subset}" for r in records if r.run.subset != "official"})
    if others:
        notes.append(f"not on the published examples: {', '.join(others)}")
    return notes


def _withheld(models: Mapping[str, Sequence[Record]], members: frozenset[str]) -> list[str]:
    """Which models lack which of a mean's tasks."""
    lacking = defaultdict(list)
    for label, group in models.items():
        if missing := tuple(sorted(members - {r.run.task for r in group})):
            lacking[missing].append(label)
    return [f"mean withheld, {', '.join(names)}: no {', '.join(missing)}" for missing, names in lacking.items()]


def _by_shots(average: Average, settings: Mapping[str, Sequence[Record]], about: About) -> Table | None:
    """The few-shot means of a group of tasks, a column a number of shots."""
    cells: dict[str, dict[str, Cell]] = defaultdict(dict)
    every = [record for records in settings.values() for record in records if record.run.task in average.members]
    models = by_model(every, about)
    for name, records in settings.items():
        for label, group in by_model(records, about).items():
            by_task = grouped(group, lambda r: r.run.task)
            if label in models and (cell := _whole_mean(average.members, by_task, about)) is not None:
                cells[label][name] = cell
    columns = tuple(name for name in settings if any(name in found for found in cells.values()))
    if len(columns) < WORTHWHILE:
        return None
    kept = {label: group for label, group in models.items() if cells[label]}
    speeds = about.speeds(list(kept.values()))
    rows = tuple(
        Row(label, cells[label], speed, about.pretraining(group[0]), about.pictures(group[0]))
        for (label, group), speed in zip(kept.items(), speeds.rows, strict=True)
    )
    run = every[0].run.model_copy(update={"task": f"mean of {average.tag}", "data": ""})
    notes = (*_notes(rows, every), *unfinished(rows), *speeds.notes, *_withheld(models, average.members))
    title = f"{average.title} by shots: mean accuracy of {len(average.members)} tasks in % ± 95 % interval"
    return Table(run, title, columns, speeds.headings, rows, notes, repeats=True)


def _matrices(average: Average, setting: str, records: Sequence[Record], about: About) -> list[Table]:
    """The tasks of a group that has parts by models, with the means of the parts below each and of all at the end."""
    members = [record for record in records if record.run.task in average.members]
    parts = {name: tasks for name, tasks in average.columns.items() if name != MEAN}
    models = by_model(members, about)
    if not parts or len(grouped(members, lambda r: r.run.task)) * 2 < len(average.members):
        return []
    by_task = {name: grouped(group, lambda r: r.run.task) for name, group in models.items()}
    rows = [row for part, tasks in parts.items() for row in _part(part, sorted(tasks), by_task, about)]
    mean = _mean_row(f"Mean ({len(average.members)})", average.members, by_task, about)
    every = (*rows, replace(mean, group=MEAN))
    title = f"{average.title} by task, {setting}: accuracy in % ± 95 % interval"
    run = members[0].run.model_copy(update={"task": f"tasks of {average.tag}", "data": ""})
    notes = (*_notes(every, members), *_withheld(models, average.members))
    return [Table(run, title, tuple(models), (), every, notes, first="task", last="", repeats=True)]


def _part(
    part: str, tasks: Sequence[str], by_task: Mapping[str, Mapping[str, list[Record]]], about: About
) -> list[Row]:
    rows = []
    for task in tasks:
        cells = {
            name: cell_of(found[task], found[task][0].run.metric, about.is_in_domain(found[task][0]))
            for name, found in by_task.items()
            if task in found
        }
        rows.append(Row(task, cells, group=part))
    return [*rows, replace(_mean_row(f"{part} ({len(tasks)})", frozenset(tasks), by_task, about), group=part)]


def _mean_row(
    label: str,
    tasks: frozenset[str],
    by_task: Mapping[str, Mapping[str, list[Record]]],
    about: About,
) -> Row:
    found = {name: _whole_mean(tasks, groups, about) for name, groups in by_task.items()}
    return Row(label, {name: cell for name, cell in found.items() if cell is not None})
