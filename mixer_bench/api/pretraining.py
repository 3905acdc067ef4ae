"""The function that trains a backbone from scratch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from mixer_bench.errors import UsageError
from mixer_bench.system import config_file, schema
from mixer_bench.system.options import UserPath, documented, option
from mixer_bench.system.paths import real
from mixer_bench.system.progress import quiet

if TYPE_CHECKING:
    from mixer_bench.system.progress import ProgressLog


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


@documented(Options)
def pretrain(model: str, **options: Any) -> Path:
    """Train a backbone from scratch with MLP-Mixer's recipe; killed, the same call goes on.

    Args:
        model: the name of a model of the zoo with an architecture.
        **options:

    Returns:
        The file of the weights, float16 and without head; beside it lies the record, of the same name in ``.json``.

    Raises:
        DataError: the folder has no images for training or validation.
        UsageError: an unknown model or setting, ``output`` holds a training with others, or the loss became infinite.
    """
    import torch

    asked, _ = config_file.resolved(Options, options)
    threads = torch.get_num_threads()
    try:
        return pretrained(model, asked, quiet)
    finally:
        torch.set_num_threads(threads)


def pretrained(model: str, options: Options, log: Callable[[float], ProgressLog]) -> Path:
    """Train ``model`` as ``options`` say; ``log`` makes what shows loss and time left."""
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
    return pretraining.pretrain(card, splits, recipe, options.output, device, source, log)
