"""The gate's outcome as text: for a terminal, Markdown, JUnit XML, JSON. Pure; prints nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from rich.text import Text
from tabulate import tabulate

from mixer_bench.gate.check import ALPHA, UNPAIRED, Outcome, Row
from mixer_bench.results import naming
from mixer_bench.results.record import Run
from mixer_bench.system import console as terminals
from mixer_bench.system.console import escaped, printable

HEADINGS = ("runs", "seeds", "baseline", "now", "difference", "p", "verdict")
NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def without_folder(lines: Iterable[str], folder: Path) -> tuple[str, ...]:
    """Lines on files in ``folder`` with paths from there: what leaves this machine has no path of it."""
    here = re.compile(rf"(?<![\w./\\-]){re.escape(str(folder))}[/\\]")
    return tuple(here.sub("", line) for line in lines)


def names(outcome: Outcome) -> dict[str, str]:
    """For people, a name for each ``gate.setting``; what tells groups of one name apart is added."""
    runs = {naming.setting(row.run): row.run for row in outcome.rows}
    twins: dict[str, dict[str, Run]] = {}
    for setting, run in runs.items():
        twins.setdefault(_short_name(run), {})[setting] = run
    return {setting: label for short, group in twins.items() for setting, label in _told_apart(short, group).items()}


def _told_apart(name: str, group: dict[str, Run]) -> dict[str, str]:
    """The name, with as few of the fields in which the runs of a group differ as are needed, the config's first."""
    known = {setting: naming.fields(run) for setting, run in group.items()}
    keys = sorted(
        dict.fromkeys(key for values in known.values() for key in values), key=lambda key: not key.startswith("config.")
    )

    def kinds(chosen: Sequence[str]) -> int:
        return len({json.dumps([values.get(key) for key in chosen], sort_keys=True) for values in known.values()})

    telling: list[str] = []
    while len(group) > 1 and kinds(telling) < kinds(keys):
        telling.append(max(keys, key=lambda key: kinds([*telling, key])))
    return {
        setting: " ".join([name, *(_told(key, values.get(key)) for key in telling)])
        for setting, values in known.items()
    }


def _told(key: str, value: Any) -> str:
    return printable(f"{key.removeprefix('config.')}={naming.short(value)}")


def _short_name(run: Run) -> str:
    setting = f"{run.config['shots']}-shot" if "shots" in run.config else ""
    limited = f"limit {run.limit}" if run.limit else ""
    precision = "" if run.precision == "fp32" else run.precision
    return printable(" ".join(filter(None, [run.task, run.model, run.protocol, setting, limited, precision])))


def terminal(outcome: Outcome) -> str:
    """What failed or moved, a line each; how many stayed; the verdict in the last line."""
    console = terminals.console()
    known = names(outcome)
    if shown := _shown(outcome):
        table = terminals.grid()
        for number, heading in enumerate(HEADINGS):
            table.add_column(heading, justify="left" if number in (0, 1, 6) else "right", overflow="fold")
        for row in shown:
            table.add_row(*map(Text, _cells(row, known)))
        console.print(table)
    for line in _lines(outcome, known):
        console.print(Text(line))
    console.print(Text(verdict(outcome)))
    return terminals.captured(console)


def _shown(outcome: Outcome) -> list[Row]:
    return [row for row in outcome.rows if row.verdict != "new" and (row.fails or _moved(row))]


def _moved(row: Row) -> bool:
    return row.before != row.now or (row.change is not None and row.change.flipped != 0)


def _cells(row: Row, known: dict[str, str]) -> list[str]:
    before, now = ("-" if value is None else f"{100 * value:.1f}" for value in (row.before, row.now))
    difference = "-"
    if row.change is not None:
        low, high = row.change.ci95
        difference = f"{100 * row.change.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    p = "-" if row.p is None else f"{row.p:.2g}" if row.p >= 0.001 else "<0.001"  # noqa: PLR2004  as papers print it
    return [known[naming.setting(row.run)], _ranges(row.seeds), before, now, difference, p, words(row)]


def words(row: Row) -> str:
    """The verdict with its reason."""
    told = f"{row.verdict}: {printable(row.reason)}" if row.reason else row.verdict
    return f"{told} ({row.method})" if row.method == UNPAIRED else told


