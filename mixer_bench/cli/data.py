"""The verbs that get things ready: ``prepare`` and ``doctor``."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from mixer_bench.cli.options import Json, given, read, takes
from mixer_bench.errors import DataError
from mixer_bench.runs.options import IMAGES, Options
from mixer_bench.system.network import first_line


@takes(Options, "task", "model", *IMAGES, "import_files")
def prepare(
    *, as_json: Annotated[bool, typer.Option("--json", help="End with a summary in JSON.")] = False, **flags: Any
) -> None:
    """Fetch and check images and weights ahead; ``run --offline`` then needs no network. Broken off, it goes on.

    Where nothing official is at hand the makers' archives are fetched into the data folder; ``--source originals`` or
    ``--source torchvision`` takes these alone; ``--source tfds`` asks TFDS's public bucket for what it has prepared.
    """
    from mixer_bench.api import measuring
    from mixer_bench.system import paths
    from mixer_bench.system.console import tell

    options = read(Options, flags)
    done = measuring.prepared(options, tell, quiet=as_json)
    if as_json:
        print(json.dumps(done.summary(), indent=1))
        raise typer.Exit(done.exit_code)
    if options.model:
        print(f"{len(done.models)} of {len(done.asked)} models prepared")
    if done.tasks:
        lists = paths.cache_dir() / "manifests"
        print(f"{len(done.manifests)} of {done.tasks} tasks prepared; lists of their images: {lists}")
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
    from mixer_bench.api import measuring
    from mixer_bench.data import doctor as examining
    from mixer_bench.runs import checkup
    from mixer_bench.system import machine, surroundings

    done = measuring.doctor(cross_check=cross_check, **given(flags))
    if done.checkups:
        if as_json:
            print(json.dumps([each.model_dump(mode="json") for each in done.checkups], indent=1))
        else:
            print("\n".join(map(checkup.text, done.checkups)), end="")
        raise typer.Exit(max(DataError.exit_code if each.state == "doubtful" else 0 for each in done.checkups))
    if as_json:
        findings = [finding.model_dump(mode="json") for finding in done.findings]
        around = {"device": _device(), **surroundings.told()}
        values = {
            "findings": findings,
            "notes": done.notes,
            "environment": machine.unchanging(),
            "surroundings": around,
        }
        print(surroundings.portable(json.dumps(values, indent=1), DATA=read(Options, flags).data_dir))
    else:
        print(examining.text(done.findings, done.notes), end="")
    raise typer.Exit(examining.exit_code(done.findings))


def _device() -> str:
    try:
        from mixer_bench.models import device
    except (ImportError, OSError) as error:  # torch is not here, or what it links to is not
        return f"none: {first_line(error)}"
    return device.seen()
