"""The verb check."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixer_bench.cli.options import MAKE, RESULTS, Results, no_records
from mixer_bench.errors import ResultsError, UsageError

if TYPE_CHECKING:
    from mixer_bench.results.answers import Answers
    from mixer_bench.results.store import Store


def check(
    baseline_file: Annotated[Path, typer.Argument(metavar="BASELINE", help="The baseline's file.")],
    results: Results = RESULTS,
    min_drop: Annotated[float, typer.Option(help="Smallest drop that fails, in points of accuracy (of 100).")] = 0.5,
    update: Annotated[bool, typer.Option("--update", help="Write the baseline from the results folder.")] = False,
    junit: Annotated[Path | None, typer.Option(help="A file for the outcome as JUnit XML.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Did accuracy drop? Exit 1 on a drop, a missing run, a changed identity, or runs of other code than this."""
    from mixer_bench.gate import baseline, text
    from mixer_bench.gate import check as gate
    from mixer_bench.results.store import Store
    from mixer_bench.system import console, files

    if not 0 <= min_drop <= 100:  # noqa: PLR2004  percent
        raise UsageError(f"--min-drop {min_drop}: points of accuracy, 0 to 100")
    if update and (junit is not None or as_json):
        raise UsageError("--update writes the baseline and compares nothing: leave out --junit and --json")
    store = Store(results)
    if update:
        _update(baseline_file, store)
        return
    before = baseline.read(baseline_file)
    now, problems, failures = _read(store)
    nothing = not now and not problems
    problems += [f"no records; make some with: {MAKE}"] if nothing else []
    outcome = dataclasses.replace(
        gate.check(before, now, min_drop / 100), problems=tuple(problems), notes=tuple(failures)
    )
    # What leaves this machine has no path of it.
    portable = dataclasses.replace(
        outcome,
        problems=text.without_folder(problems, store.folder),
        notes=text.without_folder(failures, store.folder),
    )
    if junit is not None:
        files.deliver(junit, text.junit(portable))
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        _append(Path(summary), text.markdown(portable))
    if nothing and not as_json:  # each run of the baseline is missing: that need not be said of each
        for line in failures:
            console.tell(line)
        raise no_records(store.folder)
    print(text.as_json(portable) if as_json else text.terminal(outcome), end="")
    raise typer.Exit(0 if outcome.passed else 1)


def _read(store: Store) -> tuple[list[Answers], list[str], list[str]]:
    """The answers of all records, a line for what is damaged, and one for each run that failed."""
    from mixer_bench.results import answers

    records, problems = store.records()
    reader = answers.Reader(store.answers)
    read = [reader.answers(record) for record in records]
    problems += [run.problem for run in read if run.problem]
    return read, problems, [f"failed: {file}" for file in store.failures()]


def _update(file: Path, store: Store) -> None:
    """All of a results folder or nothing: a baseline that lacks a run would let it break unseen."""
    from mixer_bench.gate import baseline
    from mixer_bench.gate.evidence import Evidence, Side
    from mixer_bench.system.console import tell

    now, problems, failures = _read(store)
    problems += [*failures, *Evidence(results=Side.of(now)).stale]
    for line in problems:
        tell(f"error: {line}")
    if problems or not now:
        reason = f"{len(problems)} problems" if problems else "no records"
        raise ResultsError(f"{reason} in {store.folder}; {file} is left as it was")
    baseline.write(file, now)
    print(f"{len(now)} runs of {store.folder} are the baseline in {file}")


def _append(file: Path, text: str) -> None:
    try:
        with file.open("a", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:  # the verdict must not hang on a page that nobody needs to see
        from mixer_bench.system.console import tell

        tell(f"warning: cannot write {file}: {error.strerror}")
