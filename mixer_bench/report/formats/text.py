"""Tables to text: for a terminal, Markdown, CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text
from tabulate import tabulate

from mixer_bench.report.cells import Cell
from mixer_bench.report.formats.grid import Entry, ends_group, entries, headings
from mixer_bench.report.tables.table import Table
from mixer_bench.results.setting import Variant
from mixer_bench.system import console as terminals
from mixer_bench.system.console import escaped, printable
from mixer_bench.system.grouping import grouped

MODELS_WIDE = 5  # models that fit beside each other in a terminal
FORMULA = ("=", "+", "-", "@")  # what a text begins with that a spreadsheet runs
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
MEASURED = ("mean", "ci95_half", "interval_over", "sampling_half", "runs", "converged")


def terminal(tables: Sequence[Table]) -> str:
    """Write for people; at most ``WIDTH`` columns wide, less where the terminal is narrower."""
    console = terminals.console()
    for table in (_narrowed(part, console.width) for whole in tables for part in _parts(whole)):
        console.print(Text(printable(table.title)))
        console.print(_shown(table, console.width))
        for note in table.notes:
            console.print(Padding(Text(printable(note)), (0, 0, 0, 2)))
        console.print()
    return terminals.captured(console)


def _parts(table: Table) -> list[Table]:
    """Return a table of models beside each other in as many parts as the width takes."""
    if table.kind.first != "task" or len(table.columns) <= MODELS_WIDE:
        return [table]
    parts = []
    for start in range(0, len(table.columns), MODELS_WIDE):
        columns = table.columns[start : start + MODELS_WIDE]
        shown = f"{start + 1} to {start + len(columns)} of {len(table.columns)} models"
        parts.append(replace(table, columns=columns, title=f"{table.title}; {shown}"))
    return parts


def _narrowed(table: Table, width: int) -> Table:
    """Say of the models in a note what a column would break names and numbers for, where a note does not."""
    without = replace(table, kind=replace(table.kind, last=""))
    if _fits(table, width) or _room(without, width) < 0:
        return table
    said = grouped(table.rows, lambda row: row.about)
    words = "; ".join(f"{', '.join(row.model for row in rows)}: {about}" for about, rows in said.items())
    return replace(without, notes=(f"{table.kind.last}: {words}", *table.notes))


def _room(table: Table, width: int) -> int:
    """Return the columns that whole names and numbers leave for the last column, or beyond the table without one."""
    lines = [headings(table), *([entry.text for entry in entries(table, row)] for row in table.rows)]
    whole = len(lines[0]) - bool(table.kind.last)
    return width - sum(max(len(line[number]) for line in lines) for number in range(whole)) - 2 * whole


def _fits(table: Table, width: int) -> bool:
    """Return whether names and numbers stay whole beside the words of the last column, broken into lines."""
    words = [word for row in table.rows for word in row.about.split()] if table.kind.last else []
    return _room(table, width) >= (max(map(len, words), default=0) + 1 if table.kind.last else 0)


def _shown(table: Table, width: int) -> RichTable:
    """Return it for the terminal; only what is said of the models is broken, if there is room for the rest."""
    shown = terminals.grid()
    names, fits = headings(table), _fits(table, width)
    if fits and table.kind.last and _room(table, width) <= len(table.kind.last):
        names[-1] = table.kind.last.replace("-", "-\n")
    for number, name in enumerate(names):
        keep = fits and (number + 1 < len(names) or not table.kind.last)
        shown.add_column(name, justify="left" if number == 0 else "right", overflow="fold", no_wrap=keep)
    for number, row in enumerate(table.rows):
        texts = (Text(printable(entry.text)) for entry in entries(table, row))
        shown.add_row(*texts, end_section=ends_group(table, number))
    return shown


def markdown(tables: Sequence[Table]) -> str:
    """Write for a README or an issue: GitHub's tables; the best of a column is bold."""
    parts = []
    for table in tables:
        names = list(map(escaped, headings(table)))
        rows = [list(map(_bold_if_best, entries(table, row))) for row in table.rows]
        align = ["left", *["right"] * (len(names) - 1)]
        body = tabulate(rows, names, tablefmt="pipe", colalign=align, disable_numparse=True)
        notes = "".join(f"- {escaped(note)}\n" for note in table.notes)
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
    last = ("standing", "baseline", "images_per_second", "pretraining")
    writer.writerow([*Variant._fields, "model", "setting", *MEASURED, *last])
    for table in tables:
        if table.kind.repeats and len(tables) > 1:
            continue  # alone it was asked for by name
        where = [table.name, *table.measured_on[1:]]
        for row in table.rows:
            speed = f"{row.speeds[0]:.1f}" if row.speeds and row.speeds[0] is not None else ""
            for column, cell in ((column, row.cells[column]) for column in table.columns if column in row.cells):
                standing = "" if cell.standing == "unknown" else cell.standing
                said = (standing, table.baseline, speed, row.about)
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
    half, sampling = ("" if math.isnan(value) else f"{value:.6f}" for value in (cell.half, cell.sampling_half))
    if not cell.records:
        return [f"{cell.mean:.6f}", half, "", "", "", ""]
    over = "seeds" if cell.over_seeds else "test sample"
    if cell.difference:
        over, sampling = ("seeds and test sample" if cell.over_seeds else over), ""
    return [f"{cell.mean:.6f}", half, over, sampling, cell.seeds, cell.converged]
