"""The comparison of two models as text, for a terminal and for programs. Pure; prints nothing."""

from __future__ import annotations

import json
from typing import Any

from rich.text import Text

from mixer_bench.compare.comparison import Outcome, Overall, Row
from mixer_bench.stats import words
from mixer_bench.stats.paired import Comparison
from mixer_bench.system import console as terminals
from mixer_bench.system.console import printable

SENTENCES = 8  # rows that are told one by one
STYLES = {"better": "green", "worse": "red"}  # of what A is


def terminal(outcome: Outcome, colour: bool = False) -> str:
    """Return a line a task and setting, a line a setting over tasks, notes, and last who is better; coloured or not."""
    console = terminals.console(colour)
    of = f", of {printable(outcome.model)}" if outcome.model else ""
    console.print(
        Text(
            f"A = {printable(outcome.a)}, B = {printable(outcome.b)}{of}: accuracy in %, paired by seed and test image"
        )
    )
    headings = ("task", "setting", "seeds", "A", "B", "A - B", "p", "detectable")
    terminals.show(console, headings, map(_cells, outcome.rows), left=("task", "setting"))
    if outcome.overall:
        over_tasks = ("over tasks", "tasks", "A - B", "wins", "ties", "losses", "p")
        terminals.show(console, over_tasks, map(_summary, outcome.overall), left=("over tasks",))
    most = len(outcome.rows) + len(outcome.overall)
    terminals.notes(console, [*outcome.notes, *_legend(outcome)], most, "compare --json")
    for line in _verdict(outcome):
        console.print(Text(printable(line)))
    return terminals.captured(console)


def _cells(row: Row) -> list[str | Text]:
    task = f"{row.run.task} limit {row.run.limit}" if row.run.limit else row.run.task
    difference = words.points(row.comparison.difference, row.comparison.ci95)
    accuracies = (f"{100 * value:.1f}" for value in (row.a, row.b))
    detectable = f"{100 * row.comparison.detectable:.1f}"
    told = Text(difference, STYLES.get(row.verdict, ""))
    return [task, row.setting, str(len(row.seeds)), *accuracies, told, words.p_value(row.p), detectable]


def _summary(overall: Overall) -> list[str]:
    counts = map(str, (overall.wins, overall.ties, overall.losses))
    difference = f"{100 * overall.difference:+.1f}"
    return [overall.setting, str(overall.tasks), difference, *counts, words.p_value(overall.p)]


def _legend(outcome: Outcome) -> list[str]:
    """Return how the tables are to be read."""
    notes = [
        "[ ]: 95 % interval; p: two-sided, corrected over all rows (Holm)",
        "detectable: smallest difference that such data would have shown at the 5 % level in 80 % of cases",
    ]
    if outcome.overall:
        settings = ", corrected over all settings (Holm)" if len(outcome.overall) > 1 else ""
        notes.append(f"over tasks: Wilcoxon's signed-rank test{settings}; fewer than six tasks cannot reach 5 %")
    methods = dict.fromkeys(row.comparison.method for row in outcome.rows)
    notes += [f"test: {', '.join(methods)}"] if methods else []
    if any(len(row.seeds) == 1 for row in outcome.rows):
        notes.append("one seed says nothing of other seeds: such a row is of these trained models alone")
    return notes


def sentence(outcome: Outcome, row: Row) -> str:
    """Return what a row means: which is better, by how much, and on how many images that stands."""
    task = f"{row.run.task} limit {row.run.limit}" if row.run.limit else row.run.task
    low, high = (100 * end for end in row.comparison.ci95)
    seeds = f", {len(row.seeds)} seeds" if len(row.seeds) > 1 else ""
    evidence = f"on {row.comparison.examples:,} test images{seeds}"
    if row.verdict == "not told apart":
        what = f"{outcome.a} and {outcome.b} cannot be told apart {evidence}: A - B is {low:+.1f} to {high:+.1f} points"
        return f"{task}, {row.setting}: {what}, and {100 * row.comparison.detectable:.1f} would mostly have been seen"
    better, worse, ends = (outcome.a, outcome.b, (low, high))
    if row.verdict == "worse":
        better, worse, ends = (outcome.b, outcome.a, (-high, -low))
    by = f"{abs(100 * row.comparison.difference):.1f} points ({ends[0]:.1f} to {ends[1]:.1f})"
    return f"{task}, {row.setting}: {better} is better than {worse} by {by} {evidence}"


def _verdict(outcome: Outcome) -> list[str]:
    """Return a sentence a row, as long as these are few, and how many rows say what."""
    lines = [sentence(outcome, row) for row in outcome.rows] if len(outcome.rows) <= SENTENCES else []
    verdicts = [row.verdict for row in outcome.rows]
    counts = [verdicts.count(verdict) for verdict in ("better", "worse", "not told apart")]
    told = f"{outcome.a} is better in {counts[0]} of {len(verdicts)} rows, {outcome.b} in {counts[1]}"
    told += f", and {counts[2]} do not tell" if counts[2] else ""
    return [*lines, f"{told}; {len(outcome.problems)} problems left runs out" if outcome.problems else told]


def _values(comparison: Comparison) -> dict[str, Any]:
    """Return the fields of a comparison, its interval worked out."""
    values = {"difference": comparison.difference, "ci95": comparison.ci95, **vars(comparison)}
    del values["interval"]
    return values


def as_json(outcome: Outcome) -> str:
    """Return the comparison for programs; shares in [0, 1]."""
    of_run = {"task", "task_version", "subset", "limit", "metric", "protocol", "config"}
    rows = [
        {
            **row.run.model_dump(mode="json", include=of_run),
            "setting": row.setting,
            "a": row.a,
            "b": row.b,
            "p_holm": row.p,
            "verdict": row.verdict,
            **_values(row.comparison),
            "seeds": list(row.seeds),
            "unshared_seeds": list(row.unshared),
        }
        for row in outcome.rows
    ]
    # As in rows: p of the setting alone, and corrected.
    overall = [{**vars(summary), "p": summary.p_alone, "p_holm": summary.p} for summary in outcome.overall]
    for summary in overall:
        del summary["p_alone"]
    return json.dumps({**vars(outcome), "rows": rows, "overall": overall, "legend": _legend(outcome)}, indent=1) + "\n"
