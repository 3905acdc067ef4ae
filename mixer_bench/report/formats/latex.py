"""Tables to LaTeX, for a paper: booktabs, one ``table`` environment each.

The best of a column is bold, what is not significantly worse is underlined.
"""

from __future__ import annotations

from collections.abc import Sequence

from mixer_bench.report.cells import Cell
from mixer_bench.report.formats.grid import Entry, ends_group, entries, headings
from mixer_bench.report.tables.table import Table
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
    "‡": r"$^\ddagger$",
    "§": r"$^\S$",
    "–": "--",
    "●": r"\textbf{bold}",
    "○": r"\underline{underlined}",
    "▲": r"$\uparrow$",
    "▼": r"$\downarrow$",
    "×": r"$\times$",
    "²": "$^2$",
    "·": r"$\cdot$",
}
MARKS = {
    **{"*": "*", "!": "!", "†": r"\dagger", "‡": r"\ddagger", "§": r"\S"},
    **{"▲": r"\uparrow", "▼": r"\downarrow"},
}


def latex(tables: Sequence[Table]) -> str:
    """Write them ready to be ``\\input``; LaTeX as it is in TeX Live, with booktabs."""
    return PREAMBLE + "\n" + "\n".join(map(_table, tables))


def _table(table: Table) -> str:
    names = list(map(escaped, headings(table)))
    align = "l" + "r" * (len(names) - 1 - bool(table.kind.last)) + "l" * bool(table.kind.last)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(table.title)}}}",
        rf"\begin{{tabular}}{{{align}}}",
        r"\toprule",
        " & ".join(names) + r" \\",
        r"\midrule",
    ]
    for number, row in enumerate(table.rows):
        lines.append(" & ".join(map(_entry, entries(table, row))) + r" \\")
        if ends_group(table, number):
            lines.append(r"\addlinespace")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {escaped(note)}" for note in table.remarks]
    return "\n".join([*lines, r"\end{table}", ""])


def _entry(entry: Entry) -> str:
    if entry.cell:
        return _cell(entry.cell)
    return "--" if entry.text == "-" else escaped(entry.text)  # a missing speed


def _cell(cell: Cell) -> str:
    marks = "".join(MARKS.get(mark, "") for mark in cell.marks)
    around = {"best": r"\textbf{%s}", "tied": r"\underline{%s}"}.get(cell.standing, "%s")
    half = rf" $\pm$ {escaped(cell.half_percent)}" if cell.half_percent else ""
    return around % cell.percent.replace("-", "$-$") + half + (f"$^{{{marks}}}$" if marks else "")


def escaped(text: str) -> str:
    """Return ``text`` as LaTeX sets it; line breaks become spaces."""
    return "".join(SPECIAL.get(character, character) for character in printable(text))
