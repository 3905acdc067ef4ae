"""The verb pretrain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import PositiveInt

from mixer_bench.cli.options import read, takes
from mixer_bench.errors import UsageError
from mixer_bench.system import schema
from mixer_bench.system.options import UserPath, option
from mixer_bench.system.paths import real


class Options(schema.Frozen):
    """What a user asks of ``pretrain``."""

    data: UserPath | None = option(
        None, "Images: a folder in the hub's layout, or of train and val class folders. Needed."
    )
    output: UserPath = option(Path("pretraining"), "Folder for checkpoint, weights and record.")
    settings: dict[str, Any] = option({}, "A setting of the recipe, key=value; repeatable.", flag="set")
    image: str = option("image", "Image column of a data set in the hub's layout.")
    label: str = option("label", "Class column of a data set in the hub's layout.")
    name: str | None = option(None, "What the record calls the images.", shown="the folder's name")
    terms: str = option("unknown", "Their terms of use, for the record.")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, ...")
    threads: PositiveInt | None = option(None, "CPU threads.", shown="as torch decides")


@takes(Options)
def pretrain(
    *, model: Annotated[str, typer.Argument(help="A model of the zoo with an architecture.")], **flags: Any
) -> None:
    """Train a backbone from scratch with MLP-Mixer's recipe; killed, the same command goes on."""
    options = read(Options, flags)
    if options.data is None:
        raise UsageError("--data: name a folder of images")
    import torch

    from mixer_bench.models import device as device_module
    from mixer_bench.models import names
    from mixer_bench.training import pretrain as pretraining

    card = names.card(model)
    recipe = schema.validated("setting of the recipe", pretraining.Recipe, options.settings)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = device_module.pick_device(options.device)
    splits = pretraining.read_images(options.data, (options.image, options.label))
    source = (options.name or real(options.data).name, options.terms)
    weights = pretraining.pretrain(card, splits, recipe, options.output, device, source)
    print(f"weights and record: {weights}")
