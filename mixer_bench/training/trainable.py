"""What a protocol that trains is given and gives back. Never imports torch: the command line reads this."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from mixer_bench.data.examples import Examples
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.results.probes import Probe
from mixer_bench.results.record import Drawn, Selection
from mixer_bench.stats.scores import Scale
from mixer_bench.system.machine import Precision

if TYPE_CHECKING:
    import torch


class Point(NamedTuple):
    """What a training is like at a step, for those who draw its curves."""

    training: str  # "final", or which of the search: "search_0.01"
    step: int  # of that training
    values: Mapping[str, float]  # "loss", mean of the steps since the last point; "rate"; on val, the task's metric


class TrainableBackbone(Protocol):
    """A pretrained network to be trained further, on a device."""

    preprocessing: Preprocessing
    device: torch.device
    precision: Precision
    identity: str  # of the weights
    run: str  # key of the run
    notes: tuple[str, ...]  # what a reader of the results should know of the loading
    scratch: Path  # where checkpoints and what was already chosen are kept between processes

    def network(self, num_classes: int) -> torch.nn.Module:
        """Return a new copy of the pretrained network, on the device, with a classifier that starts at zero."""
        ...

    def compiled(self, network: torch.nn.Module) -> Any:
        """Return ``network``, compiled where the user asked for that."""
        ...

    def heard(self, words: str, images: float, trained: bool = True, points: Sequence[Point] = ()) -> None:
        """Report progress: what goes on, how many more images are done, and whether they were trained on just now.

        ``points`` are new ones of its curves; after a training was broken off, those of before as well.
        """
        ...

    def keep(self, network: torch.nn.Module) -> None:
        """Save the trained network where the user asked for that."""
        ...


@dataclass(frozen=True)
class Fitted:
    """What a protocol learned from train and val."""

    scores: Callable[[Examples], np.ndarray]  # examples it has never seen -> float [N, num_classes]
    scale: Scale = field(default="order", kw_only=True)  # what these scores are
    selection: Selection | None = None  # None: there was nothing to choose
    converged: bool | None = None  # None: closed forms, and trainings of a fixed length
    gradient: float | None = None  # the largest component of the loss's, where a solver ended
    notes: tuple[str, ...] = ()
    drawn: Drawn | None = None  # None: the protocol does not draw so many images of each class
    curve: tuple[tuple[int, float], ...] = ()  # step, mean loss since the last entry
    images: int = 0  # that were trained on for this very run
    probe: Probe | None = None  # what gives the scores, where it can be kept; None: the record is without it
    finished: Callable[[], object] = lambda: None  # called once the record is kept
