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
from mixer_bench.results.record import Record, Run
from mixer_bench.stats import metrics, paired
from mixer_bench.stats.paired import Comparison
from mixer_bench.system.grouping import grouped

LEVEL = 0.05
SURE = 0.01  # corrected p, at most, below which the predictions need not be read to know who is better
Place = tuple[int, str]  # of a cell: the row's number, the column


@dataclass(frozen=True)
class Difference:
    """Of two cells' means, A - B, in [-1, 1]."""

    value: float
    half: float  # of the 95 % interval
    p: float  # two-sided, of no difference
    seeds: int


class Judge:
    """Compares cells; reads predictions when they are needed, each once, that give their record's value."""

    def __init__(self, answers: Callable[[Run], tuple[np.ndarray, np.ndarray]]) -> None:
        """``answers`` reads label and prediction [N] of a run, or raises ResultsError."""
        self._reader = Reader(answers)
        self._compared: dict[tuple[str, ...], Comparison | None] = {}
        self.problems: list[str] = []  # predictions that could not be read or used

    def difference(self, a: Cell, b: Cell) -> Difference | None:
        """A - B; None where there are no predictions, no shared seeds or not the same tasks in both."""
        tasks_a, tasks_b = a.by_task, b.by_task
        if not tasks_a or tasks_a.keys() != tasks_b.keys():
            return None
        found = [self.compare(tasks_a[task].records, tasks_b[task].records) for task in tasks_a]
        compared = [one for one in found if one is not None]
        return combined(compared) if len(compared) == len(found) else None

    def compare(self, a: Sequence[Record], b: Sequence[Record]) -> Comparison | None:
        """Two models on one task by the seeds they share; None where predictions or such seeds are missing."""
        key = tuple(record.run.key for record in (*a, *b))
        if key not in self._compared:
            self._compared[key] = self._compare(a, b)
        return self._compared[key]

    def _compare(self, a: Sequence[Record], b: Sequence[Record]) -> Comparison | None:
        paired_runs = pair(a, b, self._reader)
        self.problems += [line for line in paired_runs.problems if line not in self.problems]
        return paired_runs.compared() if paired_runs.seeds and not paired_runs.problems else None


def combined(found: Sequence[Comparison]) -> Difference:
    """The mean over tasks: their test images and seeds are independent, so variances add up."""
    if len(found) == 1:
        one = found[0]
        return Difference(one.difference, (one.ci95[1] - one.ci95[0]) / 2, one.p, one.seeds)
    from scipy.special import stdtr, stdtrit

    value = math.fsum(one.difference for one in found) / len(found)
    parts = [((one.seed_variance or 0.0) + one.sampling_variance, one.degrees) for one in found]
    total = math.fsum(part for part, _ in parts)
    seeds = min(one.seeds for one in found)
    if not total:
        return Difference(value, 0.0, float(value == 0), seeds)
    # Satterthwaite (1946): with few seeds each task's variance is a rough guess, and the sum of five a better one.
    degrees = total**2 / math.fsum(part**2 / degrees for part, degrees in parts)
    error = math.sqrt(total) / len(found)
    return Difference(
        value, float(stdtrit(degrees, 0.975)) * error, 2 * float(stdtr(degrees, -abs(value) / error)), seeds
    )


def marked(tables: Sequence[Table], judge: Judge) -> list[Table]:
    """The tables with the best model of each task and setting marked, and those that are not significantly worse."""
    return [_marked(table, judge) for table in tables]


