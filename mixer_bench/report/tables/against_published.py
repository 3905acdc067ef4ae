"""Measured numbers beside published ones: columns of their own, never mixed, and the difference in points. Pure.

A difference is of one setting. Where the measurement departs from the source's it is withheld; the row says in what.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mixer_bench.report import published
from mixer_bench.report.cells import Cell, real_cells
from mixer_bench.report.columns import Column, columns
from mixer_bench.report.departures import departures
from mixer_bench.report.index import MEAN, Index, single
from mixer_bench.report.published import Published
from mixer_bench.report.tables.table import PUBLISHED, Row, Table, by_model, notes_of

COMPARABLE = {"finetune": "finetune", "linear": "linear", "head": "classifier"}  # our protocols, by the papers' names


def build(index: Index) -> list[Table]:
    """Return a table a setting whose models have published numbers; of whole runs of present tasks only."""
    fitting = [cell for cell in index.present if cell.run.protocol in COMPARABLE and cell.run.limit is None]
    return [table for column in columns(fitting) if (table := _table(column, index))]


def _table(column: Column, index: Index) -> Table | None:
    pairs = [
        (f"{label} {quantity}", cell, printed)
        for label, group in by_model(column.cells, index.about).items()
        for quantity, cell in _measured(group, index)
        for printed in published.of(group[0].run.model, quantity)
        if printed.protocol == COMPARABLE[column.setting.protocol]
    ]
    if not pairs:
        return None
    rows = [_row(*pair) for pair in pairs]
    aids = dict.fromkeys(aid for _, _, printed in pairs if (aid := published.reading_aid(printed.quantity)))
    return Table(
        PUBLISHED,
        column.cells[0].run.variant._replace(task=column.name, data="", metric="several"),
        f"Measured against published, {column.name}: accuracy in % ± 95 % interval; difference in points",
        ("measured", "published", "difference"),
        tuple(rows),
        (*notes_of(rows), *aids),
    )


def _measured(cells: Sequence[Cell], index: Index) -> Iterator[tuple[str, Cell]]:
    """Yield what one model was measured by: each task, ImageNet's ReaL, and means that are whole."""
    # Several variants of the images have a table each, and which is the paper's is not known.
    by_task = {cell.run.task: cell for cell in single(cells)[0]}
    for task, cell in by_task.items():
        yield task, cell
        for real in real_cells([cell]):
            yield f"{task}_real", real
    for average in index.averages:
        for part, mean in average.means(by_task).items():
            yield average.tag if part == MEAN else f"{average.tag}/{part.lower()}", mean


def _row(label: str, cell: Cell, printed: Published) -> Row:
    cells = {"measured": cell, "published": Cell(printed.value / 100, math.nan, 2, converged=True)}
    if departed := departures(cell, printed):
        withheld = f"no difference: {', '.join(departed)}"
    else:
        withheld, gap = "", (100 * cell.mean - printed.value) / 100
        cells["difference"] = replace(cell, mean=gap, difference=True)
    where = [
        withheld,
        printed.source,
        printed.verified,
        "" if printed.spread is None else f"printed with ±{printed.spread:g}",
        printed.note,
    ]
    return Row(label, cells, about="; ".join(filter(None, where)))
