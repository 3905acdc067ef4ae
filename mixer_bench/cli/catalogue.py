"""The verbs that say what there is: list, show, explain."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from mixer_bench.cli.options import DataDir, ImageColumn, Include, LabelColumn, Results, results_folder
from mixer_bench.errors import UsageError


def list_(
    what: Annotated[Literal["tasks", "models", "protocols"], typer.Argument(help="What to list.")],
    family: Annotated[str | None, typer.Option(help="Models of a family: mixer, vit, resnet, ...")] = None,
    pretrain: Annotated[str | None, typer.Option(help="Models pre-trained on in21k, in1k, ...")] = None,
    include: Include = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """The tasks, models or protocols there are."""
    from mixer_bench.cli import describe

    if (family or pretrain) and what != "models":
        raise UsageError("--family and --pretrain choose among models")
    print(describe.listing(what, include or [], as_json, family, pretrain), end="")


def show(
    what: Annotated[Literal["task", "model", "protocol"], typer.Argument(help="What to show.")],
    name: Annotated[str, typer.Argument(help="Its name.")],
    preset: Annotated[str | None, typer.Option(help="Of finetune: its settings, and what differs.")] = None,
    include: Include = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """All there is to know about one task, model or protocol."""
    from mixer_bench.cli import describe

    print(describe.one(what, name, include or [], as_json, preset), end="")


def explain(
    record: Annotated[str, typer.Argument(metavar="RUN", help="A record's file, or the start of its key.")],
    results: Results = None,
    include: Include = None,
    data_dir: DataDir = None,
    task: Annotated[
        str | None,
        typer.Option(help="Where images of your own lie: folder, list, hf:owner/name.", show_default=False),
    ] = None,
    image: ImageColumn = None,
    label: LabelColumn = None,
) -> None:
    """Whether a stored record is what would be measured today, and if not, what has changed."""
    from mixer_bench.data import names
    from mixer_bench.runs import explain as explain_module

    own = None
    if task is not None:
        (own,) = names.chosen_tasks([task], include or [], names.Columns(image, label))
    text, current = explain_module.explain(record, results_folder(results), include or [], data_dir, own)
    print(text, end="")
    raise typer.Exit(0 if current else 1)
