"""Records to tables: one a task, a row a model, a column a protocol and its settings. Pure; prints nothing.

A cell never mixes task versions, data, limits or configs: what differs gets a table, row or column of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mixer_bench import stats
from mixer_bench.record import Record, Run
from mixer_bench.report.about import About
from mixer_bench.report.settings import column_labels, column_of, column_order, grouped

METRIC_WORDS = {"top1": "top-1 accuracy", "mean_per_class": "mean accuracy per class", "real": "ReaL accuracy"}

Standing = Literal["", "best", "tied", "unknown", "better", "worse"]  # tied: not significantly worse than the best
STANDINGS: Mapping[Standing, str] = {"": "", "best": "●", "tied": "○", "unknown": "?", "better": "▲", "worse": "▼"}


@dataclass(frozen=True)
class Cell:
    """Runs that differ by seed alone. Values in [0, 1]."""

    mean: float
    half: float  # half-width of the 95 % interval
    seeds: int
    converged: bool
    in_domain: bool = False  # the task's pictures were among those of pre-training
    records: tuple[Record, ...] = field(default=(), repr=False)  # what it stands on
    metric: str = ""
    standing: Standing = ""  # among the models, where that was judged
    difference: bool = False  # of two models: mean is in [-1, 1]

    @property
    def over_seeds(self) -> bool:
        """Whether the interval is over seeds; with one run it is that of the test sample."""
        return self.seeds > 1

    @property
    def sampling_half(self) -> float:
        """Half of the 95 % interval for another test sample of this size, the same seeds (Wilson, of a single run)."""
        tasks = grouped(self.records, lambda r: r.run.task).values()
        ends = [[r.metrics[self.metric].ci95 for r in group if self.metric in r.metrics] for group in tasks]
        halves = [math.fsum(high - low for low, high in group) / 2 / len(group) for group in ends if group]
        return math.hypot(*halves) / len(halves) if halves else math.nan

    @property
    def text(self) -> str:
        """In percent, with marks that the table's notes explain."""
        half = "" if math.isnan(self.half) else f" ±{100 * self.half:.1f}"
        return f"{100 * self.mean:{'+.1f' if self.difference else '.1f'}}{half}{self.marks}"

    @property
    def marks(self) -> str:
        """What the notes explain."""
        own = ("" if self.over_seeds else "*") + ("" if self.converged else "!") + ("†" if self.in_domain else "")
        return own + STANDINGS[self.standing]


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


def build(records: Sequence[Record], about: About) -> list[Table]:
    """The tables of all records: one by each task's metric, and one by ImageNet's ReaL labels where they were used.

    Args:
        records: of any tasks, models and protocols.
        about: what is known of the models.
    """
    by_task = grouped(records, measured_on)
    varied = {task for task, count in Counter(key[0] for key in by_task).items() if count > 1}
    tables = []
    for key, group in sorted(by_task.items(), key=lambda item: str(item[0])):
        tables.append(_table(group, about, key[0] in varied, group[0].run.metric))
        if all("real" in record.metrics for record in group):
            tables.append(_table(group, about, key[0] in varied, "real"))
    return tables


def measured_on(record: Record) -> tuple[Any, ...]:
    """What the records of one table share."""
    run = record.run
    return (run.task, run.task_version, run.data, run.subset, run.limit, run.metric)


def doubled(records: Sequence[Record]) -> list[str]:
    """Tasks that were measured on more than one variant of their data, version, subset or limit."""
    groups = grouped(records, lambda r: r.run.task)
    return sorted(task for task, group in groups.items() if len({measured_on(r) for r in group}) > 1)


def _table(records: Sequence[Record], about: About, varied: bool, metric: str) -> Table:
    first = records[0]
    labels = column_labels(records)
    models = by_model(records, about)
    speeds = about.speeds(list(models.values()))
    rows = [
        Row(label, _cells(group, labels, about, metric), speed, about.pretraining(group[0]), about.pictures(group[0]))
        for (label, group), speed in zip(models.items(), speeds.rows, strict=True)
    ]
    columns = tuple(dict.fromkeys(labels[key] for key in sorted(labels, key=column_order)))
    cells = [cell for row in rows for cell in row.cells.values()]
    seeds = sorted({cell.seeds for cell in cells if cell.over_seeds})
    over = f" over {' or '.join(map(str, seeds))} seeds" if seeds else ""
    title = f"{first.run.task}: {METRIC_WORDS[metric]} in %, mean ± 95 % interval{over}"
    title += f"; {first.n_test} test pictures, {first.num_classes} classes"
    title += f", {first.run.subset}" if first.run.subset != "official" else ""
    title += f"; limited to {first.run.limit} a split" if first.run.limit else ""
    title += f"; version {first.run.task_version}, data {first.run.data[:8]}" if varied else ""
    return Table(
        first.run.model_copy(update={"metric": metric}),
        title,
        columns,
        speeds.headings,
        tuple(rows),
        (*notes_of(cells), *unfinished(rows), *speeds.notes, *_record_notes(records)),
    )


def _cells(records: Sequence[Record], labels: Mapping[str, str], about: About, metric: str) -> dict[str, Cell]:
    in_domain = about.is_in_domain(records[0])
    return {labels[column]: cell_of(runs, metric, in_domain) for column, runs in grouped(records, column_of).items()}


def by_model(records: Sequence[Record], about: About) -> dict[str, list[Record]]:
    """The records of each row, by its label: one model with one checkpoint, preprocessing and precision.

    Rows of the same pre-training pictures stand together.
    """
    groups = grouped(records, lambda r: r.run.network)
    runs = {key: group[0].run for key, group in groups.items()}
    labels = {
        key: _label(run, [twin for twin in runs.values() if twin.model == run.model]) for key, run in runs.items()
    }
    found = sorted(groups.items(), key=lambda item: (about.position(item[1][0].run.model), labels[item[0]]))
    # Like stands by like: rows of the same pre-training pictures together, in the order of their first.
    pictures = [about.pictures(group[0]) for _, group in found]
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


def cell_of(records: Sequence[Record], metric: str, in_domain: bool = False) -> Cell:
    """Runs that differ by seed alone as one cell."""
    measured = [record.metrics[metric] for record in records]
    mean, half = stats.mean_interval([m.value for m in measured])
    if len(records) == 1:
        half = (measured[0].ci95[1] - measured[0].ci95[0]) / 2
    converged = all(record.converged is not False for record in records)
    return Cell(mean, half, len(records), converged, in_domain, tuple(records), metric)


def notes_of(cells: Sequence[Cell]) -> list[str]:
    """What the marks in a table's cells mean, and how far another test sample could move them."""
    notes = []
    several = any(len({r.run.task for r in cell.records}) > 1 for cell in cells)
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
            (row.model, task): {record.run.seed for record in group}
            for row in rows
            if column in row.cells
            for task, group in grouped(row.cells[column].records, lambda r: r.run.task).items()
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
