"""Tables to text for a terminal: as wide as it is, words whole, the verdict first and the legend last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from mixer_bench.report.cells import Standing
from mixer_bench.report.formats.grid import ends_group, entries, headings
from mixer_bench.report.tables.table import MATRIX, Table
from mixer_bench.report.verdict import MOST, verdicts
from mixer_bench.results import naming
from mixer_bench.system import console as terminals
from mixer_bench.system.console import printable

NAME = 30  # characters of a model's name, or a third of the terminal where that is more: longer ones are shortened
MOST_BESIDE = 40  # models in columns: more are no table to read, and each task's own has their numbers
STYLES: Mapping[Standing, str] = {"best": "bold green", "tied": "green", "better": "green", "worse": "red"}


def terminal(tables: Sequence[Table], colour: bool = False) -> str:
    """Write for people, as wide as the terminal is.

    Args:
        tables: in the order in which they are printed.
        colour: whether what is returned may steer a terminal, to have colours.
    """
    console = terminals.console(colour)
    for told in verdicts(tables)[:MOST]:
        console.print(Padding(Text(printable(told.text)), (0, 0, 1, 0)))
    for table in tables:
        _print(console, table)
    legend = {mark: words for table in tables for mark, words in table.legend.items()}
    console.print(Text("; ".join(f"{mark} {words}" for mark, words in legend.items()), "dim"))
    return terminals.captured(console)


def _print(console: Console, table: Table) -> None:
    if table.kind is MATRIX and len(table.columns) > MOST_BESIDE:
        beside = f"{len(table.columns)} models beside each other are in --format html and markdown"
        console.print(Text(printable(table.title), "bold"), Text(f"  {beside}", "dim"), "", sep="\n")
        return
    labels = [*(row.model for row in table.rows), *table.columns]
    names = naming.shortened([printable(label) for label in labels], max(NAME, console.width // 3))
    rows = []
    for row in table.rows:
        _, *cells = entries(table, row)
        styled = (Text(printable(e.text), STYLES.get(e.cell.standing, "") if e.cell else "") for e in cells)
        rows.append([Text(names[printable(row.model)]), *styled])
    above = [names.get(printable(heading), heading) for heading in headings(table)]
    ends = [number for number in range(len(rows)) if ends_group(table, number)]
    console.print(Text(printable(table.title), "bold"))
    terminals.show(console, above, rows, (above[0], table.kind.last), ends)
    terminals.notes(console, [*_name_notes(names), *table.notes], len(rows), "report --format markdown")
    console.print()


def _name_notes(names: Mapping[str, str]) -> list[str]:
    """Say what is left out of names: those without their middle are told whole."""
    cut = [f"{short} = {name}" for name, short in names.items() if not name.endswith(short)]
    origins = dict.fromkeys(
        name[: -len(short)] for name, short in names.items() if name.endswith(short) != (name == short)
    )
    left_out = [f"left out of names: {', '.join(origins)}"] if origins else []
    return [*left_out, *([", ".join(cut)] if cut else [])]
