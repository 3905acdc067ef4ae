"""Verbs that judge and join results: check, compare, merge."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixer_bench.cli.options import Results, results_folder, write
from mixer_bench.errors import ResultsError, UsageError

if TYPE_CHECKING:
    from mixer_bench.results.store import Store

MAKE = "mixer-bench run --task ... --model ..."


def check(
    baseline_file: Annotated[Path, typer.Argument(metavar="BASELINE", help="The baseline's file.")],
    results: Results = None,
    min_drop: Annotated[float, typer.Option(help="Smallest drop that fails, in points of accuracy (of 100).")] = 0.5,
    update: Annotated[bool, typer.Option("--update", help="Write the baseline from the results folder.")] = False,
    junit: Annotated[Path | None, typer.Option(help="A file for the outcome as JUnit XML.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Did accuracy drop? Results against a baseline: exit 1 on a real drop, a missing run or a changed identity."""
    from mixer_bench.gate import baseline
    from mixer_bench.gate import check as gate
    from mixer_bench.gate import text as gate_report
    from mixer_bench.results import answers
    from mixer_bench.results.store import Store
    from mixer_bench.system.console import printable

    if not 0 <= min_drop <= 100:  # noqa: PLR2004  percent
        raise UsageError(f"--min-drop {min_drop}: points of accuracy, 0 to 100")
    if update and (junit is not None or as_json):
        raise UsageError("--update writes the baseline and compares nothing: leave out --junit and --json")
    store = Store(results_folder(results))
    if update:
        _update(baseline_file, store)
        return
    before = baseline.read(baseline_file)
    records, problems = store.records()
    reader = answers.Reader(store.answers)
    measured = [reader.answers(record) for record in records]
    outcome = gate.check(before, measured, min_drop / 100)
    problems += [run.problem for run in measured if run.problem]
    failed = tuple(f"failed: {file}" for file in store.failures())
    none = f"no records in {store.folder}; make some with: {MAKE}" if not records and not problems else None
    problems += [f"no records; make some with: {MAKE}"] if none else []
    outcome = dataclasses.replace(outcome, problems=tuple(problems), notes=failed)
    # What leaves this machine has no path of it.
    portable = dataclasses.replace(
        outcome,
        problems=gate_report.without_folder(problems, store.folder),
        notes=gate_report.without_folder(failed, store.folder),
    )
    if junit is not None:
        write(junit, gate_report.junit(portable))
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        _append(Path(summary), gate_report.markdown(portable))
    if none and not as_json:  # each run of the baseline is missing: that need not be said of each
        for line in failed:
            print(printable(line), file=sys.stderr)
        raise ResultsError(none)
    print(gate_report.as_json(portable) if as_json else gate_report.terminal(outcome), end="")
    raise typer.Exit(0 if outcome.passed else 1)


def _update(file: Path, store: Store) -> None:
    """All of a results folder or nothing: a baseline that lacks a run would let it break unseen."""
    from mixer_bench.gate import baseline
    from mixer_bench.results import answers
    from mixer_bench.system.console import printable

    records, problems = store.records()
    reader = answers.Reader(store.answers)
    measured = [reader.answers(record) for record in records]
    problems += [run.problem for run in measured if run.problem]
    problems += [f"failed: {failed}" for failed in store.failures()]
    for line in problems:
        print(f"error: {printable(line)}", file=sys.stderr)
    if problems or not records:
        found = f"{len(problems)} problems" if problems else "no records"
        raise ResultsError(f"{found} in {store.folder}; {file} is left as it was")
    baseline.write(file, measured)
    print(f"{len(records)} runs of {store.folder} are the baseline in {file}")


def _append(file: Path, text: str) -> None:
    try:
        with file.open("a", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:  # the verdict must not hang on a page that nobody needs to see
        print(f"warning: cannot write {file}: {error.strerror}", file=sys.stderr)
