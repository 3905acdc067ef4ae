"""Tables to text: for a terminal, Markdown, CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text
from tabulate import tabulate

from mixer_bench.report.cells import Cell
from mixer_bench.report.tables.table import Row, Table
from mixer_bench.results.setting import Variant
from mixer_bench.system import console as terminals
from mixer_bench.system.console import escaped, printable

MODELS_WIDE = 5  # models that fit beside each other in that


def _headings(table: Table) -> list[str]:
    return [table.kind.first, *table.columns, *table.speed_headings, *([table.kind.last] if table.kind.last else [])]


def _cells(table: Table, row: Row) -> list[str]:
    values = [row.cells[column].text if column in row.cells else "" for column in table.columns]
    speeds = ["-" if speed is None else f"{speed:,.0f}" for speed in row.speeds]
    return [row.model, *values, *speeds, *([row.about] if table.kind.last else [])]


def _narrowed(table: Table, width: int) -> Table:
    """What is said of the models as a note, where a column of it would break names and numbers and a note does not."""
    if not table.kind.last or _room(table, width) >= _last_width(table):
        return table
    without = replace(table, kind=replace(table.kind, last=""))
    if _room(without, width) < 0:
        return table
    said: dict[str, list[str]] = {}
    for row in table.rows:
        said.setdefault(row.about, []).append(row.model)
    words = "; ".join(f"{', '.join(models)}: {about}" for about, models in said.items())
    return replace(without, notes=(f"{table.kind.last}: {words}", *table.notes))


def _room(table: Table, width: int) -> int:
    """Columns that whole names and numbers leave for the last column, or beyond the table where there is none."""
    lines = [_headings(table), *(_cells(table, row) for row in table.rows)]
    whole = len(lines[0]) - bool(table.kind.last)
    taken = sum(max(len(line[number]) for line in lines) for number in range(whole))
    return width - taken - 2 * whole


def _last_width(table: Table) -> int:
    """Columns that the words of the last column need, broken into lines."""
    return max((len(word) for row in table.rows for word in row.about.split()), default=0) + 1


def _shown(table: Table, width: int) -> RichTable:
    """As a table of the terminal; only what is said of the models is broken, if there is room for the rest."""
    shown = terminals.grid()
    headings, room = _headings(table), _room(table, width)
    fits = room >= (_last_width(table) if table.kind.last else 0)
    if fits and table.kind.last and room <= len(table.kind.last):
        headings[-1] = table.kind.last.replace("-", "-\n")
    for number, heading in enumerate(headings):
        keep = fits and (number + 1 < len(headings) or not table.kind.last)
        shown.add_column(heading, justify="left" if number == 0 else "right", overflow="fold", no_wrap=keep)
    for number, row in enumerate(table.rows):
        shown.add_row(*(Text(printable(t)) for t in _cells(table, row)), end_section=ends_group(table, number))
    return shown


def _parts(table: Table) -> list[Table]:
    """A table of models beside each other in as many parts as the width takes."""
    if table.kind.first != "task" or len(table.columns) <= MODELS_WIDE:
        return [table]
    starts = range(0, len(table.columns), MODELS_WIDE)
    shown = [table.columns[start : start + MODELS_WIDE] for start in starts]
    words = f" of {len(table.columns)} models"
    return [
        replace(table, columns=part, title=f"{table.title}; {start + 1} to {start + len(part)}{words}")
        for start, part in zip(starts, shown, strict=True)
    ]


def ends_group(table: Table, number: int) -> bool:
    """Whether rows of another group follow."""
    return number + 1 < len(table.rows) and table.rows[number + 1].group != table.rows[number].group


def terminal(tables: Sequence[Table]) -> str:
    """For people; at most ``WIDTH`` columns wide, less where the terminal is narrower."""
    console = terminals.console()
    width = console.width
    for table in (_narrowed(part, width) for whole in tables for part in _parts(whole)):
        shown = _shown(table, width)
        console.print(Text(printable(table.title)))
        console.print(shown)
        for note in table.notes:
            console.print(Padding(Text(printable(note)), (0, 0, 0, 2)))
        console.print()
    return terminals.captured(console)


def markdown(tables: Sequence[Table]) -> str:
    """For a README or an issue: GitHub's tables."""
    parts = []
    for table in tables:
        rows = [_markdown_cells(table, row) for row in table.rows]
        headings = [escaped(text) for text in _headings(table)]
        align = ["left", *["right"] * (len(headings) - 1)]
        body = tabulate(rows, headings, tablefmt="pipe", colalign=align, disable_numparse=True)
        notes = "".join(f"- {escaped(note)}\n" for note in table.notes)
        parts.append(f"**{escaped(table.title)}**\n\n{body}\n" + (f"\n{notes}" if notes else ""))
    return "\n".join(parts)


def _markdown_cells(table: Table, row: Row) -> list[str]:
    """Escaped; the best of a column is bold."""
    best = {column for column, cell in row.cells.items() if cell.standing == "best"}
    headings = ["", *table.columns]
    return [
        f"**{escaped(text)}**" if number < len(headings) and headings[number] in best else escaped(text)
        for number, text in enumerate(_cells(table, row))
    ]


def as_csv(tables: Sequence[Table]) -> str:
    """For a spreadsheet: one line a cell, shares in [0, 1]."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    headings = ("model", "setting", "mean", "ci95_half", "interval_over", "sampling_half", "runs", "converged")
    writer.writerow([*Variant._fields, *headings, "standing", "baseline", "images_per_second", "pretraining"])
    for table in tables:
        if table.kind.repeats and len(tables) > 1:
            continue  # alone it was asked for by name
        where = [table.name, *table.measured_on[1:]]
        for row in table.rows:
            speed = f"{row.speeds[0]:.1f}" if row.speeds and row.speeds[0] is not None else ""
            for column in table.columns:
                if (cell := row.cells.get(column)) is None:
                    continue
                standing = ("" if cell.standing == "unknown" else cell.standing, table.baseline)
                writer.writerow([*where, row.model, column, *_csv_values(cell), *standing, speed, row.about])
    return out.getvalue()


def _csv_values(cell: Cell) -> list[Any]:
    """Mean, its interval and what that is over; a printed number has no runs of ours behind it."""
    half, sampling = ("" if math.isnan(h) else f"{h:.6f}" for h in (cell.half, cell.sampling_half))
    if not cell.records:
        return [f"{cell.mean:.6f}", half, "", "", "", ""]
    over = "seeds" if cell.over_seeds else "test sample"
    if cell.difference:
        over, sampling = ("seeds and test sample" if cell.over_seeds else "test sample"), ""
    return [f"{cell.mean:.6f}", half, over, sampling, cell.seeds, cell.converged]
