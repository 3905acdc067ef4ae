"""What a protocol that trains is given. Never imports torch: the command line reads this to list protocols."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.system.machine import Precision

if TYPE_CHECKING:
    import torch


class TrainableBackbone(Protocol):
    """A pretrained network to be trained further, on a device."""

    preprocessing: Preprocessing
    device: torch.device
    precision: Precision
    identity: str  # of the weights
    notes: tuple[str, ...]  # what a reader of the results should know of the loading
    scratch: Path  # where checkpoints and what was already chosen are kept between processes

    def network(self, num_classes: int) -> torch.nn.Module:
        """The pretrained network with a classifier that starts at zero, on the device; a new one every time."""
        ...

    def compiled(self, network: torch.nn.Module) -> Any:
        """``network``, compiled where that was asked for."""
        ...

    def heard(self, words: str, images: float, trained: bool = True) -> None:
        """Told what is going on, how many more images are done, and whether they were trained on just now."""
        ...

    def keep(self, network: torch.nn.Module) -> None:
        """Given the trained network, kept where that was asked for."""
        ...