def _ranges(seeds: Sequence[int]) -> str:
    parts: list[list[int]] = []
    for seed in sorted(seeds):
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def _lines(outcome: Outcome, known: dict[str, str]) -> list[str]:
    same = sum(row.verdict == "ok" and not _moved(row) for row in outcome.rows)
    lines = [f"damaged or missing: {printable(line)}" for line in outcome.problems]
    lines += [f"note: {printable(line)}" for line in outcome.notes]
    lines += [
        f"new, not in the baseline: {known[naming.setting(row.run)]}, seeds {_ranges(row.seeds)}"
        for row in _new(outcome)
    ]
    if any(row.change is not None for row in outcome.rows):
        lines.append("accuracy in %; difference with 95 % interval; p of no drop, one-sided, corrected over all groups")
    return [*lines, f"{same} groups: not one answer differs"] if same else lines


def _new(outcome: Outcome) -> list[Row]:
    return [row for row in outcome.rows if row.verdict == "new"]


def verdict(outcome: Outcome) -> str:
    """The last line."""
    counts = Counter(row.verdict for row in outcome.rows if row.fails)
    told = [f"{count} {kind}" for kind, count in counts.items()]
    told += [f"{len(outcome.problems)} damaged or missing files"] if outcome.problems else []
    groups = sum(row.verdict != "new" for row in outcome.rows)
    return f"PASS: no drop in {groups} groups" if outcome.passed else f"FAIL: {', '.join(told)} of {groups} groups"


def markdown(outcome: Outcome) -> str:
    """For the summary page of a GitHub job."""
    known = names(outcome)
    rows = [[escaped(cell) for cell in _cells(row, known)] for row in _shown(outcome)]
    align = ["left", "left", "right", "right", "right", "right", "left"]
    table = tabulate(rows, HEADINGS, tablefmt="pipe", colalign=align, disable_numparse=True) + "\n\n" if rows else ""
    notes = "".join(f"- {escaped(line)}\n" for line in _lines(outcome, known))
    return f"### mixer-bench check\n\n**{escaped(verdict(outcome))}**\n\n{table}{notes}\n"


def junit(outcome: Outcome) -> str:
    """JUnit XML: a test case a group, a failure where the gate fails; new groups are skipped ones."""
    failed = sum(row.fails for row in outcome.rows)
    counts = {
        "tests": str(len(outcome.rows) + len(outcome.problems)),
        "failures": str(failed),
        "errors": str(len(outcome.problems)),
        "skipped": str(len(_new(outcome))),
    }
    suites = ET.Element("testsuites", counts)
    suite = ET.SubElement(suites, "testsuite", {"name": "mixer-bench check", **counts})
    known = names(outcome)
    for row in outcome.rows:
        title = f"{known[naming.setting(row.run)]}, seeds {_ranges(row.seeds)}"
        case = ET.SubElement(suite, "testcase", {"classname": _clean(row.run.task), "name": _clean(title)})
        detail = ", ".join(
            f"{heading} {cell}" for heading, cell in zip(HEADINGS[2:], _cells(row, known)[2:], strict=True)
        )
        if row.fails:
            failure = ET.SubElement(case, "failure", {"type": row.verdict, "message": _clean(words(row))})
            failure.text = _clean(detail)
        elif row.verdict == "new":
            ET.SubElement(case, "skipped", {"message": _clean(row.reason)})
        else:
            ET.SubElement(case, "system-out").text = _clean(detail)
    for line in outcome.problems:
        case = ET.SubElement(suite, "testcase", {"classname": "files", "name": _clean(line)})
        ET.SubElement(case, "error", {"message": _clean(line)})
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    """Without the characters that no escape makes legal in XML."""
    return NOT_XML.sub("?", text)


def as_json(outcome: Outcome) -> str:
    """For programs; shares in [0, 1]."""
    values = {
        "passed": outcome.passed,
        "alpha": ALPHA,
        "groups": [_values(row) for row in outcome.rows],
        "problems": list(outcome.problems),
        "notes": list(outcome.notes),
    }
    return json.dumps(values, indent=1) + "\n"


def _values(row: Row) -> dict[str, Any]:
    change = row.change
    return {
        **row.run.model_dump(mode="json", include={"task", "model", "protocol", "config", "limit", "metric"}),
        "seeds": list(row.seeds),
        "verdict": row.verdict,
        "fails": row.fails,
        "baseline": row.before,
        "now": row.now,
        "difference": None if change is None else change.difference,
        "ci95": None if change is None else list(change.ci95),
        "p": row.p,
        "flipped": None if change is None else change.flipped,
        "method": row.method,
        "reason": row.reason,
    }
