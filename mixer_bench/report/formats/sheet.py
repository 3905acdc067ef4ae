"""Tables to lines of a spreadsheet, one a cell: CSV, and Parquet with the same columns."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any

from mixer_bench.report.cells import ROUNDING, Cell
from mixer_bench.report.tables.table import Table
from mixer_bench.results.setting import Variant
from mixer_bench.system.console import printable

FORMULA = ("=", "+", "-", "@")  # what a text begins with that a spreadsheet runs
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
# What models take, by tables' headings.
COSTS = {"img/s": "images_per_second", "latency ms": "latency_ms", "memory MB": "memory_mb", "params M": "parameters_m"}
MEASURED = ("mean", "ci95_half", "interval_over", "sampling_half", "runs", "converged")
COLUMNS = (*Variant._fields, "model", "setting", *MEASURED, "standing", "baseline", *COSTS.values(), "pretraining")
WHOLE = ("task_version", "limit", "metric_version", "runs")  # numbers; all other columns are texts, but for:
SHARES = ("mean", "ci95_half", "sampling_half")


def lines(tables: Sequence[Table]) -> Iterator[tuple[Any, ...]]:
    """Yield a line for each cell, with a value or None for each of ``COLUMNS``; texts are of one line."""
    for table in tables:
        if table.kind.repeats and len(tables) > 1:
            continue  # alone it was asked for by name
        on = table.measured_on
        where = [table.name, on.task_version, on.data, on.shown_subset, on.limit, on.metric, on.metric_version]
        for row in table.rows:
            known = dict(zip(table.cost_headings, row.costs, strict=True))
            costs = [None if (cost := known.get(heading)) is None else float(cost) for heading in COSTS]
            for column, cell in ((column, row.cells[column]) for column in table.columns if column in row.cells):
                standing = "" if cell.standing == "unknown" else cell.standing
                said = (standing, table.baseline, *costs, row.about)
                values = (*where, row.model, column, *_measured(cell), *said)
                yield tuple(printable(value) or None if isinstance(value, str) else value for value in values)


def _measured(cell: Cell) -> list[Any]:
    """Return the mean, its interval and what that is over; a printed number has no runs of ours behind it."""
    half, sampling = (value if value > ROUNDING else None for value in (cell.half, cell.sampling_half))
    if not cell.records:
        return [cell.mean, half, None, None, None, None]
    over = "seeds" if cell.over_seeds else "test sample"
    if cell.difference:
        over, sampling = ("seeds and test sample" if cell.over_seeds else over), None
    return [cell.mean, half, over, sampling, cell.seeds, cell.converged]


def as_csv(tables: Sequence[Table]) -> str:
    """Write for a spreadsheet: one line a cell, shares in [0, 1].

    A text that a spreadsheet would take for a formula, for its first character, has an apostrophe before it (OWASP,
    "CSV injection").
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in lines(tables):
        writer.writerow(map(_shown, COLUMNS, line))
    return out.getvalue()


def _shown(column: str, value: Any) -> Any:
    """Return what no spreadsheet runs; a number stays one, with its sign."""
    if isinstance(value, float):
        return f"{value:.6f}" if column in SHARES else f"{value:.4g}"
    harmful = isinstance(value, str) and value.startswith(FORMULA) and not NUMBER.fullmatch(value)
    return f"'{value}" if harmful else value


def write_parquet(tables: Sequence[Table], file: IO[bytes]) -> None:
    """Write the lines of CSV as they are: whole numbers, floats not rounded, no apostrophes, null where it is empty."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    every = list(lines(tables))
    columns = [pa.array([line[place] for line in every], _type(name)) for place, name in enumerate(COLUMNS)]
    pq.write_table(pa.table(columns, COLUMNS), file)


def _type(column: str) -> Any:
    import pyarrow as pa

    if column in WHOLE:
        return pa.int64()
    if column == "converged":
        return pa.bool_()
    return pa.float64() if column in SHARES or column in COSTS.values() else pa.string()
