"""The verb run."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Literal

import typer

from mixer_bench.cli.options import (
    DataDir,
    Device,
    ImageColumn,
    Include,
    LabelColumn,
    Offline,
    PrecisionName,
    Results,
    SourceKind,
    TaskNames,
    numbers,
    results_folder,
    settings,
    stay_offline,
)
from mixer_bench.errors import UsageError


def run(
    task: TaskNames,
    model: Annotated[
        list[str],
        typer.Option(
            "--model", "-m", help="Models: names, commas; random:NAME, timm:NAME.TAG, file:PATH?arch=NAME, ..."
        ),
    ],
    protocol: Annotated[
        list[str] | None, typer.Option("--protocol", "-p", help="Protocols (default: fewshot,finetune).")
    ] = None,
    shots: Annotated[
        str | None, typer.Option(help="Images a class for fewshot, e.g. 1,5,10 (default: 1,5,10,25).")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many seeds, from 0 up.")] = 3,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most N examples a split; never mixed with full runs.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Published setting of finetune (default: mixer-paper).", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A protocol's setting, key=value; repeatable.")
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(min=8, help="Input size in pixels (default: each model's own).", show_default=False)
    ] = None,
    device: Device = "auto",
    precision: PrecisionName = "auto",
    batch_size: Annotated[str, typer.Option(help="Images a forward pass; auto goes by device.")] = "auto",
    data_dir: DataDir = None,
    image: ImageColumn = None,
    label: LabelColumn = None,
    source: SourceKind = None,
    offline: Offline = False,
    output_dir: Results = None,
    include: Include = None,
    overwrite: Annotated[
        Literal["never", "failed", "always"], typer.Option(help="Which runs to do again: none, failed ones, all.")
    ] = "failed",
    save_model: Annotated[
        bool, typer.Option("--save-model", help="Keep finetuned networks beside their records; file: loads them.")
    ] = False,
    compile_: Annotated[bool, typer.Option("--compile", help="torch.compile networks that are trained.")] = False,
    gpus_per_run: Annotated[
        int, typer.Option(min=1, help="GPUs, or CPU processes, that train one network together.")
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with a summary in JSON.")] = False,
) -> None:
    """Measure models on tasks; what is there already is not computed again."""
    from mixer_bench.data import names
    from mixer_bench.runs import command as command_module
    from mixer_bench.runs import request

    stay_offline(offline)
    if gpus_per_run > 1 and "RANK" not in os.environ and not dry_run:
        from mixer_bench.training import distributed

        raise typer.Exit(distributed.spawn(gpus_per_run, sys.argv[1:]))
    batch_sizes = [None] if batch_size == "auto" else numbers("--batch-size", batch_size)
    if len(batch_sizes) > 1:
        raise UsageError(f"--batch-size {batch_size}: one number, or auto")
    done = command_module.run_command(
        request.request(
            tasks=names.parts(task),
            models=names.parts(model),
            protocols=names.parts(protocol or request.PROTOCOLS),
            settings=settings(set_ or []),
            shots=numbers("--shots", shots),
            seeds=seeds,
            limit=limit,
            overwrite=overwrite,
            data_dir=data_dir,
            include=include or [],
            columns=names.Columns(image, label),
            source=source,
            resolution=resolution,
            precision=request.precision_for(precision, device),
            preset=preset,
        ),
        results_folder(output_dir),
        device=device,
        batch_size=batch_sizes[0],
        dry_run=dry_run,
        quiet=as_json,
        training=command_module.Training(save_model, compile_),
    )
    if as_json:
        print(json.dumps(done.summary(), indent=1))
    raise typer.Exit(done.exit_code)
