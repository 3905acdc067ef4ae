"""What protocols are given and what they give back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mixer_bench.data.examples import Examples
from mixer_bench.preprocessing import Preprocessing
from mixer_bench.record import Precision, Selection

if TYPE_CHECKING:
    import torch


class FrozenBackbone(Protocol):
    """A backbone whose weights stay as they are."""

    def features(self, examples: Examples) -> np.ndarray:
        """The features of all examples, float32 [N, D]; the same array every time it is asked."""
        ...


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
        """Told what is going on, how many more pictures are done, and whether they were trained on just now."""
        ...

    def keep(self, network: torch.nn.Module) -> None:
        """Given the trained network, kept where that was asked for."""
        ...


@dataclass(frozen=True)
class Fitted:
    """What a protocol learned from train and val."""

    scores: Callable[[Examples], np.ndarray]  # examples it has never seen -> float [N, num_classes]
    selection: Selection | None = None
    converged: bool | None = None  # None for closed forms
    notes: tuple[str, ...] = ()
    curve: tuple[tuple[int, float], ...] = ()  # step, mean loss since the last entry
    images: int = 0  # that were trained on for this very run
    finished: Callable[[], object] = lambda: None  # called once the record is kept


@dataclass(frozen=True)
class Standardiser:
    """``(x - mean) / scale``, per feature, in float64."""

    mean: np.ndarray
    scale: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Features [N, D] to float64 [N, D]."""
        scaled: np.ndarray = (features.astype(np.float64) - self.mean) / self.scale
        return scaled


def standardiser(features: np.ndarray, epsilon: float) -> Standardiser:
    """Mean and population standard deviation of ``features`` [N, D], with ``epsilon`` added to the latter."""
    exact = features.astype(np.float64)
    return Standardiser(exact.mean(axis=0), exact.std(axis=0) + epsilon)
