"""The verbs that get things ready: ``prepare`` and ``doctor``."""

from __future__ import annotations

import functools
import json
import sys
from typing import Annotated

import typer

from mixer_bench.cli.options import DATA, DataDir, ImageColumn, Include, Json, LabelColumn, SourceKind
from mixer_bench.errors import UsageError


def prepare(
    task: Annotated[list[str] | None, typer.Option("--task", "-t", help="Tasks as in run.", show_default=False)] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Models as in run: their weights.", show_default=False)
    ] = None,
    data_dir: DataDir = DATA,
    image: ImageColumn = None,
    label: LabelColumn = None,
    source: SourceKind = None,
    include: Include = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="End with a summary in JSON.")] = False,
) -> None:
    """Fetch and check images and weights ahead; ``run --offline`` then needs no network. Broken off, it goes on.

    ``--source torchvision`` fetches original files into the data folder.
    """
    from mixer_bench.data import names
    from mixer_bench.runs import prepare as preparing
    from mixer_bench.system import paths
    from mixer_bench.system.schema import parts

    if not (task or model):
        raise UsageError("name what is to be prepared: --task, --model or both")
    columns = names.Columns(image, label)
    tasks = names.chosen_tasks(parts(task), include, columns, source) if task else []
    done = preparing.Preparation(data_dir, functools.partial(print, file=sys.stderr), quiet=as_json)
    done.prepare_tasks(tasks, download=source == "torchvision")
    done.prepare_models(models := parts(model or []))
    if as_json:
        print(json.dumps(done.summary(), indent=1))
        raise typer.Exit(done.exit_code)
    if models:
        print(f"{len(done.models)} of {len(models)} models prepared")
    if tasks:
        lists = paths.cache_dir() / "manifests"
        print(f"{len(done.manifests)} of {len(tasks)} tasks prepared; lists of their images: {lists}")
    raise typer.Exit(done.exit_code)


def doctor(
    task: Annotated[list[str], typer.Option("--task", "-t", help="Tasks as in run.", show_default="all")] = ["*"],  # noqa: B006
    data_dir: DataDir = DATA,
    image: ImageColumn = None,
    label: LabelColumn = None,
    source: SourceKind = None,
    include: Include = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Which sources of the tasks are here, and whether they are what the task files say. Fetches nothing."""
    from mixer_bench.data import doctor as examining
    from mixer_bench.data import names
    from mixer_bench.system import network
    from mixer_bench.system.schema import parts

    network.allow(False)
    tasks = names.chosen_tasks(parts(task), include, names.Columns(image, label), source)
    findings = examining.examine(tasks, data_dir)
    notes = examining.whole_vtab(tasks, data_dir)
    if as_json:
        values = {"findings": [finding.model_dump(mode="json") for finding in findings], "notes": notes}
        print(json.dumps(values, indent=1))
    else:
        print(examining.text(findings, notes), end="")
    raise typer.Exit(examining.exit_code(findings))
