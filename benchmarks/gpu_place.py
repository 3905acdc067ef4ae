"""Where benchmarks/gpu.py measures, with what images, and what a figure is."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from mixer_bench.data.decoding import pool
from mixer_bench.data.examples import Examples
from mixer_bench.data.readers import folder as folder_reader
from mixer_bench.models import backbone, names
from mixer_bench.models.backbone import Backbone
from mixer_bench.models.matrices import Resizer
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.system.machine import Precision
from mixer_bench.task.sources import FolderSource


class Figure(NamedTuple):
    """A number, what it is of, and what it should be at least."""

    what: str
    value: float
    unit: str = ""
    least: float | None = None


Figures = Iterator[Figure]


@dataclass(frozen=True)
class Place:
    """Where is measured, with what."""

    device: torch.device
    precision: Precision
    folder: Path  # for images and features
    models: tuple[str, ...]
    batch: int  # of extraction
    training_batch: int
    files: int
    size: tuple[int, int]  # of the files, width and height
    seconds: float = 1.0  # of a measurement, about

    @functools.cached_property
    def preprocessing(self) -> Preprocessing:
        """Of all models, so that they see equal squares."""
        return names.card(self.models[0]).preprocessing.for_task("squash")

    @functools.cached_property
    def examples(self) -> Examples:
        """JPEG files on disk: every fourth is another, the others are links to it."""
        place = self.folder / "images" / "one"
        place.mkdir(parents=True)
        (place.parent / "two").mkdir()
        smooth = np.random.default_rng(0).integers(0, 256, (self.files // 4, 12, 16, 3), np.uint8)
        noise = np.random.default_rng(1).integers(-12, 13, (*self.size[::-1], 3))

        def make(number: int) -> None:
            image = Image.fromarray(smooth[number]).resize(self.size, Image.Resampling.BICUBIC)
            pixels = np.clip(np.asarray(image).astype(np.int16) + noise, 0, 255).astype(np.uint8)
            first = place / f"{number}.jpg"
            Image.fromarray(pixels).save(first, quality=90)
            for other in range(3):
                os.link(first, (place.parent / "two" if other else place) / f"{number}_{other}.jpg")

        list(pool().map(make, range(len(smooth))))
        source = FolderSource(kind="folder", folder="images", layout="flat", subset="official")
        (rows,) = folder_reader.read(source, self.folder).splits.values()
        return Examples.of(rows, upright=True)

    @functools.cached_property
    def resizer(self) -> Resizer:
        """What makes squares on the device of decoded images."""
        return Resizer(self.preprocessing, self.device)

    def load(self, name: str, compiled: bool = False) -> Backbone:
        """Return a model with random weights."""
        return backbone.load(names.card(f"random:{name}"), self.preprocessing, self.device, self.precision, compiled)

    def squares(self, count: int) -> np.ndarray:
        """Return noise that is prepared, uint8 [count, R, R, 3]."""
        side = self.preprocessing.resolution
        return np.random.default_rng(2).integers(0, 256, (count, side, side, 3), np.uint8)
