"""Models in memory, on a device: pictures to features."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mixer_bench import checkpoints, distributed, environment, networks
from mixer_bench.card import Card
from mixer_bench.errors import UsageError
from mixer_bench.preprocessing import Preprocessing
from mixer_bench.record import Precision
from mixer_bench.training import is_out_of_memory

COMPARED = 16  # pictures whose features in lower precision are compared with those in fp32


def normalise_(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """``(x / 255 - mean) / std`` of float images [N, 3, R, R] in 0..255, channel by channel, in place.

    In place because fresh memory for every batch costs more than the arithmetic: 34 against 8 us a 64 px picture.
    """
    mean = torch.tensor(preprocessing.mean, device=images.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(preprocessing.std, device=images.device).view(1, 3, 1, 1) * 255
    return images.sub_(mean).div_(std)


class Backbone:
    """A model in memory, its weights frozen: squares of uint8 to features."""

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        device: torch.device,
        precision: Precision = "fp32",
        notes: tuple[str, ...] = (),
    ) -> None:
        """Keep a headless ``network``, in evaluation mode on ``device``; in bf16 or fp16 by autocast."""
        self.preprocessing = preprocessing
        self.device = device
        self.precision = precision
        self.overlaps = device.type != "cpu"
        self.network = network.eval().requires_grad_(requires_grad=False).to(device)
        self.notes = notes
        self.deviation: float | None = None  # of the features from those in fp32: norm of difference / norm
        self._at_once: int | None = None  # pictures that fit into memory; None: as many as given
        self._inputs = torch.empty(0)

    @torch.inference_mode()
    def features(self, squares: np.ndarray) -> np.ndarray:
        """Features before the classifier ("pre_logits") of uint8 [N, R, R, 3], as float32 [N, D].

        Where memory runs out the batch is halved, for good, and ``notes`` says so.

        Raises:
            torch.OutOfMemoryError: even a single picture does not fit.
        """
        if self.precision != "fp32" and self.deviation is None:
            some = squares[:COMPARED]
            low, exact = self._fitting(some, self.precision), self._fitting(some, "fp32")
            self.deviation = float(np.linalg.norm(low - exact)) / max(float(np.linalg.norm(exact)), 1e-12)
        return self._fitting(squares, self.precision)

    def _fitting(self, squares: np.ndarray, precision: Precision) -> np.ndarray:
        while True:
            size = min(self._at_once or len(squares), len(squares))
            try:
                parts = [self._forward(squares[i : i + size], precision) for i in range(0, len(squares), size)]
                return parts[0] if len(parts) == 1 else np.concatenate(parts)
            except RuntimeError as error:  # OutOfMemoryError is one; a CPU's allocator raises the plain one
                if not is_out_of_memory(error) or size == 1:
                    raise
            # Outside of the handler, where the failed pass's tensors are no longer held by the traceback.
            self._at_once, self._inputs = (size + 1) // 2, torch.empty(0)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            halved = f"memory ran out: batches of {self._at_once} pictures went through the network at once"
            self.notes = (*(note for note in self.notes if not note.startswith("memory ran out")), halved)

    def _forward(self, squares: np.ndarray, precision: Precision) -> np.ndarray:
        # torch warns of read-only arrays, which is what a decoded picture is.
        given = squares if squares.flags.writeable else squares.copy()
        images = torch.from_numpy(given).to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        with autocast(self.device, precision):
            found = self.network(normalise_(self._as_floats(images), self.preprocessing))
        # A copy, since a network that only reshapes gives a view of the memory that the next batch overwrites.
        features: np.ndarray = found.float().cpu().numpy().copy()
        return features

    def _as_floats(self, images: Tensor) -> Tensor:
        """``images`` as float32 in memory that all batches share: fresh pages for each cost 0.2 ms a 224 px picture."""
        if self._inputs.shape[1:] != images.shape[1:] or len(self._inputs) < len(images):
            self._inputs = torch.empty_like(images, dtype=torch.float32)
        return self._inputs[: len(images)].copy_(images)


@dataclass
class Trainable:
    """A card's network to be trained further: what the finetune protocol is given."""

    card: Card
    preprocessing: Preprocessing
    device: torch.device
    precision: Precision
    identity: str
    scratch: Path
    on_heard: Callable[[str, float, bool], object]
    saved_to: Path | None = None  # where the trained network is kept; None: it is not
    compiling: bool = False
    notes: tuple[str, ...] = ()
    _body: nn.Module | None = None

    def network(self, num_classes: int) -> nn.Module:
        """The pretrained network with a classifier that starts at zero (ViT, appendix B.1.1), on the device.

        Raises:
            WeightsError: the checkpoint is missing, damaged, partial, or another network's.
        """
        if self._body is None:
            exact_fp32()
            notes: list[str] = []
            self._body = networks.body(self.card, notes.append)
            self.notes = tuple(notes)
        assert self.card.architecture is not None
        found = networks.with_classifier(copy.deepcopy(self._body), self.card.architecture, num_classes)
        return found.to(self.device)

    def compiled(self, network: nn.Module) -> nn.Module:
        """``network``; its forward pass compiled where that was asked for."""
        if self.compiling:
            network.compile()
        return network

    def heard(self, words: str, images: float, trained: bool = True) -> None:
        """Pass it on."""
        self.on_heard(words, images, trained)

    def keep(self, network: nn.Module) -> None:
        """Write the trained network, classifier included, where that was asked for: ``file:`` loads it again."""
        if self.saved_to is not None and distributed.world().leads:
            checkpoints.write(network, self.saved_to, torch.float32)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which a network computes in ``precision``."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision != "fp32")


def exact_fp32() -> None:
    """Let "fp32" mean it on every device: PyTorch would compute convolutions on a GPU with ten bits of mantissa."""
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


def load(card: Card, preprocessing: Preprocessing, device: torch.device, precision: Precision = "fp32") -> Backbone:
    """The model of a card, ready to compute features of pictures prepared by ``preprocessing``.

    Raises:
        WeightsError: the checkpoint is missing, damaged, partial, or another network's.
    """
    exact_fp32()
    if card.architecture is None:
        return Backbone(nn.Flatten(), preprocessing, device)
    notes: list[str] = []
    network = networks.body(card, notes.append)
    return Backbone(network, preprocessing, device, precision, tuple(notes))


def device_name(device: torch.device) -> str:
    """The processor's or GPU's own name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else environment.processor()


def pick_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is a GPU where there is one.

    Raises:
        UsageError: torch knows no such device, or it is not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: {str(error).splitlines()[0]}") from None
    return device


def half_precision(device: torch.device) -> Precision:
    """What a device computes fast in without losing features: bf16 where a GPU has it, else fp16; fp32 on a CPU."""
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
