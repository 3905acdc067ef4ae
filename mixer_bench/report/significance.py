"""Which differences in a table are more than chance: the best of each column, and distances from a baseline.

Cells are compared seed by seed and test example by test example (``paired``), means over tasks by the sum of their
tasks' variances: that holds for other seeds and other test images, not for other tasks. P values are corrected within
a column (Holm).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mixer_bench.report.cells import Cell, Standing
from mixer_bench.report.tables.table import MATRIX, Row, Table, notes_of
from mixer_bench.results.answers import Reader, pair
from mixer_bench.results.record import Record
from mixer_bench.stats import metrics, paired
from mixer_bench.stats.paired import Comparison
from mixer_bench.system.grouping import grouped

LEVEL = 0.05
SURE = 0.01  # corrected p, at most, below which the predictions need not be read to know who is better
Place = tuple[str, str]  # of a cell: its row and column


@dataclass(frozen=True)
class Difference:
    """The difference of two cells' means, A - B, in [-1, 1]."""

    value: float
    p: float  # two-sided, of no difference
    seeds: int
    half: Callable[[], float]  # works out half of the 95 % interval


class Judge:
    """Compares cells; reads predictions when they are needed, each once, that give their record's value."""

    def __init__(self, answers: Callable[[Record], tuple[np.ndarray, np.ndarray]]) -> None:
        """``answers`` reads label and prediction [N] of a record, or raises ResultsError."""
        self._reader = Reader(answers)
        self._compared: dict[tuple[str, ...], Comparison | None] = {}
        self.problems: list[str] = []  # predictions that could not be read or used

    def difference(self, a: Cell, b: Cell) -> Difference | None:
        """Return A - B; None where there are no predictions, no shared seeds or not the same tasks in both."""
        if not a.by_task or a.by_task.keys() != b.by_task.keys():
            return None
        compared = [self.compare(cell.records, b.by_task[task].records) for task, cell in a.by_task.items()]
        known = [comparison for comparison in compared if comparison is not None]
        return combined(known) if len(known) == len(compared) else None

    def compare(self, a: Sequence[Record], b: Sequence[Record]) -> Comparison | None:
        """Compare two models on one task by the seeds they share; None where predictions or such seeds are missing."""
        key = tuple(record.run.key for record in (*a, *b))
        if key not in self._compared:
            runs = pair(a, b, self._reader)
            self.problems += [line for line in runs.problems if line not in self.problems]
            self._compared[key] = runs.compared() if runs.seeds and not runs.problems else None
        return self._compared[key]


def combined(comparisons: Sequence[Comparison]) -> Difference:
    """Return the mean over tasks: their test images and seeds are independent, so variances add up."""
    from scipy.special import stdtr, stdtrit

    if len(comparisons) == 1:
        (single,) = comparisons
        return Difference(single.difference, single.p, single.seeds, lambda: (single.ci95[1] - single.ci95[0]) / 2)
    value = math.fsum(task.difference for task in comparisons) / len(comparisons)
    variances = [(task.seed_variance or 0.0) + task.sampling_variance for task in comparisons]
    seeds, total = min(task.seeds for task in comparisons), math.fsum(variances)
    if not total:
        return Difference(value, float(value == 0), seeds, lambda: 0.0)
    # Satterthwaite (1946): with few seeds each task's variance is a rough guess, and the sum of five a better one.
    squares = [variance**2 / task.degrees for variance, task in zip(variances, comparisons, strict=True)]
    degrees, error = total**2 / math.fsum(squares), math.sqrt(total) / len(comparisons)
    p = 2 * float(stdtr(degrees, -abs(value) / error))
    return Difference(value, p, seeds, lambda: float(stdtrit(degrees, 0.975)) * error)


def marked(table: Table, judge: Judge) -> Table:
    """Return the table with the best model of each task and setting marked, and what is not significantly worse."""
    across = table.kind == MATRIX  # models stand beside each other, not below
    cells = {(row.model, column): cell for row in table.rows for column, cell in row.cells.items()}
    standings: dict[Place, Standing] = {}
    for line in grouped(cells, lambda place: place[0] if across else place[1]).values():
        standings.update(_standings({place: cells[place] for place in line}, judge))
    if not standings:
        return table
    rows = tuple(
        replace(
            row, cells={c: replace(cell, standing=standings.get((row.model, c), "")) for c, cell in row.cells.items()}
        )
        for row in table.rows
    )
    unknown = sorted(" ".join(place) for place, standing in standings.items() if standing == "unknown")
    words = f"? not compared, without predictions or a seed that the best has: {', '.join(unknown)}"
    return replace(table, rows=rows, notes=(*([words] if unknown else []), *table.notes))