def _marked(table: Table, judge: Judge) -> Table:
    places = {(number, column) for number, row in enumerate(table.rows) for column in row.cells}
    across = table.kind == MATRIX  # models stand beside each other, not below
    standings: dict[Place, Standing] = {}
    for line in grouped(sorted(places), lambda place: place[0] if across else place[1]).values():
        cells = {place: table.rows[place[0]].cells[place[1]] for place in line}
        standings.update(_standings(cells, judge))
    if not any(standings.values()):
        return table
    rows = tuple(
        replace(row, cells={c: replace(cell, standing=standings.get((n, c), "")) for c, cell in row.cells.items()})
        for n, row in enumerate(table.rows)
    )
    line_word = "row" if across else "column"
    notes = [f"● best of its {line_word}, ○ not significantly worse (paired by seed and test image, Holm, 5 %)"]
    if unknown := sorted(
        {f"{table.rows[n].model} {c}" for (n, c), standing in standings.items() if standing == "unknown"}
    ):
        notes.append(f"? not compared, without predictions or a seed that the best has: {', '.join(unknown)}")
    return replace(table, rows=rows, notes=(*notes, *table.notes))


def _standings(cells: Mapping[Place, Cell], judge: Judge) -> dict[Place, Standing]:
    """Of the models' cells for one task and setting; nothing where there is nothing to compare with or by."""
    if len(cells) < 2 or not all(metrics.of_record(cell.metric).pairs for cell in cells.values()):  # noqa: PLR2004
        return {}
    best = max(cells, key=lambda place: cells[place].mean)
    ps: dict[Place, float] = {}
    found: dict[Place, Standing] = {best: "best"}
    for place, cell in cells.items():
        if place == best:
            continue
        p = bound(cells[best], cell)
        if p * len(cells) > SURE:
            difference = judge.difference(cells[best], cell)
            if difference is None:
                found[place] = "unknown"
                continue
            # On the seeds that both have, the other may be the better one: not worse, then.
            p = difference.p if difference.value > 0 else 1.0
        ps[place] = p
    if not ps:
        return {}
    adjusted = dict(zip(ps, paired.holm(list(ps.values())), strict=True))
    return {**found, **{place: "tied" for place, p in adjusted.items() if p > LEVEL}}


def bound(best: Cell, other: Cell) -> float:
    """A p value that the paired comparison of two cells cannot exceed by much, from the records alone.

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


def differences(tables: Sequence[Table], judge: Judge, baseline: str) -> list[Table]:
    """One table more for each in which ``baseline`` has a row: every cell less the baseline's."""
    found = [
        _less(table, judge, row)
        for table in tables
        if table.kind != MATRIX
        for row in table.rows
        if any(record.run.model == baseline for cell in row.cells.values() for record in cell.records)
    ]
    return [table for table in found if table is not None]


def _less(table: Table, judge: Judge, baseline: Row) -> Table | None:
    others = [row for row in table.rows if row is not baseline]
    cells: list[dict[str, Cell]] = [{} for _ in others]
    for column in baseline.cells:
        found = {
            number: difference
            for number, row in enumerate(others)
            if column in row.cells
            and metrics.of_record(row.cells[column].metric).pairs
            and (difference := judge.difference(row.cells[column], baseline.cells[column]))
        }
        adjusted = paired.holm([one.p for one in found.values()])
        for (number, one), p in zip(found.items(), adjusted, strict=True):
            cells[number][column] = _as_cell(one, p, others[number].cells[column])
    if not any(cells):
        return None
    rows = tuple(replace(row, cells=own) for row, own in zip(others, cells, strict=True))
    title = f"difference from {baseline.model} in points ± 95 % interval over seeds and test images: "
    title += table.title.partition(":")[0]
    notes = ["▲ ▼ significantly better or worse (paired by seed and test image, Holm within a column, 5 %)"]
    notes += notes_of(rows)
    lost = sorted({f"{o.model} {c}" for o, own in zip(others, cells, strict=True) for c in o.cells if c not in own})
    if lost:
        notes.append(f"not compared, without predictions or shared seeds, or not in the baseline: {', '.join(lost)}")
    return replace(table, title=title, rows=rows, notes=tuple(notes), baseline=baseline.model)


def _as_cell(difference: Difference, p: float, of: Cell) -> Cell:
    standing: Standing = "" if p > LEVEL else "better" if difference.value > 0 else "worse"
    return replace(
        of, mean=difference.value, half=difference.half, seeds=difference.seeds, standing=standing, difference=True
    )
