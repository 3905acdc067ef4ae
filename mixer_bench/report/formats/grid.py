"""What every format writes of a table: headings, and the entries of each row in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mixer_bench.report.cells import Cell
from mixer_bench.report.tables.table import Row, Table

GRADED = 100  # from here up, costs are shown whole
Writer = Callable[[Sequence[Table]], str]


@dataclass(frozen=True)
class Entry:
    """A text of a row."""

    text: str
    cell: Cell | None = None  # the number it is, where it is one of the table's columns
    value: float | None = None  # what it is sorted by, where it is a number


def headings(table: Table) -> list[str]:
    """Return the headings, from the rows' names to what is said of the models."""
    return [table.kind.first, *table.columns, *table.cost_headings, *([table.kind.last] if table.kind.last else [])]


def entries(table: Table, row: Row) -> list[Entry]:
    """Return the row under these headings; a missing number is empty, a missing cost a dash."""
    cells = [row.cells.get(column) for column in table.columns]
    return [
        Entry(row.model),
        *(Entry(cell.text, cell, cell.mean) if cell else Entry("") for cell in cells),
        *(Entry("-" if cost is None else _amount(cost), value=cost) for cost in row.costs),
        *([Entry(row.about)] if table.kind.last else []),
    ]


def _amount(cost: float) -> str:
    """Return three digits, of large numbers all before the point."""
    return f"{cost:,.0f}" if cost >= GRADED else f"{cost:.3g}"


def ends_group(table: Table, number: int) -> bool:
    """Return whether rows of another group follow the row of that number."""
    return number + 1 < len(table.rows) and table.rows[number + 1].group != table.rows[number].group
