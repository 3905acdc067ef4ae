"""The verb profile."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Literal

import typer

from mixer_bench.cli.options import RESULTS, Device, Import, Results, numbers


def profile(
    model: Annotated[
        list[str], typer.Option("--model", "-m", help="Models as in run: names, commas; weights are not needed.")
    ],
    resolution: Annotated[
        str | None, typer.Option(help="Input sizes in pixels, e.g. 224,448; left out, each model's own.")
    ] = None,
    device: Device = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"], typer.Option(help="auto: what the device computes fastest in.")
    ] = "auto",
    batch_sizes: Annotated[
        str, typer.Option(help="Images a forward pass, e.g. 1,8,64; auto looks for the fastest.")
    ] = "auto",
    output_dir: Results = RESULTS,
    import_: Import = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print the profiles as JSON.")] = False,
) -> None:
    """Throughput, latency, memory and FLOPs of models on this machine; measuring again replaces what is there."""
    from mixer_bench.models import names
    from mixer_bench.profile import profile as profiling
    from mixer_bench.profile import table
    from mixer_bench.results.store import Store
    from mixer_bench.system.progress import ProgressLog
    from mixer_bench.system.schema import parts

    names.import_files(import_)
    sizes = None if batch_sizes == "auto" else numbers("--batch-sizes", batch_sizes)
    resolutions = numbers("--resolution", resolution) if resolution is not None else []
    jobs, outcome = profiling.jobs(parts(model), resolutions)
    if jobs:
        Store(output_dir).check_writable()
        where = profiling.machine(device, precision)
        with ProgressLog(len(jobs), quiet=as_json) as log:
            profiling.execute(jobs, where, sizes, output_dir, log, outcome)
    for error in outcome.unavailable:
        print(f"error: {error}", file=sys.stderr)
    if as_json:
        measured = [entry.model_dump(mode="json") for entry in outcome.profiles]
        unavailable = [str(error) for error in outcome.unavailable]
        print(json.dumps({"profiles": measured, "unavailable": unavailable, "notes": outcome.notes}, indent=1))
    elif outcome.profiles:
        print(table.text(outcome.profiles), end="")
        for note in outcome.notes:
            print(f"  {note}")
        print(f"{len(outcome.profiles)} profiles in {output_dir / 'profiles'}")
    raise typer.Exit(outcome.exit_code)
