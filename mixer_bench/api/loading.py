"""Functions that load a task's images, and a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mixer_bench import data
from mixer_bench.data.names import chosen_tasks
from mixer_bench.models import names

if TYPE_CHECKING:
    from mixer_bench.models.backbone import Backbone


def load_task(name: str, data_dir: str | Path | None = None) -> data.TaskData:
    """Return the images and labels of a task.

    Args:
        name: a task, a folder of class folders, a list, or hf:owner/name.
        data_dir: root of images on disk; None: MIXER_BENCH_DATA, else ``data``.

    Returns:
        Splits ``train``, ``val`` and ``test``: ``images[i]`` is uint8 [height, width, 3], decoded when asked for, and
        ``labels`` int64 [N], numbers of ``class_names``.

    Raises:
        UsageError: there is no such task.
        DataError: none of its sources is here, or one is not what the task file says.
    """
    return data.load(chosen_tasks([name])[0], Path(data_dir) if data_dir else None)


def load_model(name: str, device: str = "auto") -> Backbone:
    """Return a model ready to compute features, with its checkpoint's own preprocessing.

    Args:
        name: as ``run`` takes it.
        device: auto, cpu, cuda, cuda:1, ...

    Raises:
        UsageError: there is no such model.
        WeightsError: its weights are missing, damaged, partial, or another network's.
    """
    from mixer_bench.models import backbone
    from mixer_bench.models import device as device_module

    card = names.card(name)
    return backbone.load(card, card.preprocessing, device_module.pick_device(device))
