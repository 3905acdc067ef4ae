"""The verbs compare and merge."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from mixer_bench.cli.completing import among, models
from mixer_bench.cli.options import RESULTS, Results


def compare(
    model_a: Annotated[
        str, typer.Argument(metavar="A", help="A model, as the records name it.", autocompletion=among(models))
    ],
    model_b: Annotated[
        str | None, typer.Argument(metavar="[B]", help="The other.", autocompletion=among(models))
    ] = None,
    results: Results = RESULTS,
    protocol: Annotated[str | None, typer.Option("--protocol", "-p", help="Only this protocol.")] = None,
    protocols: Annotated[str | None, typer.Option(help="Two protocols of A, in place of B: finetune,linear.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Two models, or two protocols of one, paired by seed and example on all that both have; corrected over all."""
    from mixer_bench.api import comparing
    from mixer_bench.compare import text
    from mixer_bench.system.console import coloured

    compared = comparing.compare(model_a, model_b, results, protocol, protocols)
    print(text.as_json(compared) if as_json else text.terminal(compared, coloured()), end="")
    raise typer.Exit(1 if compared.problems else 0)


def merge(
    into: Annotated[Path, typer.Argument(metavar="INTO", help="The results folder that takes them up.")],
    sources: Annotated[
        list[str],
        typer.Argument(metavar="FROM...", help="Results folders, on disk or hf:owner/name@revision/folder."),
    ],
    offline: Annotated[bool, typer.Option("--offline", help="Fetch nothing: only what is on disk already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Take up records, predictions, failures and profiles of other results folders; what is there stays as it is."""
    from mixer_bench.api import results as on_results
    from mixer_bench.system.console import tell

    done = on_results.merge(into, sources, offline)
    for line in done.problems:
        tell(f"error: {line}")
    print(json.dumps(dataclasses.asdict(done), indent=1) if as_json else done.summary(into))
    raise typer.Exit(1 if done.problems else 0)
