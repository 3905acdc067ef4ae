"""The comparison of two models as text, for a terminal and for programs. Pure; prints nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from mixer_bench.compare.comparison import Found, Overall, Row
from mixer_bench.stats.paired import LEVEL
from mixer_bench.system import console as terminals
from mixer_bench.system.console import printable


def terminal(found: Found) -> str:
    """A line a task and setting, a line a setting over tasks, notes, and in the last line who is better where."""
    console = terminals.console()
    console.print(
        Text(f"A = {printable(found.a)}, B = {printable(found.b)}: accuracy in %, paired by seed and test example")
    )
    headings = ("task", "setting", "seeds", "A", "B", "A - B", "p", "detectable")
    _print(console, headings, [_cells(row) for row in found.rows])
    if found.overall:
        over_tasks = ("over tasks", "tasks", "A - B", "wins", "ties", "losses", "p")
        _print(console, over_tasks, [_summary(one) for one in found.overall])
    for note in _notes(found):
        console.print(Text(f"  {printable(note)}"))
    console.print(Text(printable(_verdict(found))))
    return terminals.captured(console)


def _print(console: Console, headings: Sequence[str], rows: list[list[str]]) -> None:
    table = terminals.grid()
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number == 0 or heading == "setting" else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def _cells(row: Row) -> list[str]:
    low, high = row.comparison.ci95
    difference = f"{100 * row.comparison.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    limit = f" limit {row.run.limit}" if row.run.limit else ""
    task = f"{row.run.task}{limit}"
    values = [
        f"{100 * row.a:.1f}",
        f"{100 * row.b:.1f}",
        difference,
        _p(row.p),
        f"{100 * row.comparison.detectable:.1f}",
    ]
    return [task, row.setting, str(len(row.seeds)), *values]


def _summary(one: Overall) -> list[str]:
    counts = map(str, (one.wins, one.ties, one.losses))
    return [one.setting, str(one.tasks), f"{100 * one.difference:+.1f}", *counts, _p(one.p)]


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= 0.001 else "<0.001"  # noqa: PLR2004  as papers print it


def _notes(found: Found) -> list[str]:
    notes = [
        "[ ]: 95 % interval; p: two-sided, corrected over all rows (Holm)",
        "detectable: smallest difference that such data would have shown at the 5 % level in 80 % of cases",
    ]
    if found.overall:
        settings = ", corrected over all settings (Holm)" if len(found.overall) > 1 else ""
        notes.append(f"over tasks: Wilcoxon's signed-rank test{settings}; fewer than six tasks cannot reach 5 %")
    methods = dict.fromkeys(row.comparison.method for row in found.rows)
    notes += [f"test: {', '.join(methods)}"] if methods else []
    if any(len(row.seeds) == 1 for row in found.rows):
        notes.append("one seed says nothing of other seeds: such a row is of these trained models alone")
    return [*notes, *found.notes]


def _verdict(found: Found) -> str:
    better = [sum(row.p <= LEVEL and sign * row.comparison.difference > 0 for row in found.rows) for sign in (1, -1)]
    told = f"{found.a} is better in {better[0]} of {len(found.rows)} rows, {found.b} in {better[1]}"
    return f"{told}; {len(found.problems)} problems left runs out" if found.problems else told


def as_json(found: Found) -> str:
    """For programs; shares in [0, 1]."""
    rows = [
        {
            **row.run.model_dump(
                mode="json", include={"task", "task_version", "subset", "limit", "metric", "protocol", "config"}
            ),
            "setting": row.setting,
            "a": row.a,
            "b": row.b,
            "p_holm": row.p,
            **dataclasses.asdict(row.comparison),
            "seeds": list(row.seeds),
            "unshared_seeds": list(row.unshared),
        }
        for row in found.rows
    ]
    overall = [_values(one) for one in found.overall]
    values = {"a": found.a, "b": found.b, "rows": rows, "overall": overall, "notes": found.notes}
    return json.dumps({**values, "problems": found.problems}, indent=1) + "\n"


def _values(one: Overall) -> dict[str, Any]:
    """As in rows: p of the setting alone, and corrected."""
    values = dataclasses.asdict(one)
    return {**values, "p": values.pop("p_alone"), "p_holm": one.p}
