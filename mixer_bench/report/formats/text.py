"""Tables to text: Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from mixer_bench.report.formats.grid import Entry, entries, headings
from mixer_bench.report.tables.table import Table
from mixer_bench.system.console import escaped


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
