"""Who is best, in words: what the marks in tables say, each claim with its cell. Pure; prints nothing.

It is told of one column of a table, which is not chosen by scores: that in which most models stand, and of several the
one whose runs had most labels to learn from.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mixer_bench.report.cells import FEW, Cell
from mixer_bench.report.tables.table import MEANS, TASK, Table
from mixer_bench.results.record import Record
from mixer_bench.stats import metrics

PAIR = 2
MOST = 3  # names that a sentence lists, and verdicts that a report begins with


@dataclass(frozen=True)
class Claim:
    """A model's number in a column of a table."""

    model: str  # the row's label
    column: str
    cell: Cell = field(repr=False)


class Part(NamedTuple):
    """A piece of a sentence, and the claim that it is where it is one."""

    text: str
    claim: Claim | None = None


@dataclass(frozen=True)
class Verdict:
    """Who is best on one task, or in a mean over tasks, in one setting."""

    on: str  # the task or group and the setting, in words
    best: Claim  # the highest number
    tied: tuple[Claim, ...] = ()  # not significantly worse, from the highest down
    worse: tuple[Claim, ...] = ()  # significantly worse, from the highest down
    unknown: tuple[Claim, ...] = ()  # not compared with the best
    columns: int = 1  # of the table, in which models were compared
    elsewhere: tuple[Claim, ...] = ()  # who is best in columns where the best of this one is significantly worse
    table: Table | None = field(default=None, repr=False)  # that it is of

    @property
    def others(self) -> int:
        """How many models it was compared with, or should have been."""
        return len(self.tied) + len(self.worse) + len(self.unknown)

    @property
    def sentences(self) -> tuple[tuple[Part, ...], ...]:
        """The verdict in words: who, with what number, before whom by how much, and on what evidence."""
        told = [self._first(), self._ties(), self._next(), self._not_compared(), self._elsewhere(), self._evidence()]
        return tuple(tuple(sentence) for sentence in told if sentence)

    @property
    def text(self) -> str:
        """All sentences in one line."""
        return " ".join("".join(part.text for part in sentence) for sentence in self.sentences)

    def _first(self) -> list[Part]:
        cell = self.best.cell
        half = f" ±{cell.half_percent}" if cell.half_percent else ""
        number = Part(f"{self.best.model} ({cell.percent} %{half})", self.best)
        if not self.others:
            return [Part(f"{self.on}: "), number, Part(" is alone: there is no other model to compare it with.")]
        if len(self.tied) == self.others:
            return [Part(f"{self.on}: no model stands out. The highest number is that of "), number, Part(".")]
        end = " has the highest number." if self.tied or self.unknown else " is best."
        return [Part(f"{self.on}: "), number, Part(end)]

    def _ties(self) -> list[Part]:
        return [*_listed(self.tied), Part(" cannot be told apart from it.")] if self.tied else []

    def _next(self) -> list[Part]:
        if not self.worse:
            return []
        first, *rest = self.worse
        gap = f" is significantly worse, by {100 * (self.best.cell.mean - first.cell.mean):.1f} points"
        more = f", and so {'are' if len(rest) > 1 else 'is'} {len(rest)} more." if rest else "."
        return [_named(first), Part(gap + more)]

    def _not_compared(self) -> list[Part]:
        end = " could not be compared with it."
        return [*_listed(self.unknown), Part(end)] if self.unknown else []

    def _elsewhere(self) -> list[Part]:
        if self.columns == 1 or not self.others:
            return []
        said = f"{self.best.model} is best or not told apart from the best in "
        if not self.elsewhere:
            return [Part(f"{said}{'both' if self.columns == PAIR else f'all {self.columns}'} columns.")]
        said += f"{self.columns - len(self.elsewhere)} of {self.columns} columns; best "
        return [Part(said), *_joined([_in_column(claim) for claim in self.elsewhere]), Part(".")]

    def _evidence(self) -> list[Part]:
        cell = self.best.cell
        images = sum(part.record.n_test for part in cell.by_task.values())
        over = f"{len(cell.by_task)} tasks with " if len(cell.by_task) > 1 else ""
        each = "one run of each" if self.others else "one run"
        seeds = f"{cell.seeds} seeds" if cell.over_seeds else f"{each}, which says nothing of other seeds"
        few = f", fewer than {FEW}" if images < FEW else ""
        paired = "; paired by seed and test image (Holm, 5 %)" if self.tied or self.worse else ""
        return [Part(f"Evidence: {over}{images:,} test image{'s' * (images != 1)}{few}, {seeds}{paired}.")]


