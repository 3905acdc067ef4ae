"""The verb profile."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from mixer_bench.cli.options import read, takes
from mixer_bench.profile.options import Options


@takes(Options)
def profile(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profiles as JSON.")] = False,
    **flags: Any,
) -> None:
    """Throughput, latency, memory and FLOPs of models on this machine; measuring again replaces what is there."""
    from mixer_bench.api import measuring
    from mixer_bench.profile import table
    from mixer_bench.system.console import tell

    options = read(Options, flags)
    outcome = measuring.profiled(options, quiet=as_json)
    for error in outcome.unavailable:
        tell(f"error: {error}")
    if as_json:
        measured = [profile.model_dump(mode="json") for profile in outcome.profiles]
        unavailable = [str(error) for error in outcome.unavailable]
        print(json.dumps({"profiles": measured, "unavailable": unavailable, "notes": outcome.notes}, indent=1))
    elif outcome.profiles:
        print(table.text(outcome.profiles, outcome.notes), end="")
        print(f"{len(outcome.profiles)} profiles in {options.output_dir / 'profiles'}")
    raise typer.Exit(outcome.exit_code)
