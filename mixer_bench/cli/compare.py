"""The verbs compare and merge."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixer_bench.cli.check import MAKE
from mixer_bench.cli.options import Results, results_folder
from mixer_bench.errors import MixerBenchError, ResultsError

if TYPE_CHECKING:
    pass


def compare(
    model_a: Annotated[str, typer.Argument(metavar="A", help="A model, as the records name it.")],
    model_b: Annotated[str, typer.Argument(metavar="B", help="The other.")],
    results: Results = None,
    protocol: Annotated[str | None, typer.Option("--protocol", "-p", help="Only this protocol.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Two models, paired by seed and example, on every task and setting that both have; corrected over all."""
    from mixer_bench.compare import comparison
    from mixer_bench.compare import text as comparison_text
    from mixer_bench.results.store import Store
    from mixer_bench.system.console import printable

    store = Store(results_folder(results))
    records, problems = store.records()
    for line in problems:  # first: a model may be unknown because its files are damaged
        print(f"error: {printable(line)}", file=sys.stderr)
    try:
        if not records:
            raise ResultsError(f"no records in {store.folder}; make some with: {MAKE}")
        outcome = comparison.compare(records, store, model_a, model_b, protocol)
    except MixerBenchError as error:
        kind = ResultsError if problems else type(error)
        raise kind(printable(str(error))) from None
    for line in outcome.problems:
        print(f"error: {printable(line)}", file=sys.stderr)
    outcome = dataclasses.replace(outcome, problems=(*problems, *outcome.problems))
    print(comparison_text.as_json(outcome) if as_json else comparison_text.terminal(outcome), end="")
    raise typer.Exit(1 if outcome.problems else 0)


def merge(
    into: Annotated[Path, typer.Argument(metavar="INTO", help="The results folder that takes them up.")],
    sources: Annotated[list[Path], typer.Argument(metavar="FROM...", help="Results folders of other machines.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Take up records, predictions, failures and profiles of other results folders; what is there stays as it is."""
    from mixer_bench.results import merge as merging
    from mixer_bench.system.console import printable

    done = merging.merge(into, sources)
    for line in done.problems:
        print(f"error: {printable(line)}", file=sys.stderr)
    print(json.dumps(dataclasses.asdict(done), indent=1) if as_json else done.summary(into))
    raise typer.Exit(1 if done.problems else 0)
