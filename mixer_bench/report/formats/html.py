"""Tables, figures and records to one HTML page that needs nothing else: no network, no other file, no server.

It begins with what was asked and the verdict; then come the tables and figures that this is of; the rest is folded
away by its kind. What comes from records is text and never markup: jinja2 escapes it, the block of data is letters and
digits, and the script makes text nodes of it. A policy in the page forbids every request. Two pages of the same records
are the same to the byte.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from mixer_bench.report.figures.answers import Question
from mixer_bench.report.figures.draw import rendered
from mixer_bench.report.figures.style import Plot
from mixer_bench.report.formats import details, grid
from mixer_bench.report.formats.by_class import Closer
from mixer_bench.report.formats.grid import Writer
from mixer_bench.report.formats.inline import inline
from mixer_bench.report.formats.latex import latex
from mixer_bench.report.formats.sheet import as_csv
from mixer_bench.report.formats.text import markdown
from mixer_bench.report.tables.table import MAIN, MATRIX, MEANS, PUBLISHED, SHOTS, TASK, Table
from mixer_bench.report.verdict import MOST, Claim, Verdict
from mixer_bench.results.record import Record
from mixer_bench.system.grouping import grouped

# The formats that a table can be copied in, each with a button.
COPIES: Mapping[str, Writer] = {"Markdown": markdown, "LaTeX": latex, "CSV": as_csv}
KINDS = {MAIN: "The paper's main table", MEANS: "Means of groups", SHOTS: "Means by shots", MATRIX: "Tasks by models"}
KINDS |= {TASK: "Single tasks", PUBLISHED: "Beside published numbers"}
DIFFERENCES = "Differences from the baseline"
JOINT = re.compile(r"(?<=[_/:])(?=\w)|(?<=[.-])(?=[^\W\d])")  # where a long name, but no number, may be broken
PERCENT = re.compile(r"(?<=\d) %")  # between which no line is broken
TALL = 30  # rows from which a table scrolls in a box of its own, sorted by what its verdict is of
PACKED = 6  # gzip's level: at its highest a twentieth less for three times the time
NAMES = 3  # models or tasks that a title lists


@dataclass(frozen=True)
class Shown:
    """A table of the page."""

    number: int  # from 1, in the order of reports
    table: Table
    claims: Mapping[tuple[str, str], str]  # the ids of cells that a verdict speaks of, by row and column
    sorted_by: str = ""  # the column that a tall table is sorted by

    @property
    def is_tall(self) -> bool:
        """Whether it scrolls in a box of its own."""
        return len(self.table.rows) > TALL

    @property
    def heading(self) -> str:
        """What its link says."""
        return f"{self.table.name} (ReaL)" if self.table.measured_on.metric == "real" else self.table.name


def write(
    tables: Sequence[Table],
    verdicts: Sequence[Verdict],
    questions: Sequence[Question],
    records: Sequence[Record],
    problems: Sequence[str] = (),
    failures: Sequence[str] = (),
    folder: str = "results",
    closely: Sequence[Closer] = (),
) -> str:
    """Return the page as text.

    Args:
        tables: as ``report`` prints them.
        verdicts: on ``tables``.
        questions: with the figures that answer them.
        records: what cells open; each is in the page once.
        problems: a line for each file that is no record.
        failures: a line for each run that failed.
        folder: the name of the results folder.
        closely: runs to be shown class by class.
    """
    known = details.of(records)
    copies = [{name: written([table]) for name, written in COPIES.items()} for table in tables]
    shown = [_shown(number, table, verdicts) for number, table in enumerate(tables, start=1)]
    main = [each for told in verdicts[:MOST] for each in shown if each.table is told.table]
    links = {id(claim): link for each in main for claim, link in _links(each, verdicts)}
    return _page(
        title=title(tables, records),
        when=_when(records),
        folder=folder,
        counts=_counts(tables, records),
        verdicts=verdicts[:MOST],
        link=lambda claim: links[id(claim)],
        main=main,
        kinds=grouped([each for each in shown if each not in main], _kind),
        grid=grid,
        places=known.places,
        copies=list(COPIES),
        questions=_drawn(questions),
        closely=closely,
        problems=problems,
        failures=failures,
        data=_packed({**known.values, "copies": copies}),
    )


def _page(**values: Any) -> str:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_file),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=lambda value: PERCENT.sub("\N{NO-BREAK SPACE}%", value) if type(value) is str else value,
    )
    page = environment.get_template("page.html.j2")
    return page.render(style=_file("page.css"), script=_file("page.js"), pieces=JOINT.split, **values)


def title(tables: Sequence[Table], records: Sequence[Record]) -> str:
    """Say what was asked: models, in the order of tables, and tasks."""
    if not records:
        return "No results yet"
    counts = _counts(tables, records)
    return f"{_few(counts['models'], 'models')} on {_few(counts['tasks'], 'tasks')}"


def _few(names: Sequence[str], what: str) -> str:
    if len(names) > NAMES:
        return f"{len(names)} {what}"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _when(records: Sequence[Record]) -> str:
    """Return the days on which the first and the last record were made."""
    days = sorted({record.created[:10] for record in records})
    return " to ".join(dict.fromkeys([*days[:1], *days[-1:]]))


def _kind(shown: Shown) -> str:
    return DIFFERENCES if shown.table.baseline else KINDS[shown.table.kind]


def _shown(number: int, table: Table, verdicts: Sequence[Verdict]) -> Shown:
    of_it = [told for told in verdicts[:MOST] if told.table is table]
    places = {(claim.model, claim.column) for told in of_it for claim in _claims(told)}
    rows, columns = [row.model for row in table.rows], table.columns
    ids = {(m, c): f"c{number}-{rows.index(m) + 1}-{columns.index(c) + 1}" for m, c in sorted(places)}
    return Shown(number, table, ids, of_it[0].best.column if of_it and len(rows) > TALL else "")


def _claims(told: Verdict) -> list[Claim]:
    return [part.claim for sentence in told.sentences for part in sentence if part.claim is not None]


def _links(shown: Shown, verdicts: Sequence[Verdict]) -> list[tuple[Claim, str]]:
    of_it = [told for told in verdicts if told.table is shown.table]
    return [(claim, shown.claims[claim.model, claim.column]) for told in of_it for claim in _claims(told)]


def _drawn(questions: Sequence[Question]) -> list[tuple[Question, list[tuple[Plot, str]]]]:
    """Return the questions with their figures drawn, each once."""
    numbers = itertools.count(1)
    return [
        (question, [(plot, inline(rendered(plot, ["svg"])["svg"].decode(), next(numbers))) for plot in question.plots])
        for question in questions
    ]


def _file(name: str) -> str:
    return (files("mixer_bench.report.formats") / name).read_text(encoding="utf-8")


def _packed(values: Mapping[str, Any]) -> str:
    """Return JSON, gzip's, in base64: a tenth of its size where there are many models, and nothing in it is markup."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), PACKED, mtime=0)).decode()


def _counts(tables: Sequence[Table], records: Sequence[Record]) -> dict[str, list[str]]:
    """Say what was measured: names by their kind, models in the order of the tables."""
    runs = [record.run for record in records]
    shown = [r.run for t in tables for row in t.rows for cell in row.cells.values() for r in cell.records]
    return {
        "records": [f"{len(records)}"],
        "tasks": sorted({run.task for run in runs}),
        "models": list(dict.fromkeys(run.model for run in [*shown, *runs])),
        "protocols": sorted({run.protocol for run in runs}),
    }
