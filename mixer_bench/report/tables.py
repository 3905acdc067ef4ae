"""Cells to tables: one a task, a row a model, a column a protocol and its settings. Pure; prints nothing.

What differs in task version, data, limit or config gets a table, row or column of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mixer_bench.record import Record, Run
from mixer_bench.report.about import About
from mixer_bench.report.cells import Cell, measured_on, real_cells
from mixer_bench.report.settings import column_labels, column_order, grouped

METRIC_WORDS = {"top1": "top-1 accuracy", "mean_per_class": "mean accuracy per class", "real": "ReaL accuracy"}


@dataclass(frozen=True)
class Row:
    """A model in one table."""

    model: str
    cells: Mapping[str, Cell]  # by column; a missing one was not run
    speeds: tuple[float | None, ...] = ()  # images a second, by the table's headings
    about: str = ""  # the last column
    group: str = ""  # rows of one group stand together: pre-trained on the same pictures


@dataclass(frozen=True)
class Table:
    """A comparison: of models on a task, mostly."""

    measured_on: Run  # any of its runs: task, version, data, subset, limit and metric are the same in all
    title: str
    columns: tuple[str, ...]
    speed_headings: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    first: str = "model"  # heading of the rows' names
    last: str = "pre-training"  # heading of ``Row.about``; empty: there is no such column
    baseline: str = ""  # the model that cells are differences from
    repeats: bool = False  # shows other tables' numbers once more, another way round


def build(cells: Sequence[Cell], about: About) -> list[Table]:
    """The tables of single tasks: one by each task's metric, and one by ImageNet's ReaL labels where they were used.

    Args:
        cells: of any tasks, models and protocols.
        about: what is known of the models.
    """
    by_task = grouped(cells, lambda cell: measured_on(cell.run))
    varied = {task for task, count in Counter(key[0] for key in by_task).items() if count > 1}
    tables = []
    for key, group in sorted(by_task.items(), key=lambda item: str(item[0])):
        tables.append(_table(group, about, key[0] in varied))
        if real := real_cells(group):
            tables.append(_table(real, about, key[0] in varied))
    return tables


def _table(cells: Sequence[Cell], about: About, varied: bool) -> Table:
    first, metric = cells[0].record, cells[0].metric
    labels = column_labels(cells)
    models = by_model(cells, about)
    speeds = about.speeds(list(models.values()))
    rows = [
        row_of(label, {labels[cell.run.setting]: cell for cell in group}, speed, group[0], about)
        for (label, group), speed in zip(models.items(), speeds.rows, strict=True)
    ]
    columns = tuple(dict.fromkeys(labels[key] for key in sorted(labels, key=column_order)))
    seeds = sorted({cell.seeds for cell in cells if cell.over_seeds})
    over = f" over {' or '.join(map(str, seeds))} seeds" if seeds else ""
    title = f"{first.run.task}: {METRIC_WORDS[metric]} in %, mean ± 95 % interval{over}"
    title += f"; {first.n_test} test pictures, {first.num_classes} classes"
    title += f", {first.run.subset}" if first.run.subset != "official" else ""
    title += f"; limited to {first.run.limit} a split" if first.run.limit else ""
    title += f"; version {first.run.task_version}, data {first.run.data[:8]}" if varied else ""
    records = [record for cell in cells for record in cell.records]
    return Table(
        first.run.model_copy(update={"metric": metric}),
        title,
        columns,
        speeds.headings,
        tuple(rows),
        (*notes_of(cells), *unfinished(rows), *speeds.notes, *_record_notes(records)),
    )


def row_of(label: str, cells: Mapping[str, Cell], speeds: Sequence[float | None], any_cell: Cell, about: About) -> Row:
    """The row of a model, of which ``any_cell`` is one of its cells, shown or not."""
    record = any_cell.record
    return Row(label, cells, tuple(speeds), about.pretraining(record), about.pictures(record))


def by_model(cells: Sequence[Cell], about: About) -> dict[str, list[Cell]]:
    """The cells of each row, by its label: one model with one checkpoint, preprocessing and precision.

    Rows of the same pre-training pictures stand together.
    """
    groups = grouped(cells, lambda cell: cell.run.network)
    runs = {key: group[0].run for key, group in groups.items()}
    labels = {
        key: _label(run, [twin for twin in runs.values() if twin.model == run.model]) for key, run in runs.items()
    }
    found = sorted(groups.items(), key=lambda item: (about.position(item[1][0].run.model), labels[item[0]]))
    # Like stands by like: rows of the same pre-training pictures together, in the order of their first.
    pictures = [about.pictures(group[0].record) for _, group in found]
    order = list(dict.fromkeys(pictures))
    found = [one for _, one in sorted(zip(pictures, found, strict=True), key=lambda pair: order.index(pair[0]))]
    return {labels[key]: group for key, group in found}


def _label(run: Run, twins: Sequence[Run]) -> str:
    """The model's name with what tells its row from the others of that name, and no more."""
    details = [_details(twin) for twin in twins]
    own = _details(run)
    differing = [part for number, part in enumerate(own) if len({twin[number] for twin in details}) > 1]
    if details.count(own) > 1:
        differing.append(run.weights[:8])
    return run.model + (f" ({', '.join(differing)})" if differing else "")


