"""The verb report."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mixer_bench.cli.options import RESULTS, Results, no_records

if TYPE_CHECKING:
    from mixer_bench.results.profiles import Profile
    from mixer_bench.results.record import Record

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
    from mixer_bench.report import report as reports
    from mixer_bench.report.significance import Judge
    from mixer_bench.results.store import Store, reason

    store = Store(results)
    records, problems = store.records()
    profiles, spoiled = store.profiles()
    failures = store.failures()
    problems += spoiled
    if problems and baseline is not None and all(record.run.model != baseline for record in records):
        problems.append(f"--baseline {baseline}: no record of it can be read")
        baseline = None
    _warn(problems, [f"failed: {file}: {reason(file)}" for file in failures])
    if not records:
        raise no_records(store.folder)
    gc.freeze()  # all of it stays to the end: to look for garbage there, again and again, takes a tenth of the time
    judge = Judge(store.answers)
    if fmt == "html":
        output = output or store.folder / "report.html"
        text = reports.html(records, store.folder, problems, failures, profiles, judge, baseline)
    else:
        text = reports.write(records, fmt, profiles, judge, baseline)
    _warn(judge.problems)
    said = [] if figures is None else [_drawn(figures, records, profiles)]
    where = f"in {store.folder / 'runs'}" if output is None else f"reported in {output}"
    said.append(f"{len(records)} records {where}")
    if unsealed := sum(not record.sealed for record in records):
        said.append(f"{unsealed} of them are of earlier versions, without a checksum of their content")
    _hand_out(text, output, fmt == "table", said)
    raise typer.Exit(1 if problems or judge.problems or failures else 0)


def _drawn(folder: Path, records: list[Record], profiles: list[Profile]) -> str:
    """Write all figures into ``folder``; return what to say of it."""
    from mixer_bench.report import report as reports

    files = reports.draw(records, folder, profiles)
    return f"{len(files)} files of figures in {folder}" if files else "no figures: nothing to compare yet"


def _hand_out(text: str, output: Path | None, is_table: bool, said: Sequence[str]) -> None:
    """Print or write the report. What goes to a program must be the report alone: the rest is said on stderr then."""
    from mixer_bench.system import files
    from mixer_bench.system.console import tell

    if output is None:
        print(text, end="")
        said = ["", *said]
    else:
        files.deliver(output, text)
    for_people = is_table if output is None else output.is_file()
    (print if for_people else tell)("\n".join(said))


def _warn(problems: Iterable[str], failed: Iterable[str] = ()) -> None:
    from mixer_bench.system.console import tell

    for line in (*(f"warning: {problem}" for problem in problems), *failed):
        tell(line)
