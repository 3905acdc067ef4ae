"""The verbs that get things ready: ``prepare`` and ``doctor``. Arguments in, calls out, as in ``cli``."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from mixer_bench.cli.options import DataDir, ImageColumn, Include, LabelColumn, SourceKind, stay_offline
from mixer_bench.errors import UsageError


def prepare(
    task: Annotated[list[str] | None, typer.Option("--task", "-t", help="Tasks as in run.", show_default=False)] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Models as in run: their weights.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
    image: ImageColumn = None,
    label: LabelColumn = None,
    source: SourceKind = None,
    include: Include = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with a summary in JSON.")] = False,
) -> None:
    """Fetch and check images and weights ahead; ``run --offline`` then needs no network. Broken off, it goes on.

    ``--source torchvision`` fetches original files into the data folder.
    """
    from mixer_bench.data import names
    from mixer_bench.runs import prepare as preparing
    from mixer_bench.system import paths

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    if not (task or model):
        raise UsageError("name what is to be prepared: --task, --model or both")
    columns = names.Columns(image, label)
    tasks = names.chosen_tasks(names.parts(task), include or [], columns, source) if task else []
    models = names.parts(model or [])
    done = preparing.prepare(
        tasks,
        data_dir or paths.data_dir(),
        say,
        download=source == "torchvision",
        quiet=as_json,
    )
    preparing.prepare_models(models, say, done)
    if as_json:
        manifests = {name: str(file) for name, file in done.manifests.items()}
        unavailable = [str(error) for error in done.unavailable]
        print(json.dumps({"manifests": manifests, "models": done.models, "unavailable": unavailable}, indent=1))
        raise typer.Exit(done.exit_code)
    if models:
        print(f"{len(done.models)} of {len(models)} models prepared")
    if tasks:
        lists = paths.cache_dir() / "manifests"
        print(f"{len(done.manifests)} of {len(tasks)} tasks prepared; lists of their images: {lists}")
    raise typer.Exit(done.exit_code)


def doctor(
    task: Annotated[
        list[str] | None, typer.Option("--task", "-t", help="Tasks as in run (default: all).", show_default=False)
    ] = None,
    data_dir: DataDir = None,
    image: ImageColumn = None,
    label: LabelColumn = None,
    source: SourceKind = None,
    include: Include = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Which sources of the tasks are here, and whether they are what the task files say. Fetches nothing."""
    from mixer_bench.data import doctor as examining
    from mixer_bench.data import names
    from mixer_bench.system import paths

    stay_offline(True)
    where = data_dir or paths.data_dir()
    tasks = names.chosen_tasks(names.parts(task or ["*"]), include or [], names.Columns(image, label), source)
    findings = examining.examine(tasks, where)
    notes = examining.whole_vtab(tasks, where)
    if as_json:
        values = {"findings": [found.model_dump(mode="json") for found in findings], "notes": notes}
        print(json.dumps(values, indent=1))
    else:
        print(examining.text(findings, notes), end="")
    raise typer.Exit(examining.exit_code(findings))
