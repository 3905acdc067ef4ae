"""A card's network, loaded to be trained further."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mixer_bench.errors import UsageError
from mixer_bench.models import checkpoints, compiling, networks
from mixer_bench.models.card import Card
from mixer_bench.models.device import placed
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.system.machine import Precision
from mixer_bench.training import distributed
from mixer_bench.training.batchnorm import normalises


@dataclass
class Trainable:
    """A card's network to be trained further: the ``TrainableBackbone`` that protocols are given."""

    card: Card
    preprocessing: Preprocessing
    device: torch.device
    precision: Precision
    identity: str
    scratch: Path
    heard: Callable[..., None]  # words, images, trained=True
    run: str = ""  # key of the run
    keeps: bool = False  # whether the trained network is kept beside its record
    compiling: bool = False
    notes: tuple[str, ...] = ()
    kept: dict[str, np.ndarray] | None = None  # its tensors, once it is trained
    _body: nn.Module | None = None

    def network(self, num_classes: int) -> nn.Module:
        """Return the pretrained network with a classifier that starts at zero (ViT, appendix B.1.1), on the device.

        Raises:
            WeightsError: the checkpoint is missing, damaged, partial, or another network's, or gives no row an image.
        """
        if self._body is None:
            notes: list[str] = []
            self._body = networks.body(self.card, notes.append).eval()
            self.notes = tuple(notes)
            side = self.preprocessing.resolution
            with torch.no_grad():
                self._body(torch.zeros(1, 3, side, side))  # refuses what a classifier could make nothing of
        assert self.card.architecture is not None
        network = networks.with_classifier(copy.deepcopy(self._body), self.card.architecture, num_classes)
        return placed(network, self.device)

    def compiled(self, network: nn.Module) -> nn.Module:
        """Return ``network``, compiled but for its classifier where that was asked for.

        Raises:
            UsageError: that cannot be: its classifier is no part by itself, or several processes normalise by batches.
        """
        if not self.compiling:
            return network
        if distributed.world().size > 1 and normalises(network):
            raise UsageError(
                f"--compile: {self.card.name} normalises by batches, which several processes exchange at each layer: "
                "that cannot be compiled; leave --compile out, or train in one process"
            )
        return compiling.compiled(network, self.card.name)

    def keep(self, network: nn.Module) -> None:
        """Remember the trained network, classifier included, where that was asked for."""
        if self.keeps and distributed.world().leads:
            state = checkpoints.state(network, torch.float32)
            self.kept = {name: tensor.numpy() for name, tensor in state.items()}
