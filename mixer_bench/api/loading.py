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
    """Return the images and labels of a task, by its name or as a folder, a list or a hub address."""
    return data.load(chosen_tasks([name])[0], Path(data_dir) if data_dir else None)


def load_model(name: str, device: str = "auto") -> Backbone:
    """Return a model ready to compute features, with its checkpoint's own preprocessing."""
    from mixer_bench.models import backbone
    from mixer_bench.models import device as device_module

    card = names.card(name)
    return backbone.load(card, card.preprocessing, device_module.pick_device(device))
