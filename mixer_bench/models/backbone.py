"""Models in memory, on a device: images to features."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from mixer_bench.models import compiling, networks, weights
from mixer_bench.models.card import Card
from mixer_bench.models.device import (
    autocast,
    beside,
    exact_fp32,
    fetched,
    fitting,
    moment,
    on_device,
    placed,
    seconds_between,
)
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.system.machine import Precision

COMPARED = 16  # images whose features in lower precision are compared with those in fp32


def normalise_(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Compute ``(x / 255 - mean) / std`` of float images [N, 3, R, R] in 0..255, channel by channel, in place.

    In place because fresh memory for every batch costs more than the arithmetic: 34 against 8 us a 64 px image.
    """
    mean, std = _moments(preprocessing.mean, preprocessing.std, images.device)
    return images.sub_(mean).div_(std)


@functools.lru_cache(maxsize=16)  # a device is waited for where it is given numbers: once
def _moments(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(mode=False):  # what it makes could not be trained with
        first, second = (on_device(torch.tensor(values), device).view(1, 3, 1, 1) * 255 for values in (mean, std))
    return first, second


Waiting = Callable[[], tuple[np.ndarray, float]]  # features float32 [N, D], and the seconds that they took


class Backbone:
    """A model in memory, its weights frozen: squares of uint8 to features."""

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        device: torch.device,
        precision: Precision = "fp32",
        notes: tuple[str, ...] = (),
        compiles: bool = False,
    ) -> None:
        """Keep a headless ``network``, in evaluation mode on ``device``; in bf16 or fp16 by autocast.

        One that ``compiles`` does so when it sees a larger batch than before.
        """
        self.preprocessing = preprocessing
        self.device = device
        self.precision = precision
        self.overlaps = device.type != "cpu"
        self.network = placed(network.eval().requires_grad_(requires_grad=False), device)
        self.notes = notes
        self.deviation: float | None = None  # of the features from those in fp32: norm of difference / norm
        self._at_once: int | None = None  # images that fit into memory; None: as many as given
        self._inputs = torch.empty(0)
        self._compiles, self._compiled_for = compiles, 0
        self.card: Card | None = None  # whose network it is

    def classifier(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the classifier of the card's own checkpoint: weights [classes, D] and biases [classes], float32.

        Raises:
            WeightsError: there is none, or it is no linear layer on the features.
        """
        assert self.card is not None
        return networks.classifier(self.card)

    def features(self, squares: np.ndarray | Tensor) -> np.ndarray:
        """Return features before the classifier ("pre_logits") of uint8 [N, R, R, 3], as float32 [N, D].

        Where memory runs out the batch is halved, for good, and ``notes`` says so.

        Raises:
            torch.OutOfMemoryError: even a single image does not fit.
        """
        return self.begin(squares)()[0]

    @exact_fp32()
    @torch.inference_mode()
    def begin(self, squares: np.ndarray | Tensor) -> Waiting:
        """Begin to compute ``features`` of squares, which may be on the device; return what waits for them.

        It gives the seconds of the device's own time as well, without those of compiling. Whoever begins the next batch
        before that leaves CUDA no time to wait.
        """
        if self._compiles and len(squares) > self._compiled_for:
            self._fitting(squares, self.precision)()
            self._compiled_for = len(squares)
        features = self._fitting(squares, self.precision)
        if self.precision == "fp32" or self.deviation is not None:
            return features
        (low, seconds), first = features(), squares[:COMPARED]
        with torch.compiler.set_stance("force_eager") if self._compiles else contextlib.nullcontext():
            exact, _ = self._fitting(first, "fp32")()
        difference = np.linalg.norm(low[: len(first)] - exact)
        self.deviation = float(difference) / max(float(np.linalg.norm(exact)), 1e-12)
        return lambda: (low, seconds)

    def _fitting(self, squares: np.ndarray | Tensor, precision: Precision) -> Waiting:
        size = min(self._at_once or len(squares), len(squares))

        def attempt(at_once: int) -> list[Waiting]:
            if at_once < size:
                self._inputs = torch.empty(0)  # it has the size of the larger batch
            return [self._forward(squares[i : i + at_once], precision) for i in range(0, len(squares), at_once)]

        parts, at_once = fitting(attempt, size, self.device)
        if at_once < size:
            self._at_once = at_once
            halved = f"memory ran out: batches of {at_once} images went through the network at once"
            self.notes = (*(note for note in self.notes if not note.startswith("memory ran out")), halved)

        def wait() -> tuple[np.ndarray, float]:
            rows, seconds = zip(*(part() for part in parts), strict=True)
            return rows[0] if len(rows) == 1 else np.concatenate(rows), sum(seconds)

        return wait

    def _forward(self, squares: np.ndarray | Tensor, precision: Precision) -> Waiting:
        if isinstance(squares, np.ndarray):
            # torch warns of read-only arrays, which is what a decoded image is.
            squares = torch.from_numpy(squares if squares.flags.writeable else squares.copy())
        images = (squares if squares.device.type == "cuda" else beside(squares, self.device)).permute(0, 3, 1, 2)
        start = moment(self.device)
        with autocast(self.device, precision):
            features: Tensor = self.network(normalise_(self._as_floats(images), self.preprocessing))
        rows, end = fetched(features.float()), moment(self.device)
        return lambda: (rows(), seconds_between(start, end))

    def _as_floats(self, images: Tensor) -> Tensor:
        """Turn to float32 in memory that all batches share: fresh pages for each cost 0.2 ms a 224 px image."""
        if self._inputs.shape[1:] != images.shape[1:] or len(self._inputs) < len(images):
            self._inputs = torch.empty_like(images, dtype=torch.float32)
        return self._inputs[: len(images)].copy_(images)


def load(
    card: Card,
    preprocessing: Preprocessing,
    device: torch.device,
    precision: Precision = "fp32",
    compile_it: bool = False,
) -> Backbone:
    """Return the model of a card, ready to compute features of images prepared by ``preprocessing``.

    Raises:
        UsageError: the network is to be compiled and cannot be.
        WeightsError: the checkpoint is missing, damaged, partial, or another network's.
    """
    if card.architecture is None:
        weights.place(card)
        return Backbone(nn.Flatten(), preprocessing, device)
    notes: list[str] = []
    network = networks.body(card, notes.append)
    if compile_it:
        compiling.compiled(network, card.name)
    backbone = Backbone(network, preprocessing, device, precision, tuple(notes), compile_it)
    backbone.card = card
    return backbone