def _details(run: Run) -> tuple[str, str, str]:
    return (f"{run.preprocessing.resolution} px", run.preprocessing.resize, run.precision)


def notes_of(cells: Sequence[Cell]) -> list[str]:
    """What the marks in a table's cells mean, and how far another test sample could move them."""
    notes = []
    several = any(len(cell.by_task) > 1 for cell in cells)
    if any(not cell.over_seeds for cell in cells):
        of = "one run of a task at least" if several else "one run"
        notes.append(f"* {of}: ± is the 95 % interval of the test sample, not of seeds")
    sampling = [h for c in cells if c.over_seeds and not c.difference and not math.isnan(h := c.sampling_half)]
    if sampling:
        notes.append(
            f"± is over seeds alone; for another test sample of this size it is up to ±{100 * max(sampling):.1f}"
        )
    if any(not cell.converged for cell in cells):
        notes.append("! the solver did not converge; the record says where")
    if any(cell.in_domain for cell in cells):
        what = "some of these tasks" if several else "this task"
        notes.append(f"† pictures of {what} were among those of pre-training")
    return notes


def unfinished(rows: Sequence[Row]) -> list[str]:
    """A note for each cell that lacks seeds which others of its column have, on one of its tasks."""
    notes = []
    for column in dict.fromkeys(column for row in rows for column in row.cells):
        found = {
            (row.model, task): part.by_seed.keys()
            for row in rows
            if column in row.cells
            for task, part in row.cells[column].by_task.items()
        }
        every = set().union(*found.values())
        for (model, task), seeds in found.items():
            if lacking := sorted(every - seeds):
                what = f"{model} {column} on {task}"
                notes.append(
                    f"unfinished: {what} lacks {'seed' if len(lacking) == 1 else 'seeds'} {_short_list(lacking)}"
                )
    return notes


def _short_list(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:6]))
    return shown + (f" and {len(numbers) - 6} more" if len(numbers) > 6 else "")  # noqa: PLR2004


def _record_notes(records: Sequence[Record]) -> list[str]:
    notes = []
    edges = sorted({f"{r.run.model} {r.run.protocol}" for r in records if r.selection and r.selection.at_edge})
    if edges:
        notes.append(f"chosen at the grid's edge: {', '.join(edges)}")
    notes += sorted({f"{_run_words(r.run)}: {note}" for r in records for note in r.notes})
    notes += sorted({f"{r.run.model}: {note}" for r in records for note in r.extraction_notes})
    notes += sorted({f"data: {r.source} ({r.run.subset})" for r in records})
    return notes


def _run_words(run: Run) -> str:
    """Few-shot notes hold for every model alike, others for the one that was fitted."""
    return f"{run.config['shots']}-shot" if "shots" in run.config else f"{run.model} {run.protocol}"
