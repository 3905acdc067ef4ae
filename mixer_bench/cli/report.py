"""The verb report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mixer_bench.api import reporting
from mixer_bench.api.results import places
from mixer_bench.cli.options import given, takes
from mixer_bench.runs.options import Options

FOLDERS = "Results folder; repeatable, several count as one. (default: MIXER_BENCH_RESULTS, else results)"
OUTPUT = "A file instead of the terminal (html: report.html beside the records); of model-card and eee a folder."


@takes(Options, *reporting.WHERE)
def report(
    *,
    results: Annotated[list[Path] | None, typer.Option(help=FOLDERS, show_default=False)] = None,
    fmt: Annotated[reporting.Format, typer.Option("--format", "-f", help="How to write it.")] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help=OUTPUT)] = None,
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
    """Comparison tables of the records in results folders."""
    from mixer_bench.system.console import coloured, tell

    colour = output is None and coloured()
    done = reporting.report(results or None, fmt, output, baseline, figures, colour, thumbnails, task, **given(flags))
    said = []
    if figures is not None:
        files = f"{len(done.figures)} files of figures in {figures}"
        said.append(files if done.figures else "no figures: nothing to compare yet")
    folders = " and ".join(str(folder / "runs") for folder in places(results or None))
    where = f"in {folders}" if done.output is None else f"reported in {done.output}"
    said.append(f"{done.records} records {where}")
    if done.output is None:
        print(done.text, end="")
        said = ["", *said]
    # What goes to a program must be the report alone: the rest is said on stderr then.
    for_people = fmt == "table" if done.output is None else done.output.is_file() or done.output.is_dir()
    (print if for_people else tell)("\n".join(said))
    raise typer.Exit(1 if done.problems or done.failures else 0)
