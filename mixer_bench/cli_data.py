"""The verbs about pictures: ``prepare`` and ``doctor``. Arguments in, calls out, as in ``cli``."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from mixer_bench.cli_options import (
    DataDir,
    ImageColumn,
    Include,
    LabelColumn,
    SourceKind,
    TaskNames,
    stay_offline,
)


def prepare(
    task: TaskNames,
    data_dir: DataDir = None,
    image: ImageColumn = None,
    label: LabelColumn = None,
    source: SourceKind = None,
    include: Include = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with a summary in JSON.")] = False,
) -> None:
    """Fetch and decode pictures ahead; afterwards ``run --offline`` needs no network. Broken off, it goes on.

    ``--source torchvision`` fetches original files into the data folder.
    """
    from mixer_bench import places, task_names
    from mixer_bench import prepare as preparing

    tasks = task_names.chosen_tasks(task_names.parts(task), include or [], task_names.Columns(image, label), source)
    done = preparing.prepare(
        tasks,
        data_dir or places.data_dir(),
        lambda text: print(text, file=sys.stderr),
        download=source == "torchvision",
        quiet=as_json,
    )
    if as_json:
        manifests = {name: str(file) for name, file in done.manifests.items()}
        print(json.dumps({"manifests": manifests, "unavailable": [str(error) for error in done.unavailable]}, indent=1))
    else:
        lists = places.cache_dir() / "manifests"
        print(f"{len(done.manifests)} of {len(tasks)} tasks prepared; lists of their pictures: {lists}")
    raise typer.Exit(done.exit_code)


def doctor(
    task: Annotated[
        list[str] | None, typer.Option("--task", "-t", help="Tasks as in run [default: all].", show_default=False)
    ] = None,
    data_dir: DataDir = None,
    image: ImageColumn = None,
    label: LabelColumn = None,
    source: SourceKind = None,
    include: Include = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Which sources of the tasks are here, and whether they are what the task files say. Fetches nothing."""
    from mixer_bench import doctor as examining
    from mixer_bench import places, task_names

    stay_offline(True)
    where = data_dir or places.data_dir()
    tasks = task_names.chosen_tasks(
        task_names.parts(task or ["*"]), include or [], task_names.Columns(image, label), source
    )
    findings = examining.examine(tasks, where)
    notes = examining.whole_vtab(tasks, where)
    if as_json:
        values = {"findings": [found.model_dump(mode="json") for found in findings], "notes": notes}
        print(json.dumps(values, indent=1))
    else:
        print(examining.text(findings, notes), end="")
    raise typer.Exit(examining.exit_code(findings))
