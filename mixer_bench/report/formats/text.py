"""Tables to text: Markdown, CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from mixer_bench.report.cells import ROUNDING, Cell
from mixer_bench.report.formats.grid import Entry, entries, headings
from mixer_bench.report.tables.table import Table
from mixer_bench.results.setting import Variant
from mixer_bench.system.console import escaped, printable

FORMULA = ("=", "+", "-", "@")  # what a text begins with that a spreadsheet runs
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
# What models take, by tables' headings.
COSTS = {"img/s": "images_per_second", "latency ms": "latency_ms", "memory MB": "memory_mb", "params M": "parameters_m"}
MEASURED = ("mean", "ci95_half", "interval_over", "sampling_half", "runs", "converged")


def markdown(tables: Sequence[Table]) -> str:
    """Write for a README or an issue: GitHub's tables; the best of a column is bold."""
    parts = []
    for table in tables:
        names = list(map(escaped, headings(table)))
        rows = [list(map(_bold_if_best, entries(table, row))) for row in table.rows]
        align = ["left", *["right"] * (len(names) - 1)]
        body = tabulate(rows, names, tablefmt="pipe", colalign=align, disable_numparse=True)
        notes = "".join(f"- {escaped(note)}\n" for note in table.remarks)
        parts.append(f"**{escaped(table.title)}**\n\n{body}\n" + (f"\n{notes}" if notes else ""))
    return "\n".join(parts)


def _bold_if_best(entry: Entry) -> str:
    text = escaped(entry.text)
    return f"**{text}**" if entry.cell and entry.cell.standing == "best" else text


def as_csv(tables: Sequence[Table]) -> str:
    """Write for a spreadsheet: one line a cell, shares in [0, 1].

    Texts are of one line; one that a spreadsheet would take for a formula, for its first character, has an apostrophe
    before it (OWASP, "CSV injection").
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    last = ("standing", "baseline", *COSTS.values(), "pretraining")
    writer.writerow([*Variant._fields, "model", "setting", *MEASURED, *last])
    for table in tables:
        if table.kind.repeats and len(tables) > 1:
            continue  # alone it was asked for by name
        on = table.measured_on
        where = [table.name, on.task_version, on.data, on.shown_subset, on.limit, on.metric, on.metric_version]
        for row in table.rows:
            known = dict(zip(table.cost_headings, row.costs, strict=True))
            costs = ["" if (cost := known.get(heading)) is None else f"{cost:.4g}" for heading in COSTS]
            for column, cell in ((column, row.cells[column]) for column in table.columns if column in row.cells):
                standing = "" if cell.standing == "unknown" else cell.standing
                said = (standing, table.baseline, *costs, row.about)
                writer.writerow(map(_inert, [*where, row.model, column, *_measured(cell), *said]))
    return out.getvalue()


def _inert(value: Any) -> Any:
    """Return what no spreadsheet runs or breaks into lines; a number stays one, with its sign."""
    if not isinstance(value, str):
        return value
    line = printable(value)
    return f"'{line}" if line.startswith(FORMULA) and not NUMBER.fullmatch(line) else line


def _measured(cell: Cell) -> list[Any]:
    """Return the mean, its interval and what that is over; a printed number has no runs of ours behind it."""
    half, sampling = (f"{value:.6f}" if value > ROUNDING else "" for value in (cell.half, cell.sampling_half))
    if not cell.records:
        return [f"{cell.mean:.6f}", half, "", "", "", ""]
    over = "seeds" if cell.over_seeds else "test sample"
    if cell.difference:
        over, sampling = ("seeds and test sample" if cell.over_seeds else over), ""
    return [f"{cell.mean:.6f}", half, over, sampling, cell.seeds, cell.converged]
