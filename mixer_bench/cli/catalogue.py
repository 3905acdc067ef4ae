"""The verbs that say what there is: list, show, explain."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from mixer_bench.cli.options import DATA, RESULTS, DataDir, ImageColumn, Import, Include, Json, LabelColumn, Results
from mixer_bench.errors import UsageError


def list_(
    what: Annotated[Literal["tasks", "models", "protocols"], typer.Argument(help="What to list.")],
    family: Annotated[str | None, typer.Option(help="Models of a family: mixer, vit, resnet, ...")] = None,
    pretrain: Annotated[str | None, typer.Option(help="Models pre-trained on in21k, in1k, ...")] = None,
    include: Include = [],  # noqa: B006
    import_: Import = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """The tasks, models or protocols there are."""
    from mixer_bench.cli import describe
    from mixer_bench.models import names

    if (family or pretrain) and what != "models":
        raise UsageError("--family and --pretrain choose among models")
    own = names.import_files(import_)
    entries = describe.entries(what, include, family, pretrain, own)
    print(json.dumps(entries, indent=1) + "\n" if as_json else describe.listing(what, entries), end="")


def show(
    what: Annotated[Literal["task", "model", "protocol"], typer.Argument(help="What to show.")],
    name: Annotated[str, typer.Argument(help="Its name.")],
    preset: Annotated[str | None, typer.Option(help="Of finetune: its settings, and what differs.")] = None,
    include: Include = [],  # noqa: B006
    import_: Import = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """All there is to know about one task, model or protocol."""
    from mixer_bench.cli import describe
    from mixer_bench.models import names

    names.import_files(import_)
    entry = describe.entry(what, name, include, preset)
    print(json.dumps(entry, indent=1) if as_json else "\n".join(describe.lines(entry)))


def explain(
    record: Annotated[str, typer.Argument(metavar="RUN", help="A record's file, or the start of its key.")],
    results: Results = RESULTS,
    include: Include = [],  # noqa: B006
    import_: Import = [],  # noqa: B006
    data_dir: DataDir = DATA,
    task: Annotated[
        str | None,
        typer.Option(help="Where images of your own lie: folder, list, hf:owner/name.", show_default=False),
    ] = None,
    image: ImageColumn = None,
    label: LabelColumn = None,
) -> None:
    """Whether a stored record is what would be measured today, and if not, what has changed."""
    from mixer_bench.data import names
    from mixer_bench.models.names import import_files
    from mixer_bench.runs import explain as explaining

    import_files(import_)
    file = explaining.find(record, results)
    tasks = names.chosen_tasks([task], include, names.Columns(image, label)) if task is not None else [None]
    text, current = explaining.explain(file, tasks[0], include, data_dir)
    print(text, end="")
    raise typer.Exit(0 if current else 1)
