"""The verbs compare and merge."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from mixer_bench.cli.options import RESULTS, Results, no_records
from mixer_bench.errors import MixerBenchError, ResultsError


def compare(
    model_a: Annotated[str, typer.Argument(metavar="A", help="A model, as the records name it.")],
    model_b: Annotated[str, typer.Argument(metavar="B", help="The other.")],
    results: Results = RESULTS,
    protocol: Annotated[str | None, typer.Option("--protocol", "-p", help="Only this protocol.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Two models, paired by seed and example, on every task and setting that both have; corrected over all."""
    from mixer_bench.compare import comparison, text
    from mixer_bench.results.store import Store
    from mixer_bench.system.console import printable

    store = Store(results)
    records, problems = store.records()
    _say(problems)  # first: a model may be unknown because its files are damaged
    try:
        if not records:
            raise no_records(store.folder)
        compared = comparison.compare(records, store, model_a, model_b, protocol)
    except MixerBenchError as error:
        kind = ResultsError if problems else type(error)
        raise kind(printable(str(error))) from None
    _say(compared.problems)
    compared = dataclasses.replace(compared, problems=(*problems, *compared.problems))
    print(text.as_json(compared) if as_json else text.terminal(compared), end="")
    raise typer.Exit(1 if compared.problems else 0)


def merge(
    into: Annotated[Path, typer.Argument(metavar="INTO", help="The results folder that takes them up.")],
    sources: Annotated[list[Path], typer.Argument(metavar="FROM...", help="Results folders of other machines.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Take up records, predictions, failures and profiles of other results folders; what is there stays as it is."""
    from mixer_bench.results import merge as merging

    done = merging.merge(into, sources)
    _say(done.problems)
    print(json.dumps(dataclasses.asdict(done), indent=1) if as_json else done.summary(into))
    raise typer.Exit(1 if done.problems else 0)


def _say(problems: Iterable[str]) -> None:
    from mixer_bench.system.console import tell

    for line in problems:
        tell(f"error: {line}")
