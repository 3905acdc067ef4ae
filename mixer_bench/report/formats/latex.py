"""Tables to LaTeX, for a paper: booktabs, one ``table`` environment each.

The best of a column is bold, what is not significantly worse is underlined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mixer_bench.report.cells import Cell
from mixer_bench.report.formats.text import ends_group
from mixer_bench.report.tables.table import Row, Table
from mixer_bench.system.console import printable

PREAMBLE = "% needs \\usepackage{booktabs}; wide tables fit by \\usepackage{graphicx} and \\resizebox\n"
SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "●": r"\textbf{bold}",
    "○": r"\underline{underlined}",
    "▲": r"$\uparrow$",
    "▼": r"$\downarrow$",
    "×": r"$\times$",
    "²": "$^2$",
    "·": r"$\cdot$",
}
MARKS = {"*": "*", "!": "!", "†": r"\dagger", "▲": r"\uparrow", "▼": r"\downarrow"}


def latex(tables: Sequence[Table]) -> str:
    """The tables, ready to be ``\\input``; LaTeX as it is in TeX Live, with booktabs."""
    return PREAMBLE + "\n" + "\n".join(map(_table, tables))


def _table(table: Table) -> str:
    about = [table.kind.last] if table.kind.last else []
    headings = [table.kind.first, *table.columns, *table.speed_headings, *about]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(table.title)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(headings) - 1 - len(about))}{'l' * len(about)}}}",
        r"\toprule",
        " & ".join(map(escaped, headings)) + r" \\",
        r"\midrule",
    ]
    for number, row in enumerate(table.rows):
        lines.append(" & ".join(_row(table, row)) + r" \\")
        if ends_group(table, number):
            lines.append(r"\addlinespace")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {escaped(note)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}", ""])


def _row(table: Table, row: Row) -> list[str]:
    cells = [_cell(row.cells[column]) if column in row.cells else "" for column in table.columns]
    speeds = ["--" if speed is None else f"{speed:,.0f}" for speed in row.speeds]
    return [escaped(row.model), *cells, *speeds, *([escaped(row.about)] if table.kind.last else [])]


def _cell(cell: Cell) -> str:
    value = f"{100 * cell.mean:+.1f}" if cell.difference else f"{100 * cell.mean:.1f}"
    half = "" if math.isnan(cell.half) else rf" $\pm$ {100 * cell.half:.1f}"
    marks = "".join(MARKS.get(mark, "") for mark in cell.marks)
    marks = f"$^{{{marks}}}$" if marks else ""
    if cell.standing == "best":
        value = rf"\textbf{{{value}}}"
    elif cell.standing == "tied":
        value = rf"\underline{{{value}}}"
    return value.replace("-", "$-$") + half + marks


def escaped(text: str) -> str:
    """``text`` as LaTeX sets it; line breaks become spaces."""
    return "".join(SPECIAL.get(character, character) for character in printable(text))