def of_cells(on: str, column: str, cells: Mapping[str, Cell]) -> Verdict:
    """Return the verdict on models by their cells, which have their standings, best first where that was judged.

    Args:
        on: the task or group and the setting, in words.
        column: of the table that the cells are of.
        cells: by the models' labels; at least one.
    """
    ordered = sorted(cells, key=lambda model: (cells[model].standing != "best", -cells[model].mean))
    best, *others = (Claim(model, column, cells[model]) for model in ordered)
    judged = best.cell.standing == "best"
    groups: dict[str, list[Claim]] = {"tied": [], "": [], "unknown": []}
    for claim in others:
        groups[claim.cell.standing if judged else "unknown"].append(claim)
    return Verdict(on, best, tuple(groups["tied"]), tuple(groups[""]), tuple(groups["unknown"]))


def verdicts(tables: Sequence[Table]) -> list[Verdict]:
    """Return a verdict for each group of tasks that has means, and for each task of no such group.

    Tables of differences, and those that show others' numbers once more, have none.
    """
    means = [table for table in tables if table.kind is MEANS and not table.baseline and _filled(table)]
    covered = {task for t in means for row in t.rows for cell in row.cells.values() for task in cell.by_task}
    singles = [t for t in tables if t.kind is TASK and not t.baseline and t.measured_on.metric != "real"]
    fitting = [*means, *(table for table in singles if table.measured_on.task not in covered)]
    chosen: dict[str, tuple[Table, str]] = {}
    for _, group in itertools.groupby(fitting, key=lambda table: table.measured_on.task):
        pairs = [(table, column) for table in group for column in _filled(table)]
        limited = min(table.measured_on.limit or 0 for table, _ in pairs)
        whole = [pair for pair in pairs if (pair[0].measured_on.limit or 0) == limited]
        # Of equals the last: few-shot settings stand first.
        best = max(reversed(whole), key=lambda pair: _weight(*pair))
        chosen.setdefault(best[0].measured_on.task, best)
    return [_of_table(*pair) for pair in chosen.values()]


def _filled(table: Table) -> list[str]:
    return [column for column in table.columns if any(column in row.cells for row in table.rows)]


def _cells(table: Table, column: str) -> dict[str, Cell]:
    return {row.model: row.cells[column] for row in table.rows if column in row.cells}


def _weight(table: Table, column: str) -> tuple[int, int, bool]:
    """Return how many models stand in a column, how many labels their runs had, and whether networks were trained."""
    cells = _cells(table, column)
    cell = next(iter(cells.values()))
    labels = sum(_labels(part.record) for part in cell.by_task.values())
    return len(cells), labels, cell.record.cost.trained_images > 0


def _labels(record: Record) -> int:
    return record.n_train + record.n_val if record.drawn is None else record.drawn.images


def _of_table(table: Table, column: str) -> Verdict:
    metric = metrics.words(table.measured_on.metric) if table.kind is TASK else "mean accuracy"
    on = f"{table.title.partition(':')[0]}, {column} ({metric})"
    told = of_cells(on, column, _cells(table, column))
    judged = [c for c in _filled(table) if any(cell.standing == "best" for cell in _cells(table, c).values())]
    return Verdict(
        **{**vars(told), "columns": max(1, len(judged)), "elsewhere": _lost(table, judged, told.best), "table": table}
    )


def _lost(table: Table, columns: Sequence[str], best: Claim) -> tuple[Claim, ...]:
    """Return who is best in the columns in which that model is significantly worse, or not at all."""
    lost = []
    for column in columns:
        cells = _cells(table, column)
        if best.model not in cells or cells[best.model].standing not in ("best", "tied", "unknown"):
            lost.append(of_cells("", column, cells).best)
    return tuple(lost)


def _named(claim: Claim) -> Part:
    return Part(f"{claim.model} ({claim.cell.percent})", claim)


def _in_column(claim: Claim) -> Part:
    return Part(f"in {claim.column} is {claim.model} ({claim.cell.percent})", claim)


def _listed(claims: Sequence[Claim]) -> list[Part]:
    return _joined([_named(claim) for claim in claims])


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Join parts as a sentence does, of many the first and the number of the rest."""
    shown = [*parts] if len(parts) <= MOST + 1 else [*parts[:MOST], Part(f"{len(parts) - MOST} more")]
    joined = shown[:1]
    for number, part in enumerate(shown[1:], start=2):
        joined += [Part(" and " if number == len(shown) else ", "), part]
    return joined
