"""Verbs that read results: report."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from mixer_bench.cli.options import Results, results_folder, write
from mixer_bench.errors import MixerBenchError

Format = Literal["table", "markdown", "csv", "latex", "html", "json"]


def report(
    results: Results = None,
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
    # The garbage collector would go through thousands of records again and again, a third of the time, for nothing.
    collects = gc.isenabled()
    gc.disable()
    try:
        _report(results_folder(results), fmt, output, baseline, figures)
    finally:
        if collects:
            gc.enable()


def _report(folder: Path, fmt: Format, output: Path | None, baseline: str | None, figures: Path | None) -> None:
    from mixer_bench import report as reports
    from mixer_bench.report.significance import Judge
    from mixer_bench.results import store as store_module
    from mixer_bench.results.store import Store

    store = Store(folder)
    records, problems = store.records()
    profiles, spoiled = store.profiles()
    failures = store.failures()
    problems += spoiled
    if problems and baseline is not None and all(record.run.model != baseline for record in records):
        problems.append(f"--baseline {baseline}: no record of it can be read")
        baseline = None
    _warn([*problems, *(f"failed: {file}: {store_module.reason(file)}" for file in failures)])
    if not records:
        raise MixerBenchError(f"no records in {store.folder}; make some with: mixer-bench run --task ... --model ...")
    judge = Judge(store.answers)
    if fmt == "html":
        output = output or store.folder / "report.html"
        text = reports.html(records, store.folder, problems, failures, profiles, judge, baseline)
    else:
        text = reports.write(records, fmt, profiles, judge, baseline)
    _warn(judge.problems)
    said = []
    if figures is not None:
        files = reports.draw(records, figures, profiles)
        said.append(f"{len(files)} files of figures in {figures}" if files else "no figures: nothing to compare yet")
    if output is None:
        print(text, end="")
        said.append(f"{len(records)} records in {store.folder / 'runs'}")
    else:
        write(output, text)
        said.append(f"{len(records)} records reported in {output}")
    # What goes to a program must be the report alone.
    for_people = fmt == "table" if output is None else output.is_file()
    print("\n" * (output is None) + "\n".join(said), file=sys.stdout if for_people else sys.stderr)
    raise typer.Exit(1 if problems or judge.problems or failures else 0)


def _warn(lines: Sequence[str]) -> None:
    for line in lines:
        print(line if line.startswith("failed: ") else f"warning: {line}", file=sys.stderr)
