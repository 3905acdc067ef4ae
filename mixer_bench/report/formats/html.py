"""Tables, figures and records to one HTML page that needs nothing else: no network, no other file, no server.

What comes from records is text and never markup: jinja2 escapes it, the block of JSON has no character that could end
it, and the script makes text nodes of it. A policy in the page forbids every request. Two pages of the same records are
the same to the byte.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from mixer_bench.report.figures.draw import Figures, rendered
from mixer_bench.report.figures.style import Plot
from mixer_bench.report.formats import details, grid
from mixer_bench.report.formats.grid import Writer
from mixer_bench.report.formats.latex import latex
from mixer_bench.report.formats.text import as_csv, markdown
from mixer_bench.report.tables.table import Table
from mixer_bench.results.record import Record

# The formats that a table can be copied in, each with a button.
COPIES: Mapping[str, Writer] = {"Markdown": markdown, "LaTeX": latex, "CSV": as_csv}
# Inside a script element these could end it, or begin a comment; the last two end a line in old scripts.
UNSAFE = {character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def write(
    tables: Sequence[Table],
    figures: Figures,
    records: Sequence[Record],
    problems: Sequence[str],
    failures: Sequence[str],
    title: str,
) -> str:
    """Return the page as text.

    Args:
        tables: as ``report`` prints them.
        figures: drawn from the same records, and what was not.
        records: what cells open; each is in the page once.
        problems: a line for each file that is no record.
        failures: a line for each run that failed.
        title: for people, such as the name of the results folder.
    """
    from jinja2 import Environment, StrictUndefined

    known = details.of(records)
    copies = [{name: written([table]) for name, written in COPIES.items()} for table in tables]
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    return template.from_string(_file("page.html.j2")).render(
        title=title,
        counts=_counts(tables, records),
        tables=tables,
        grid=grid,
        places=known.places,
        links=_links(tables),
        copies=list(COPIES),
        figures=[(plot, _source(plot)) for plot in figures.plots],
        not_drawn=figures.left_out,
        problems=problems,
        failures=failures,
        style=_file("page.css"),
        script=_file("page.js"),
        data=_json({**known.values, "copies": copies}),
    )


def _file(name: str) -> str:
    return (files("mixer_bench.report.formats") / name).read_text(encoding="utf-8")


def _json(values: Mapping[str, Any]) -> str:
    """Return what a script element can hold: nothing in it can be markup."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, escape in UNSAFE.items():
        text = text.replace(character, escape)
    return text


def _counts(tables: Sequence[Table], records: Sequence[Record]) -> dict[str, list[str]]:
    """Say what was measured: names by their kind, models in the order of the tables."""
    runs = [record.run for record in records]
    shown = [r.run for t in tables for row in t.rows for cell in row.cells.values() for r in cell.records]
    return {
        "tasks": sorted({run.task for run in runs}),
        "models": list(dict.fromkeys(run.model for run in [*shown, *runs])),
        "protocols": sorted({run.protocol for run in runs}),
        "records": [str(len(runs))],
    }


def _source(plot: Plot) -> str:
    # As an image of its own a figure's ids, styles and links cannot meet those of the page or of another figure.
    return f"data:image/svg+xml;base64,{base64.b64encode(rendered(plot, ['svg'])['svg']).decode()}"


def _links(tables: Sequence[Table]) -> dict[str, int]:
    """Return names for the list of what is on the page, each with the number of its first table."""
    links: dict[str, int] = {}
    for number, table in enumerate(tables, start=1):
        links.setdefault(f"{table.name} (ReaL)" if table.measured_on.metric == "real" else table.name, number)
    return links
