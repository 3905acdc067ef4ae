"""Cells to tables: one a task, a row a model, a column a protocol and its settings. Pure; prints nothing.

What differs in task version, data, limit or config gets a table, row or column of its own.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mixer_bench.report.cells import LEGEND, Cell
from mixer_bench.report.models import About
from mixer_bench.results import naming
from mixer_bench.results.record import Drawn
from mixer_bench.results.setting import Variant
from mixer_bench.system.grouping import grouped


@dataclass(frozen=True)
class Kind:
    """What a table compares."""

    name: str  # of a table, given what it is on
    first: str = "model"  # heading of the rows' names
    last: str = "pre-training"  # heading of ``Row.about``; empty: there is no such column
    repeats: bool = False  # shows other tables' numbers once more, another way round


TASK = Kind("{}")
MEANS = Kind("mean of {}")
SHOTS = Kind("mean of {}", repeats=True)
MATRIX = Kind("tasks of {}", first="task", last="", repeats=True)
MAIN = Kind("main comparison", repeats=True)
PUBLISHED = Kind("published numbers, {}", first="model and task", last="published in")


@dataclass(frozen=True)
class Row:
    """A model in one table."""

    model: str
    cells: Mapping[str, Cell]  # by column; a missing one was not run
    costs: tuple[float | None, ...] = ()  # by the table's headings of them
    about: str = ""  # the last column
    group: str = ""  # rows of one group stand together: pre-trained on the same images


@dataclass(frozen=True)
class Table:
    """A comparison: of models on a task, mostly."""

    kind: Kind
    measured_on: Variant  # its task is a group's tag or a setting where the table is of many tasks
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]  # what a reader must know besides the legend
    cost_headings: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()  # notes on means that are not shown
    baseline: str = ""  # the model that cells are differences from

    @property
    def name(self) -> str:
        """What it is on, in a word or two."""
        return self.kind.name.format(self.measured_on.task)

    @functools.cached_property
    def legend(self) -> dict[str, str]:
        """What the marks in its cells mean, by the mark; where models are compared, of both best and tied."""
        cells = [cell for row in self.rows for cell in row.cells.values()]
        shown = set("".join(cell.marks for cell in cells))
        shown |= {"●", "○"} if shown & {"●", "○"} else set()
        shown |= {"±–"} if any(cell.half_percent == "–" for cell in cells) else set()
        return {mark: words for mark, words in LEGEND.items() if mark in shown}

    @property
    def remarks(self) -> list[str]:
        """The legend, a line a mark, and the notes."""
        return [*(f"{mark} {words}" for mark, words in self.legend.items()), *self.notes]


def model_table(
    kind: Kind,
    variant: Variant,
    title: str,
    columns: Sequence[str],
    models: Mapping[str, Sequence[Cell]],
    shown: Mapping[str, Mapping[str, Cell]],
    about: About,
    lost: Sequence[str] = (),
) -> Table:
    """Return a table with a row a model: by its label, ``models`` has all its cells and ``shown`` those in columns.

    ``lost`` are notes on means that are not shown.
    """
    records = [cells[0].record for cells in models.values()]
    costs = about.costs(list(models.values()))
    rows = [
        Row(label, shown[label], cost, about.pretraining(record), about.origin(record).pretrain)
        for label, record, cost in zip(models, records, costs.rows, strict=True)
    ]
    elsewhere = unpublished(itertools.chain.from_iterable(models.values())) if kind.repeats else []
    # What is missing first: a terminal may show the first notes alone.
    notes = (*lost, *unfinished(rows), *elsewhere, *notes_of(rows), *costs.notes)
    return Table(kind, variant, title, tuple(columns), tuple(rows), notes, costs.headings, tuple(lost))


def by_model(cells: Sequence[Cell], about: About) -> dict[str, list[Cell]]:
    """Return the cells of each row, by its label: one model with one checkpoint, preprocessing and precision.

    Rows of the same pre-training images stand together, those without pre-training last.
    """
    groups = grouped(cells, lambda cell: cell.run.network)
    runs = {key: group[0].run for key, group in groups.items()}
    labels = naming.models(runs)
    order = sorted(groups, key=lambda key: (about.position(runs[key].model), labels[key]))
    # Like stands by like: rows of the same pre-training images together, in the order of their first.
    alike = grouped(order, lambda key: about.origin(groups[key][0].record).pretrain)
    controls = alike.pop("none", [])
    return {labels[key]: groups[key] for keys in (*alike.values(), controls) for key in keys}


def tasks_by_model(cells: Sequence[Cell], about: About) -> dict[str, dict[str, Cell]]:
    """Return the cells of each row by task, each task in one variant and setting."""
    return {label: {cell.run.task: cell for cell in group} for label, group in by_model(cells, about).items()}


def notes_of(rows: Sequence[Row]) -> list[str]:
    """Say how far another test sample could move the cells, and where classes have too few images."""
    cells = [cell for row in rows for cell in row.cells.values()]
    sampling = [h for c in cells if c.over_seeds and not c.difference and not math.isnan(h := c.sampling_half)]
    half = f"±{100 * max(sampling, default=0):.1f}"
    notes = [f"± is over seeds alone; for another test sample of this size it is up to {half}"] if sampling else []
    return [*notes, *_drawn_notes(rows)]


def _drawn_notes(rows: Sequence[Row]) -> list[str]:
    """Say of each column where classes have fewer images than were to be drawn, and where that was all there is."""
    drawn: dict[str, dict[str, tuple[Drawn, int]]] = defaultdict(dict)
    for column, cell in ((column, cell) for row in rows for column, cell in row.cells.items()):
        drawn[column].update({r.run.task: (r.drawn, r.num_classes) for r in cell.records if r.drawn})
    notes = []
    for column, by_task in drawn.items():
        short = {task: of_task for task, of_task in by_task.items() if of_task[0].short}
        whole = [task for task, (each, _) in sorted(by_task.items()) if each.whole]
        words = [f"classes with fewer images on {len(short)} of {len(by_task)} tasks"] if short else []
        if len(by_task) == 1:
            words = [
                f"{d.short} of {count} classes have fewer images, down to {d.fewest}" for d, count in short.values()
            ]
        words += [f"on {', '.join(whole)} every seed drew all there is, so that its runs count as one"] if whole else []
        notes += [f"{column}: {'; '.join(words)}"] if words else []
    return notes


def unpublished(cells: Iterable[Cell]) -> list[str]:
    """Name the tasks that were not measured on the published examples."""
    tasks = sorted({f"{v.task} {v.mark}" for v in {cell.run.variant for cell in cells} if v.mark})
    return [f"not on the published examples: {', '.join(tasks)}"] if tasks else []


def withheld(
    models: Mapping[str, Mapping[str, Cell]], members: frozenset[str], mean: str = "mean", brief: bool = False
) -> list[str]:
    """Say which models have no mean over a group of tasks, and which tasks they lack.

    Args:
        models: cells by task, by the row's label.
        members: the tasks of the group.
        mean: what is withheld.
        brief: nothing of a model that has none of the tasks; where most are missing, their number.
    """
    lacking: dict[str, list[str]] = defaultdict(list)
    for label, cells in models.items():
        missing = sorted(members - cells.keys())
        begun = len(members) - len(missing)
        if missing and (begun or not brief):
            short = brief and len(missing) > begun
            lacking[f"{len(missing)} tasks" if short else ", ".join(missing)].append(label)
    return [f"{mean} withheld, {', '.join(labels)}: no {tasks}" for tasks, labels in lacking.items()]


def unfinished(rows: Sequence[Row]) -> list[str]:
    """Name each cell that lacks seeds which others of its column have, on one of its tasks."""
    notes = []
    for column in dict.fromkeys(column for row in rows for column in row.cells):
        cells = [(row.model, row.cells[column]) for row in rows if column in row.cells]
        seeds = {(model, task): part.by_seed.keys() for model, cell in cells for task, part in cell.by_task.items()}
        every = set().union(*seeds.values())
        for (model, task), present in seeds.items():
            if lacking := sorted(every - present):
                words = ("seed " if len(lacking) == 1 else "seeds ") + ", ".join(map(str, lacking))
                notes.append(f"unfinished: {model} {column} on {task} lacks {words}")
    return notes
