"""The verb report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mixer_bench.api import results as on_results
from mixer_bench.cli.options import RESULTS, Results, given, takes
from mixer_bench.runs.options import Options

Format = Literal["table", "markdown", "csv", "latex", "html", "json"]


@takes(Options, *on_results.WHERE)
def report(
    *,
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
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="html: show the images that were most surely taken for others.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="html: where images of your own lie, which give names.")] = None,
    **flags: Any,
) -> None:
    """Comparison tables of the records in a results folder."""
    from mixer_bench.system.console import coloured, tell

    colour = output is None and coloured()
    done = on_results.report(results, fmt, output, baseline, figures, colour, thumbnails, task, **given(flags))
    said = []
    if figures is not None:
        files = f"{len(done.figures)} files of figures in {figures}"
        said.append(files if done.figures else "no figures: nothing to compare yet")
    where = f"in {results / 'runs'}" if done.output is None else f"reported in {done.output}"
    said.append(f"{done.records} records {where}")
    if done.output is None:
        print(done.text, end="")
        said = ["", *said]
    # What goes to a program must be the report alone: the rest is said on stderr then.
    for_people = fmt == "table" if done.output is None else done.output.is_file()
    (print if for_people else tell)("\n".join(said))
    raise typer.Exit(1 if done.problems or done.failures else 0)
