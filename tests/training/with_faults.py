"""Processes that train together, in which things go wrong.

Faults are ``seed=kind@rank`` of fine-tunings, joined by commas; kinds are those of ``Faults``.
"""

import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
import torch
from torch import nn

from mixer_bench.errors import DataError
from mixer_bench.models import device
from mixer_bench.models.backbone import Backbone
from mixer_bench.training.images import Batches

STEP = 2  # of a training, in which they happen
LAYERS = 14  # of batch normalisation
TAKEN = 1 << 30  # bytes of a GPU
UNDECODABLE = "broken.png: cannot be decoded as an image; replace or remove the file"


class Faults:
    """What befalls this process, by seed."""

    def __init__(self, text: str) -> None:
        self.here: dict[int, str] = {}
        for part in filter(None, text.split(",")):
            seed, kind = part.split("=")
            kind, rank = kind.split("@")
            if rank == os.environ.get("RANK", "0"):
                self.here[int(seed)] = kind
        self.now = ""
        self.layers = 0

    def begin(self, seed: int, step: int) -> None:
        """A batch is asked for."""
        self.now, self.layers = self.here.get(seed, "") if step == STEP else "", 0
        if self.now == "undecodable":
            raise DataError(UNDECODABLE)
        if self.now == "killed":
            os.kill(os.getpid(), signal.SIGKILL)

    def normalise(self, images: int) -> None:
        """So many images are at a layer of batch normalisation."""
        self.layers += 1
        most = int(self.now.removeprefix("memory>")) if self.now.startswith("memory>") else images
        if images > most and self.layers % LAYERS == LAYERS // 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        if self.now == "bug" and self.layers == LAYERS // 2:
            raise ArithmeticError("a plug-in is wrong")


def install(faults: Faults, replace: Callable[[Any, str, Any], None] = setattr) -> list[int]:
    """Let them happen; return how many images each batch through a ResNet has, as they come."""
    batch_at, forward, begin = Batches.at, nn.BatchNorm2d.forward, Backbone.begin
    seen: list[int] = []

    def at(self: Batches, step: int, part: int = 0, parts: int = 1):
        if parts == 1:
            faults.begin(int(self.order.key[1]), step)
        return batch_at(self, step, part, parts)

    def normalised(self: nn.BatchNorm2d, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            faults.normalise(len(images))
        return forward(self, images)

    def begun(backbone: Backbone, squares: np.ndarray):
        if hasattr(backbone.network, "layer4"):  # a ResNet
            seen.append(len(squares))
        elif "no features" in faults.here.values():
            raise DataError(UNDECODABLE)
        return begin(backbone, squares)

    replace(Batches, "at", at)
    replace(nn.BatchNorm2d, "forward", normalised)
    replace(Backbone, "begin", begun)
    replace(device, "gpu_peak", lambda _device: TAKEN + int(os.environ.get("RANK", "0")))
    return seen


def become(rank: int, port: int, faults: str) -> None:
    """Be one of two processes, as torchrun starts them, with these faults; in the end say how many images came."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    through = install(Faults(faults))
    Finalize(None, lambda: sys.stderr.write(f"{sum(through)} images here\n"), exitpriority=1)
