"""The gate's outcome as text: for a terminal, Markdown, JUnit XML, JSON. Pure; prints nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from rich.text import Text
from tabulate import tabulate

from mixer_bench.gate.check import ALPHA, UNPAIRED, Outcome, Row, Together, Verdict
from mixer_bench.gate.evidence import Side
from mixer_bench.results import naming
from mixer_bench.results.made import values as values_of
from mixer_bench.stats import words
from mixer_bench.system import console as terminals
from mixer_bench.system.console import escaped, printable
from mixer_bench.system.grouping import grouped

HEADINGS = ("runs", "seeds", "baseline", "now", "difference", "p", "verdict")
FAILURES: Mapping[Verdict, str] = {
    "drop": "accuracy dropped in {}",
    "missing": "{} missing",
    "changed": "{} changed",
    "unpaired examples": "{} measured on other examples",
}
NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def without_folder(lines: Iterable[str], folder: Path) -> tuple[str, ...]:
    """Return lines on files in ``folder`` with paths from there: what leaves this machine has no path of it."""
    here = re.compile(rf"(?<![\w./\\-]){re.escape(str(folder))}[/\\]")
    return tuple(here.sub("", line) for line in lines)


def terminal(outcome: Outcome, colour: bool = False) -> str:
    """Return what failed or moved, a line each; how many stayed; the verdict in the last line, in colour if wanted."""
    console, names = terminals.console(colour), _names(outcome)
    if cells := _shown(outcome, names):
        terminals.show(console, HEADINGS, cells, left=("runs", "seeds", "verdict"))
    for line in _lines(outcome, names):
        console.print(Text(line))
    console.print(Text(verdict(outcome), "bold green" if outcome.passed else "bold red"))
    return terminals.captured(console)


def _names(outcome: Outcome) -> dict[Any, str]:
    return {group: printable(name) for group, name in naming.groups(row.run for row in outcome.rows).items()}


def _shown(outcome: Outcome, names: Mapping[Any, str]) -> list[list[str]]:
    """Return the cells of what failed or moved, single groups before those together."""
    rows = [row for row in outcome.rows if row.verdict != "new" and (row.fails or _moved(row))]
    pools = [_cells_together(pool) for pool in outcome.together if _moved(pool)]
    return [*(_cells(row, names) for row in rows), *pools]


def _moved(row: Row | Together) -> bool:
    return row.before != row.now or (row.change is not None and row.change.flipped != 0)


def _cells(row: Row, names: Mapping[Any, str]) -> list[str]:
    return [names[row.run.but_seed], _ranges(row.seeds), *_numbers(row), _verdict_of(row)]


def _cells_together(pool: Together) -> list[str]:
    return [f"{printable(pool.protocol)}, {pool.groups} groups together", "-", *_numbers(pool), pool.verdict]


def _numbers(row: Row | Together) -> list[str]:
    before, now = ("-" if value is None else f"{100 * value:.1f}" for value in (row.before, row.now))
    difference = "-" if row.change is None else words.points(row.change.difference, row.change.ci95)
    return [before, now, difference, "-" if row.p is None else words.p_value(row.p)]


def _verdict_of(row: Row) -> str:
    told = f"{row.verdict}: {printable(row.reason)}" if row.reason else row.verdict
    return f"{told} ({row.method})" if row.method == UNPAIRED else told


def _ranges(seeds: Sequence[int]) -> str:
    """Return ascending seeds as text, those in a row as a range."""
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def _lines(outcome: Outcome, names: Mapping[Any, str]) -> list[str]:
    lines = [f"damaged or missing: {printable(line)}" for line in outcome.problems]
    lines += [f"not evidence: {line}" for line in outcome.evidence.stale]
    lines += [f"note: {printable(line)}" for line in outcome.notes]
    new = [row for row in outcome.rows if row.verdict == "new"]
    lines += [f"new, not in the baseline: {names[row.run.but_seed]}, seeds {_ranges(row.seeds)}" for row in new]
    if any(row.change is not None for row in outcome.rows):
        lines.append("accuracy in %; difference with 95 % interval; p of no drop, one-sided, corrected over all groups")
    same = sum(row.verdict == "ok" and not _moved(row) for row in outcome.rows)
    lines += [f"{same} groups: predictions identical"] if same else []
    return [*lines, *map(printable, outcome.evidence.lines)]


def verdict(outcome: Outcome) -> str:
    """Return the last line: what happened, to how many groups."""
    groups = sum(row.verdict != "new" for row in outcome.rows)
    if outcome.passed:
        return f"PASS: no drop in {groups} groups"
    counts = Counter(row.verdict for row in outcome.rows if row.fails)
    told = [FAILURES[kind].format(f"{counts[kind]} of {groups} groups") for kind in FAILURES if kind in counts]
    for pool in outcome.together:
        if pool.fails:
            fall = f"{printable(pool.protocol)} fell by {-100 * pool.change.difference:.1f} points"
            told.append(f"{fall} over {pool.groups} groups together")
    if damaged := len(outcome.problems):
        told.append(f"{damaged} {'file' if damaged == 1 else 'files'} damaged or missing")
    if stale := outcome.evidence.results.stale:
        told.append(f"{stale} runs made by other code than is installed")
    return f"FAIL: {'; '.join(told)}"


def markdown(outcome: Outcome) -> str:
    """Return the outcome for the summary page of a GitHub job."""
    names = _names(outcome)
    rows = [[escaped(cell) for cell in cells] for cells in _shown(outcome, names)]
    align = ["left", "left", "right", "right", "right", "right", "left"]
    table = tabulate(rows, HEADINGS, tablefmt="pipe", colalign=align, disable_numparse=True) + "\n\n" if rows else ""
    notes = "".join(f"- {escaped(line)}\n" for line in _lines(outcome, names))
    return f"### mixer-bench check\n\n**{escaped(verdict(outcome))}**\n\n{table}{notes}\n"


def junit(outcome: Outcome) -> str:
    """Return JUnit XML: a test case a group and a protocol, a failure where the gate fails; new groups are skipped."""
    verdicts = Counter("failure" if each.fails else each.verdict for each in outcome.judged)
    counts = {
        "tests": len(outcome.judged) + len(outcome.problems) + 1,
        "failures": verdicts["failure"] + len(outcome.evidence.stale),
        "errors": len(outcome.problems),
        "skipped": verdicts["new"],
    }
    suites = _element(None, "testsuites", counts)
    suite = _element(suites, "testsuite", {"name": "mixer-bench check", **counts})
    names = _names(outcome)
    for row in outcome.rows:
        name, seeds, *cells = _cells(row, names)
        case = _element(suite, "testcase", {"classname": row.run.task, "name": f"{name}, seeds {seeds}"})
        _judged(case, row, cells)
    for pool in outcome.together:
        name, _, *cells = _cells_together(pool)
        _judged(_element(suite, "testcase", {"classname": "together", "name": name}), pool, cells)
    for line in outcome.problems:
        _element(_element(suite, "testcase", {"classname": "files", "name": line}), "error", {"message": line})
    evidence = _element(suite, "testcase", {"classname": "evidence", "name": "made by the code that is installed"})
    for line in outcome.evidence.stale:
        _element(evidence, "failure", {"type": "other code", "message": line})
    _element(evidence, "system-out", {}).text = _clean("\n".join(outcome.evidence.lines))
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


def _judged(case: ET.Element, row: Row | Together, cells: Sequence[str]) -> None:
    """Put what the gate says of a group into its test case; ``cells`` are those of the headings from the third on."""
    detail = _clean(", ".join(f"{heading} {cell}" for heading, cell in zip(HEADINGS[2:], cells, strict=True)))
    if row.fails:
        _element(case, "failure", {"type": row.verdict, "message": cells[-1]}).text = detail
    elif row.verdict == "new":
        _element(case, "skipped", {"message": cells[-1].removeprefix("new: ")})
    else:
        _element(case, "system-out", {}).text = detail


def _element(parent: ET.Element | None, tag: str, attributes: Mapping[str, object]) -> ET.Element:
    clean = {key: _clean(str(value)) for key, value in attributes.items()}
    return ET.Element(tag, clean) if parent is None else ET.SubElement(parent, tag, clean)


def _clean(text: str) -> str:
    """Replace the characters that no escape makes legal in XML."""
    return NOT_XML.sub("?", text)


def as_json(outcome: Outcome) -> str:
    """Return the outcome for programs; shares in [0, 1]."""
    groups = [_values(row) for row in outcome.rows]
    pools = [{"protocol": pool.protocol, "groups": pool.groups, **_of_change(pool)} for pool in outcome.together]
    values = {"passed": outcome.passed, "alpha": ALPHA, "groups": groups, "together": pools}
    sides = {"baseline": outcome.evidence.baseline, "results": outcome.evidence.results}
    made = {name: _made(side) for name, side in sides.items()}
    values |= {"stale": outcome.evidence.stale, "problems": outcome.problems, "notes": outcome.notes, "made": made}
    return json.dumps(values, indent=1) + "\n"


def _made(side: Side) -> dict[str, Any]:
    digests = grouped((item for made in side.made for item in made.code.items()), lambda item: item[0])
    return {
        "days": sorted({made.day for made in side.made}),
        "code": {concern: sorted({digest for _, digest in items}) for concern, items in digests.items()},
        "other_code": dict(side.other_code),
        "environment": values_of(side.made),
    }


def _values(row: Row) -> dict[str, Any]:
    return {
        **row.run.model_dump(mode="json", include={"task", "model", "protocol", "config", "limit", "metric"}),
        "seeds": row.seeds,
        **_of_change(row),
        "method": row.method,
        "reason": row.reason,
    }


def _of_change(row: Row | Together) -> dict[str, Any]:
    change = row.change
    return {
        "verdict": row.verdict,
        "fails": row.fails,
        "baseline": row.before,
        "now": row.now,
        "difference": change and change.difference,
        "ci95": change and change.ci95,
        "p": row.p,
        "flipped": change and change.flipped,
    }
