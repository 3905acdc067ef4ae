"""The verb profile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import BeforeValidator

from mixer_bench.cli.options import read, takes
from mixer_bench.errors import UsageError
from mixer_bench.system.machine import Precision
from mixer_bench.system.options import Names, Numbers, Paths, UserPath, option
from mixer_bench.system.schema import Frozen

Sizes = Annotated[Numbers, BeforeValidator(lambda sizes: () if sizes == "auto" else sizes)]


class Options(Frozen):
    """What a user asks of ``profile``."""

    model: Names = option((), "Models as in run: names, commas; weights are not needed.", short="-m")
    resolution: Numbers = option((), "Input sizes in pixels, e.g. 224,448.", shown="each model's own")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, ...")
    precision: Literal["auto", Precision] = option("auto", "auto: what the device computes fastest in.")
    batch_sizes: Sizes = option((), "Images a forward pass, e.g. 1,8,64; auto looks for the fastest.", shown="auto")
    output_dir: UserPath = option(Path("results"), "Results folder.", variable="MIXER_BENCH_RESULTS")
    compile: bool = option(False, "Compile the networks (torch.compile); kept beside eager profiles.")
    import_files: Paths = option((), "A Python file with networks of your own; repeatable.", flag="import")


@takes(Options)
def profile(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profiles as JSON.")] = False,
    **flags: Any,
) -> None:
    """Throughput, latency, memory and FLOPs of models on this machine; measuring again replaces what is there."""
    from mixer_bench.models import names
    from mixer_bench.profile import profile as profiling
    from mixer_bench.profile import table
    from mixer_bench.results.store import Store
    from mixer_bench.system.console import tell
    from mixer_bench.system.progress import ProgressLog

    options = read(Options, flags)
    if not options.model:
        raise UsageError("--model: name a model")
    names.import_files(options.import_files)
    jobs, outcome = profiling.jobs(options.model, options.resolution)
    if jobs:
        Store(options.output_dir).check_writable()
        machine = profiling.machine(options.device, options.precision, options.compile)
        with ProgressLog(len(jobs), quiet=as_json) as log:
            profiling.execute(jobs, machine, options.batch_sizes or None, options.output_dir, log, outcome)
    for error in outcome.unavailable:
        tell(f"error: {error}")
    if as_json:
        measured = [profile.model_dump(mode="json") for profile in outcome.profiles]
        unavailable = [str(error) for error in outcome.unavailable]
        print(json.dumps({"profiles": measured, "unavailable": unavailable, "notes": outcome.notes}, indent=1))
    elif outcome.profiles:
        print(table.text(outcome.profiles), end="")
        for note in outcome.notes:
            print(f"  {note}")
        print(f"{len(outcome.profiles)} profiles in {options.output_dir / 'profiles'}")
    raise typer.Exit(outcome.exit_code)
