"""The command line: arguments in, calls out. torch and timm are imported only inside the verbs that need them."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal, NoReturn

import typer

from mixer_bench import cli_catalogue, cli_data, cli_gate, cli_profile, cli_report
from mixer_bench.cli_options import (
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
from mixer_bench.errors import DataError, MixerBenchError, UsageError

INTERRUPTED, TERMINATED = 130, 143
ENDED_EARLY: dict[object, str] = {INTERRUPTED: "interrupted", TERMINATED: "terminated"}

app = typer.Typer(
    help="How well does a pretrained backbone transfer, and is that better than the alternatives?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
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
    batch_size: Annotated[str, typer.Option(help="Pictures a forward pass; auto goes by device.")] = "auto",
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
    from mixer_bench import api, plan, task_names

    stay_offline(offline)
    if gpus_per_run > 1 and "RANK" not in os.environ and not dry_run:
        from mixer_bench import distributed

        raise typer.Exit(distributed.spawn(gpus_per_run, sys.argv[1:]))
    batch_sizes = [None] if batch_size == "auto" else numbers("--batch-size", batch_size)
    if len(batch_sizes) > 1:
        raise UsageError(f"--batch-size {batch_size}: one number, or auto")
    done = api.run_command(
        api.request(
            tasks=task_names.parts(task),
            models=task_names.parts(model),
            protocols=task_names.parts(protocol or plan.PROTOCOLS),
            settings=settings(set_ or []),
            shots=numbers("--shots", shots),
            seeds=seeds,
            limit=limit,
            overwrite=overwrite,
            data_dir=data_dir,
            include=include or [],
            columns=task_names.Columns(image, label),
            source=source,
            resolution=resolution,
            precision=api.precision_for(precision, device),
            preset=preset,
        ),
        results_folder(output_dir),
        device=device,
        batch_size=batch_sizes[0],
        dry_run=dry_run,
        quiet=as_json,
        training=api.Training(save_model, compile_),
    )
    if as_json:
        print(json.dumps(done.summary(), indent=1))
    raise typer.Exit(done.exit_code)


app.command()(cli_data.prepare)
app.command()(cli_data.doctor)
app.command()(cli_profile.profile)


app.command()(cli_report.report)
app.command()(cli_gate.compare)
app.command()(cli_gate.check)
app.command()(cli_gate.merge)
app.command("list")(cli_catalogue.list_)
app.command()(cli_catalogue.show)
app.command()(cli_catalogue.explain)


@app.command()
def pretrain(
    model: Annotated[str, typer.Argument(help="A model of the zoo with an architecture.")],
    data: Annotated[
        Path, typer.Option(help="Pictures: a folder in the hub's layout, or of train and val class folders.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for checkpoint, weights and record.")] = Path("pretraining"),
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the recipe, key=value; repeatable.")
    ] = None,
    image: Annotated[str, typer.Option(help="Picture column of a data set in the hub's layout.")] = "image",
    label: Annotated[str, typer.Option(help="Class column of a data set in the hub's layout.")] = "label",
    name: Annotated[
        str | None, typer.Option(help="What the record calls the pictures (default: the folder's name).")
    ] = None,
    terms: Annotated[str, typer.Option(help="Their terms of use, for the record.")] = "unknown",
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads (default: as torch decides).")] = None,
) -> None:
    """Train a backbone from scratch with MLP-Mixer's recipe; killed, the same command goes on."""
    import torch

    from mixer_bench import backbone, options, zoo
    from mixer_bench import pretrain as pretraining

    card = zoo.card(model)
    recipe = options.validated("setting of the recipe", pretraining.Recipe, settings(set_ or []))
    if threads is not None:
        torch.set_num_threads(threads)
    where = backbone.pick_device(device)
    splits = pretraining.read_pictures(data, (image, label))
    source = (name or data.resolve().name, terms)
    weights = pretraining.with_progress(card, splits, recipe, output, where, source)
    print(f"weights and record: {weights}")


def _hyphens(arguments: list[str]) -> list[str]:
    """``--output_dir`` is ``--output-dir``."""
    return [
        "=".join([head.replace("_", "-"), *rest]) if argument.startswith("--") else argument
        for argument in arguments
        for head, *rest in [argument.split("=", 1)]
    ]


class _Terminated(BaseException):
    """SIGTERM arrived; a BaseException so that no failure handler takes it for a failed run."""


def _on_sigterm(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _Terminated


def _show_notes() -> None:
    """What the package's modules note, such as that they fetch, as plain lines on stderr."""
    notes = logging.getLogger("mixer_bench")
    notes.setLevel(logging.INFO)
    notes.handlers = [logging.StreamHandler(sys.stderr)]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code. Errors are one line on stderr, never a traceback."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    _show_notes()
    command: Any = typer.main.get_command(app)
    code: object = 0
    try:
        command(_hyphens(sys.argv[1:] if arguments is None else arguments))
    except SystemExit as done:  # how typer ends: 0, what a verb's Exit carries, 2 for wrong usage, 130 for Ctrl-C
        code = done.code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except _Terminated:
        code = TERMINATED
    except MixerBenchError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except OSError as error:
        print(f"error: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        code = DataError.exit_code
    if code in ENDED_EARLY:
        print(f"\n{ENDED_EARLY[code]}; what is finished is kept; the same command does the rest", file=sys.stderr)
    return code if isinstance(code, int) else 0


def entry() -> NoReturn:
    """The console script."""
    sys.exit(main())
