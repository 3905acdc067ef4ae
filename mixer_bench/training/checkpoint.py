"""How far a training is, and its state on disk: read whole and unchanged, or the training begins again."""

from __future__ import annotations

import hashlib
import logging
import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mixer_bench.errors import UsageError
from mixer_bench.system import files
from mixer_bench.system.network import first_line
from mixer_bench.training import distributed

LOG = logging.getLogger(__name__)


class Diverged(Exception):
    """The loss is no longer a finite number."""


@dataclass
class Progress:
    """Where a training is: everything a checkpoint holds besides the two state dicts."""

    step: int = 0
    device_seconds: float = 0.0
    losses: list[list[float]] = field(default_factory=list)  # [step, mean loss since the last entry]
    pending: float = 0.0  # sum of the losses since the last entry
    micro: int | None = None  # images that fit into memory at once, where a batch did not

    def enter(self, loss_sum: float, seconds: float) -> None:
        """Add an entry for the steps since the last one.

        Raises:
            Diverged: the loss is no number.
        """
        mean = loss_sum / (self.step - int(self.losses[-1][0] if self.losses else 0))
        if not math.isfinite(mean):
            raise Diverged(f"the loss is {mean} at step {self.step}; a lower learning rate may help")
        self.losses.append([self.step, round(mean, 7)])
        self.device_seconds += seconds
        self.pending = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """Where the state of a training is kept, and the hash of all that decides its result."""

    file: Path
    identity: str

    def resume(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
        """Load the state into ``network`` and ``optimizer``, if a sound one is there, and return how far it is.

        Raises:
            UsageError: it belongs to another training.
        """
        state = self._state()
        if state is None:
            return Progress()
        if state["identity"] != self.identity:
            raise UsageError(
                f"{self.file} belongs to a training with other settings or data; name another --output or delete it"
            )
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        progress = Progress(**state["progress"])
        if not distributed.world().leads:
            progress.pending = 0.0  # that of all processes goes on in one
        return progress

    def _state(self) -> dict[str, Any] | None:
        """Return what was saved; None where that is nothing, damaged, or of before states had digests."""
        if not self.file.is_file():
            return None
        try:
            with warnings.catch_warnings(action="ignore"):  # that it may fail; if it does, that is said
                state: dict[str, Any] = torch.load(self.file, map_location="cpu", weights_only=True)
            if state.pop("digest", "") != _digest(state):
                raise ValueError("its digest is another")
        except Exception as error:  # noqa: BLE001  any byte may be wrong, and torch raises whatever its parsers raise
            reason = first_line(error).partition(". ")[0]  # torch's further words advise to run the code
            LOG.warning("%s is damaged (%s); the training begins again", self.file, reason)
            return None
        return state

    def save(self, network: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> bool:
        """Write the state, in one of several processes; return whether that was possible.

        A checkpoint saves time: without it a training that is broken off begins again, and no result is another.
        """
        if not distributed.world().leads:
            return True
        state = {
            "identity": self.identity,
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "progress": vars(progress),
        }
        try:
            files.write(self.file, lambda file: torch.save({**state, "digest": _digest(state)}, file))
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else first_line(error)
            LOG.warning("%s: no checkpoint (%s); if broken off, the training begins again", self.file, reason)
            return False
        return True


def _digest(value: Any) -> str:
    """Return the hash of tensors, numbers and texts in tables and lists, in their order."""
    digest = hashlib.sha256()

    def take(part: Any) -> None:
        if isinstance(part, dict):
            for key, inner in part.items():
                digest.update(f"{key!r}: ".encode())
                take(inner)
        elif isinstance(part, list | tuple):
            digest.update(f"{len(part)} values ".encode())
            for inner in part:
                take(inner)
        elif isinstance(part, Tensor):
            digest.update(f"{part.dtype} {tuple(part.shape)} ".encode())
            digest.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        else:
            digest.update(f"{part!r}, ".encode())

    take(value)
    return digest.hexdigest()
