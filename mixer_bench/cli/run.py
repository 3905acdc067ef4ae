"""The verb run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from mixer_bench.cli.options import given, takes
from mixer_bench.errors import UsageError
from mixer_bench.runs.options import Options
from mixer_bench.system.paths import expanded


@takes(Options)
def run(
    *,
    config: Annotated[
        Path | None, typer.Option(help="A TOML or YAML file with these options; a flag goes before it.")
    ] = None,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print each option's value and where it comes from, and stop.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be done, how long it takes and what must be fetched, and stop."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with a summary in JSON.")] = False,
    **flags: Any,
) -> None:
    """Measure models on tasks, both to be named; what is there already is not computed again."""
    from mixer_bench.system import config_file, processes

    options, origins = config_file.resolved(Options, given(flags), config and expanded(config))
    if show_config:
        print(config_file.shown(options, origins), end="")
        return
    from mixer_bench.executors import driver

    started = processes.started()
    if options.gpus_per_run > 1 and started.size not in (1, options.gpus_per_run):
        raise UsageError(f"--gpus-per-run {options.gpus_per_run}: {started.size} processes were started; leave it out")
    if dry_run:
        told = driver.foretell(options, quiet=as_json)
        if as_json:
            print(json.dumps(told.told(), indent=1))
        raise typer.Exit(told.exit_code)
    if driver.trains_together(options) and started.size == 1:
        from mixer_bench.training import launch

        raise typer.Exit(launch.spawn(options.gpus_per_run, sys.argv[1:]))
    done = driver.run(options, quiet=as_json)
    if not started.leads:
        raise typer.Exit  # of several processes the first one's exit code counts, and its words
    print(json.dumps(done.told(), indent=1) + "\n" if as_json else _table(done.records, options.output_dir), end="")
    raise typer.Exit(done.exit_code)


def _table(files: Iterable[str], folder: Path) -> str:
    """Return the verdict on the records that there are of those asked for, and its tables."""
    from mixer_bench.report import report
    from mixer_bench.report.significance import Judge
    from mixer_bench.results.store import Store, read_record
    from mixer_bench.system.console import coloured

    store = Store(folder)
    records = [read_record(file) for file in map(Path, files) if file.is_file()]
    return report.brief(records, store.profiles()[0], Judge(store.answers), coloured()) if records else ""
