"""The verbs that get things ready: ``prepare`` and ``doctor``."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from mixer_bench.cli.options import Json, read, takes
from mixer_bench.errors import DataError, UsageError
from mixer_bench.runs.options import Options

# Options that say where images are, and how they are read.
IMAGES = (
    "data_dir",
    "image",
    "label",
    "skip_bad",
    "follow_links",
    "source",
    "include",
    "allow_outside",
)


@takes(Options, "task", "model", *IMAGES, "import_files")
def prepare(
    *, as_json: Annotated[bool, typer.Option("--json", help="End with a summary in JSON.")] = False, **flags: Any
) -> None:
    """Fetch and check images and weights ahead; ``run --offline`` then needs no network. Broken off, it goes on.

    Where nothing official is at hand the makers' archives are fetched into the data folder; ``--source originals`` or
    ``--source torchvision`` takes these alone; ``--source tfds`` asks TFDS's public bucket for what it has prepared.
    """
    from mixer_bench.models.names import import_files
    from mixer_bench.runs import prepare as preparing
    from mixer_bench.runs.request import tasks_of
    from mixer_bench.system import paths
    from mixer_bench.system.console import tell

    options = read(Options, flags)
    if not (options.task or options.model):
        raise UsageError("name what is to be prepared: --task, --model or both")
    import_files(options.import_files)
    tasks = tasks_of(options) if options.task else []
    done = preparing.Preparation(options.data_dir, tell, quiet=as_json)
    done.prepare_tasks(tasks, download=options.source)
    done.prepare_models(options.model)
    if as_json:
        print(json.dumps(done.summary(), indent=1))
        raise typer.Exit(done.exit_code)
    if options.model:
        print(f"{len(done.models)} of {len(options.model)} models prepared")
    if tasks:
        lists = paths.cache_dir() / "manifests"
        print(f"{len(done.manifests)} of {len(tasks)} tasks prepared; lists of their images: {lists}")
    raise typer.Exit(done.exit_code)


@takes(Options, "task", "model", *IMAGES, "import_files", "device")
def doctor(
    *,
    as_json: Json = False,
    cross_check: Annotated[
        bool,
        typer.Option("--cross-check", help="Compare all images of VTAB's slices where two sources of them are here."),
    ] = False,
    **flags: Any,
) -> None:
    """Which sources of the tasks (default: all) are here, and whether they are what the task files say.

    Fetches nothing. ``--model M --task FOLDER`` judges M by its own classifier instead, on a folder of class folders
    called by WordNet's numbers (n01440764) or by outputs (0 to 999): a few hundred of ImageNet's images, or fewer.
    """
    if flags["model"]:
        _check_up(read(Options, flags), as_json)
    from mixer_bench.data import doctor as examining
    from mixer_bench.runs.request import tasks_of
    from mixer_bench.system import network

    network.allow(False)
    options = read(Options, {**flags, "task": flags["task"] or ["*"]})
    tasks = tasks_of(options)
    findings = examining.examine(tasks, options.data_dir, cross_check)
    notes = examining.whole_vtab(tasks, options.data_dir)
    if as_json:
        values = {"findings": [finding.model_dump(mode="json") for finding in findings], "notes": notes}
        print(json.dumps(values, indent=1))
    else:
        print(examining.text(findings, notes), end="")
    raise typer.Exit(examining.exit_code(findings))


def _check_up(options: Options, as_json: bool) -> None:
    from mixer_bench.models.names import import_files
    from mixer_bench.runs import checkup
    from mixer_bench.system.paths import expanded

    if len(options.task) != 1:
        raise UsageError("--model M goes with one folder of images of known classes: --task ./FOLDER")
    import_files(options.import_files)
    done = [checkup.examine(model, expanded(options.task[0]), options.device) for model in options.model]
    if as_json:
        print(json.dumps([each.model_dump(mode="json") for each in done], indent=1))
    else:
        print("\n".join(map(checkup.text, done)), end="")
    raise typer.Exit(max(DataError.exit_code if each.state == "doubtful" else 0 for each in done))
