"""The verb check."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated

import typer

from mixer_bench.cli.options import RESULTS, Results
from mixer_bench.errors import UsageError


def check(
    baseline_file: Annotated[Path, typer.Argument(metavar="BASELINE", help="The baseline's file.")],
    results: Results = RESULTS,
    min_drop: Annotated[float, typer.Option(help="Smallest drop that fails, in points of accuracy (of 100).")] = 0.5,
    update: Annotated[bool, typer.Option("--update", help="Write the baseline from the results folder.")] = False,
    junit: Annotated[Path | None, typer.Option(help="A file for the outcome as JUnit XML.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Did accuracy drop? Exit 1 on a drop, a missing run, a changed identity, or runs of other code than this."""
    from mixer_bench.api import results as on_results
    from mixer_bench.gate import text
    from mixer_bench.system import console, files

    if update and (junit is not None or as_json):
        raise UsageError("--update writes the baseline and compares nothing: leave out --junit and --json")
    if update:
        count = on_results.update_baseline(baseline_file, results)
        print(f"{count} runs of {results} are the baseline in {baseline_file}")
        return
    outcome = on_results.check(baseline_file, results, min_drop)
    # What leaves this machine has no path of it.
    portable = dataclasses.replace(
        outcome,
        problems=text.without_folder(outcome.problems, results),
        notes=text.without_folder(outcome.notes, results),
    )
    if junit is not None:
        files.deliver(junit, text.junit(portable))
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        _append(Path(summary), text.markdown(portable))
    if outcome.problems == (on_results.NOTHING,) and not as_json:  # that each run is missing need not be said of each
        for line in outcome.notes:
            console.tell(line)
        raise on_results.no_records(results)
    print(text.as_json(portable) if as_json else text.terminal(outcome, console.coloured()), end="")
    raise typer.Exit(0 if outcome.passed else 1)


def _append(file: Path, text: str) -> None:
    try:
        with file.open("a", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:  # the verdict must not hang on a page that nobody needs to see
        from mixer_bench.system.console import tell

        tell(f"warning: cannot write {file}: {error.strerror}")
