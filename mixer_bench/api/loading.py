"""Functions that load a task's images, and a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mixer_bench import data
from mixer_bench.data import decoding
from mixer_bench.data.examples import Examples
from mixer_bench.data.names import chosen_tasks
from mixer_bench.errors import DataError, UsageError
from mixer_bench.models import names
from mixer_bench.models.card import Card
from mixer_bench.models.preprocessing import Resize
from mixer_bench.system import files

if TYPE_CHECKING:
    from mixer_bench.models.backbone import Backbone

Array = np.ndarray
IMAGE_AXES, CHANNELS = 3, 3


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


class Model:
    """A model in memory, its weights frozen; ``card`` says what it is, and ``backbone`` is what computes."""

    def __init__(self, backbone: Backbone, card: Card) -> None:
        """Keep what ``load_model`` loaded."""
        self.backbone, self.card = backbone, card

    def features(self, images: Examples | Sequence[Any], resize: Resize | None = None, batch_size: int = 64) -> Array:
        """Return the features of images before the classifier, prepared as a run prepares them.

        Args:
            images: a split of a task (``load_task(name).test``), or a list of images of any size: files, PIL images,
                uint8 arrays [height, width, 3] or tensors [3, height, width]; or all in one array or tensor. Values
                are 0 to 255: normalising is a part of this.
            resize: "crop" is the checkpoint's own evaluation, "squash" ignores the aspect ratio; None: as the task has
                it, else "crop".
            batch_size: images that go through the network at a time.

        Returns:
            float32 [N, D].

        Raises:
            UsageError: one image that is in no list, or values that are no uint8.
            DataError: a file cannot be decoded as an image.
        """
        from mixer_bench.runs import squares

        if not isinstance(images, Examples):
            given = _Given(images)
            images = Examples(given, np.zeros(len(given), np.int64), (), ())
        prepared = self.card.preprocessing.for_task(resize or images.resize or "crop")
        ahead = squares.READ_AHEAD if self.backbone.overlaps else 0
        batches = squares.batches(images, prepared, batch_size, ahead)
        parts = [self.backbone.features(batch) for batch in batches]
        return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


class _Given:
    """Images that somebody has at hand, each turned to uint8 [height, width, 3] when it is asked for."""

    def __init__(self, images: Sequence[Any]) -> None:
        if isinstance(images, str | Path | Image.Image) or getattr(images, "ndim", 4) == IMAGE_AXES:
            raise UsageError("features of one image: put it into a list, [image]")
        if not (hasattr(images, "__len__") and hasattr(images, "__getitem__")):
            raise UsageError(
                f"images are a {type(images).__name__}: give a list of them, or a task's split (task.test)"
            )
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Array:
        image = self._images[index]
        if isinstance(image, str | Path):
            try:
                return decoding.decode(files.read(Path(image)), f"{image}")
            except OSError as error:
                raise DataError(f"{image}: {error.strerror}") from None
        if isinstance(image, Image.Image):
            return np.asarray(decoding.rgb(image, f"image {index}"))
        if isinstance(image, tuple):
            raise UsageError(f"image {index} is a tuple, perhaps with its label: give the images alone")
        values = np.asarray(image.cpu() if hasattr(image, "cpu") else image)
        if values.ndim == IMAGE_AXES and values.shape[0] == CHANNELS != values.shape[2]:  # as torchvision has them
            values = values.transpose(1, 2, 0)
        if values.dtype != np.uint8 or values.ndim != IMAGE_AXES or values.shape[2] != CHANNELS:
            raise UsageError(
                f"image {index} is {values.dtype} {list(values.shape)}; give uint8 of 0 to 255, [height, width, 3] or "
                "[3, height, width]: it is resized and normalised here"
            )
        return values


def load_model(name: str, device: str = "auto") -> Model:
    """Return a model ready to compute features of images, prepared as its checkpoint's own evaluation has it.

    Args:
        name: as ``run`` takes it.
        device: auto, cpu, cuda, cuda:1, ...

    Returns:
        A model with ``features(images)``, float32 [N, D] of files, PIL images, arrays, tensors or a task's split, and
        ``card``: what it is, and how images are prepared for it.

    Raises:
        UsageError: there is no such model.
        WeightsError: its weights are missing, damaged, partial, or another network's.
    """
    from mixer_bench.models import backbone
    from mixer_bench.models import device as device_module

    card = names.card(name)
    return Model(backbone.load(card, card.preprocessing, device_module.pick_device(device)), card)
