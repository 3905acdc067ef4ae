"""The verb pretrain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixer_bench.cli.options import Device


def pretrain(
    model: Annotated[str, typer.Argument(help="A model of the zoo with an architecture.")],
    data: Annotated[
        Path, typer.Option(help="Images: a folder in the hub's layout, or of train and val class folders.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for checkpoint, weights and record.")] = Path("pretraining"),
    set_: Annotated[list[str], typer.Option("--set", help="A setting of the recipe, key=value; repeatable.")] = [],  # noqa: B006
    image: Annotated[str, typer.Option(help="Image column of a data set in the hub's layout.")] = "image",
    label: Annotated[str, typer.Option(help="Class column of a data set in the hub's layout.")] = "label",
    name: Annotated[
        str | None, typer.Option(help="What the record calls the images (default: the folder's name).")
    ] = None,
    terms: Annotated[str, typer.Option(help="Their terms of use, for the record.")] = "unknown",
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads (default: as torch decides).")] = None,
) -> None:
    """Train a backbone from scratch with MLP-Mixer's recipe; killed, the same command goes on."""
    import torch

    from mixer_bench.models import device as device_module
    from mixer_bench.models import names
    from mixer_bench.system import schema
    from mixer_bench.training import pretrain as pretraining

    card = names.card(model)
    recipe = schema.validated("setting of the recipe", pretraining.Recipe, schema.pairs(set_))
    if threads is not None:
        torch.set_num_threads(threads)
    where = device_module.pick_device(device)
    splits = pretraining.read_images(data, (image, label))
    source = (name or data.resolve().name, terms)
    weights = pretraining.pretrain(card, splits, recipe, output, where, source)
    print(f"weights and record: {weights}")
