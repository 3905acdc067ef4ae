"""The verbs that say what there is: list, show, explain."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer

from mixer_bench.cli.completing import of_what
from mixer_bench.cli.options import RESULTS, Json, Results, given, takes
from mixer_bench.runs.options import Options


@takes(Options, "include", "import_files")
def list_(
    *,
    what: Annotated[Literal["tasks", "models", "protocols"], typer.Argument(help="What to list.")],
    family: Annotated[str | None, typer.Option(help="Models of a family: mixer, vit, resnet, ...")] = None,
    pretrain: Annotated[str | None, typer.Option(help="Models pre-trained on in21k, in1k, ...")] = None,
    as_json: Json = False,
    **flags: Any,
) -> None:
    """The tasks, models or protocols there are."""
    from mixer_bench.api import catalogue

    entries = catalogue.list_(what, family, pretrain, **given(flags))
    print(json.dumps(entries, indent=1) + "\n" if as_json else catalogue.listing(what, entries), end="")


@takes(Options, "include", "import_files")
def show(
    *,
    what: Annotated[Literal["task", "model", "protocol"], typer.Argument(help="What to show.")],
    name: Annotated[str, typer.Argument(help="Its name.", autocompletion=of_what)],
    preset: Annotated[str | None, typer.Option(help="Of finetune: its settings, and what differs.")] = None,
    as_json: Json = False,
    **flags: Any,
) -> None:
    """All there is to know about one task, model or protocol."""
    from mixer_bench.api import catalogue

    entry = catalogue.show(what, name, preset, **given(flags))
    print(json.dumps(entry, indent=1) if as_json else "\n".join(catalogue.lines(entry)))


@takes(Options, "include", "import_files", "data_dir", "image", "label")
def explain(
    *,
    record: Annotated[str, typer.Argument(metavar="RUN", help="A record's file, or the start of its key.")],
    results: Results = RESULTS,
    task: Annotated[str | None, typer.Option(help="Where images of your own lie: folder, list, hf:owner/name.")] = None,
    **flags: Any,
) -> None:
    """Whether a stored record is what would be measured today, and if not, what has changed."""
    from mixer_bench.api import measuring

    explained = measuring.explain(record, results, task, **given(flags))
    print(explained.text, end="")
    raise typer.Exit(0 if explained.current else 1)
