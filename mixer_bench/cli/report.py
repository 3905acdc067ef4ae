"""The verb report."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer

from mixer_bench.cli.options import RESULTS, Results, no_records

Format = Literal["table", "markdown", "csv", "latex", "html", "json"]


def report(
    results: Results = RESULTS,
    fmt: Annotated[Format, typer.Option("--format", "-f", help="How to write it.")] = "table",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A file instead of the terminal (html: report.html beside the records)."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="A model: tables of paired differences from it are added.", show_default=False)
    ] = None,
    figures: Annotated[Path | None, typer.Option(help="A folder for figures, as SVG and PNG.")] = None,
) -> None:
    """Comparison tables of the records in a results folder."""
    from mixer_bench import report as reports
    from mixer_bench.report.significance import Judge
    from mixer_bench.results.store import Store, reason
    from mixer_bench.system import files

    store = Store(results)
    records, problems = store.records()
    profiles, spoiled = store.profiles()
    failures = store.failures()
    problems += spoiled
    if problems and baseline is not None and all(record.run.model != baseline for record in records):
        problems.append(f"--baseline {baseline}: no record of it can be read")
        baseline = None
    _warn(problems)
    for file in failures:
        print(f"failed: {file}: {reason(file)}", file=sys.stderr)
    if not records:
        raise no_records(store.folder)
    judge = Judge(store.answers)
    if fmt == "html":
        output = output or store.folder / "report.html"
        text = reports.html(records, store.folder, problems, failures, profiles, judge, baseline)
    else:
        text = reports.write(records, fmt, profiles, judge, baseline)
    _warn(judge.problems)
    said = []
    if figures is not None:
        drawn = reports.draw(records, figures, profiles)
        said += [f"{len(drawn)} files of figures in {figures}" if drawn else "no figures: nothing to compare yet"]
    if output is None:
        print(text, end="")
        said = ["", *said, f"{len(records)} records in {store.folder / 'runs'}"]
    else:
        files.deliver(output, text)
        said += [f"{len(records)} records reported in {output}"]
    # What goes to a program must be the report alone.
    for_people = fmt == "table" if output is None else output.is_file()
    print("\n".join(said), file=sys.stdout if for_people else sys.stderr)
    raise typer.Exit(1 if problems or judge.problems or failures else 0)


def _warn(lines: Iterable[str]) -> None:
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)
