"""Cells to tables: one a task, a row a model, a column a protocol and its settings. Pure; prints nothing.

What differs in task version, data, limit or config gets a table, row or column of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mixer_bench.report.cells import Cell
from mixer_bench.report.models import About
from mixer_bench.results.record import Run
from mixer_bench.system.grouping import grouped


@dataclass(frozen=True)
class Row:
    """A model in one table."""

    model: str
    cells: Mapping[str, Cell]  # by column; a missing one was not run
    speeds: tuple[float | None, ...] = ()  # images a second, by the table's headings
    about: str = ""  # the last column
    group: str = ""  # rows of one group stand together: pre-trained on the same images


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


def row_of(label: str, cells: Mapping[str, Cell], speeds: Sequence[float | None], any_cell: Cell, about: About) -> Row:
    """The row of a model, of which ``any_cell`` is one of its cells, shown or not."""
    record = any_cell.record
    return Row(label, cells, tuple(speeds), about.pretraining(record), about.images(record))


def by_model(cells: Sequence[Cell], about: About) -> dict[str, list[Cell]]:
    """The cells of each row, by its label: one model with one checkpoint, preprocessing and precision.

    Rows of the same pre-training images stand together.
    """
    groups = grouped(cells, lambda cell: cell.run.network)
    runs = {key: group[0].run for key, group in groups.items()}
    labels = {
        key: _label(run, [twin for twin in runs.values() if twin.model == run.model]) for key, run in runs.items()
    }
    found = sorted(groups.items(), key=lambda item: (about.position(item[1][0].run.model), labels[item[0]]))
    # Like stands by like: rows of the same pre-training images together, in the order of their first.
    images = [about.images(group[0].record) for _, group in found]
    order = list(dict.fromkeys(images))
    found = [one for _, one in sorted(zip(images, found, strict=True), key=lambda pair: order.index(pair[0]))]
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
        notes.append(f"† images of {what} were among those of pre-training")
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