def _standings(cells: Mapping[Place, Cell], judge: Judge) -> dict[Place, Standing]:
    """Judge the models' cells for one task and setting; nothing where there is nothing to compare with or by."""
    if len(cells) < 2 or not all(metrics.pairs(cell.metric) for cell in cells.values()):  # noqa: PLR2004
        return {}
    best = max(cells, key=lambda place: cells[place].mean)
    standings: dict[Place, Standing] = {best: "best"}
    ps: dict[Place, float] = {}
    for place in (place for place in cells if place != best):
        p = bound(cells[best], cells[place])
        if p * len(cells) > SURE:
            difference = judge.difference(cells[best], cells[place])
            if difference is None:
                standings[place] = "unknown"
                continue
            # On the seeds that both have, the other may be the better one: not worse, then.
            p = difference.p if difference.value > 0 else 1.0
        ps[place] = p
    if not ps:
        return {}
    adjusted = dict(zip(ps, paired.holm(list(ps.values())), strict=True))
    return {**standings, **{place: "tied" for place, p in adjusted.items() if p > LEVEL}}


def bound(best: Cell, other: Cell) -> float:
    """Return a p value that the paired comparison of two cells cannot exceed by much, from the records alone.

    As if all errors of both added up in full, which pairing only makes smaller; spread over seeds and over test
    examples each get half of the p. Predictions of cells so far apart need not be read.
    """
    from scipy.special import ndtr, stdtr

    a, b = best.by_task, other.by_task
    if not a or a.keys() != b.keys():
        return 1.0
    pairs = [(a[task].errors, b[task].errors) for task in a]
    seed = math.hypot(*(first[0] + second[0] for first, second in pairs))
    sampling = math.hypot(*(first[1] + second[1] for first, second in pairs))
    seeds = min(cell.seeds for cell in (*a.values(), *b.values()))
    ratio = (best.mean - other.mean) * len(a) / (seed + sampling) if seed + sampling else math.inf
    by_seeds = 2 * float(stdtr(seeds - 1, -ratio)) if seeds > 1 and seed else 0.0
    return min(1.0, by_seeds + 2 * float(ndtr(-ratio)))


def differences(table: Table, judge: Judge, baseline: str | None) -> list[Table]:
    """Return a table for each row of the model ``baseline``: every cell less the baseline's."""
    rows = table.rows if table.kind != MATRIX else ()
    of_baseline = [row for row in rows if any(cell.run.model == baseline for cell in row.cells.values())]
    return [less for row in of_baseline if (less := _less(table, judge, row))]


def _less(table: Table, judge: Judge, baseline: Row) -> Table | None:
    others = [row for row in table.rows if row is not baseline]
    cells: dict[str, dict[str, Cell]] = {row.model: {} for row in others}
    for column, base in baseline.cells.items():
        below = {row.model: row.cells[column] for row in others if column in row.cells}
        pairs = {model: cell for model, cell in below.items() if metrics.pairs(cell.metric)}
        known = {model: less for model, cell in pairs.items() if (less := judge.difference(cell, base))}
        adjusted = paired.holm([difference.p for difference in known.values()])
        for (model, difference), p in zip(known.items(), adjusted, strict=True):
            cells[model][column] = _as_cell(difference, p, below[model])
    if not any(cells.values()):
        return None
    rows = tuple(replace(row, cells=cells[row.model]) for row in others)
    title = f"difference from {baseline.model} in points ± 95 % interval over seeds and test images: "
    title += table.title.partition(":")[0]
    notes = notes_of(rows)
    lost = sorted(f"{row.model} {column}" for row in others for column in row.cells if column not in cells[row.model])
    if lost:
        notes.append(f"not compared, without predictions or shared seeds, or not in the baseline: {', '.join(lost)}")
    return replace(table, title=title, rows=rows, notes=tuple(notes), withheld=(), baseline=baseline.model)


def _as_cell(difference: Difference, p: float, of: Cell) -> Cell:
    standing: Standing = "" if p > LEVEL else "better" if difference.value > 0 else "worse"
    mean, half, seeds = difference.value, difference.half(), difference.seeds
    return replace(of, mean=mean, half=half, seeds=seeds, standing=standing, difference=True)
