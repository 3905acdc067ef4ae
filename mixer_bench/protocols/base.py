"""What protocols are given and what they give back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mixer_bench.data.examples import Examples
from mixer_bench.results.record import Selection

if TYPE_CHECKING:
    pass


class FrozenBackbone(Protocol):
    """A backbone whose weights stay as they are."""

    def features(self, examples: Examples) -> np.ndarray:
        """The features of all examples, float32 [N, D]; the same array every time it is asked."""
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
