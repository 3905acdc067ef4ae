"""The one optimisation loop: pre-training uses it, and fine-tuning will.

A batch is a pure function of its step, so a run that was killed goes on from its last checkpoint exactly as if it had
not been, unless the network itself draws random numbers (dropout).
"""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mixer_bench import atomic
from mixer_bench.errors import UsageError, WeightsError

Batch = tuple[Tensor, Tensor]  # images float [B, 3, H, W], labels int64 [B]


class Diverged(Exception):
    """The loss is no longer a finite number."""


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up from 0 to ``peak``, then decay to 0 at ``steps`` (MLP-Mixer, section 3 and appendix B)."""

    peak: float
    steps: int
    warmup: int
    decay: Literal["linear", "cosine"]

    def rate(self, step: int) -> float:
        """The learning rate of step ``step``, counted from 0."""
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        left = max(0, self.steps - step) / max(1, self.steps - self.warmup)
        fraction = min(1.0, left)
        shape = fraction if self.decay == "linear" else 0.5 * (1 - math.cos(math.pi * fraction))
        return self.peak * warm * shape


@dataclass(frozen=True)
class Loop:
    """How the loop steps, whatever it trains."""

    schedule: Schedule
    clip: float  # largest global gradient norm
    precision: Literal["fp32", "bf16"]
    log_every: int = 50
    checkpoint_every: int = 250

    def __post_init__(self) -> None:
        """A checkpoint between two log entries would lose the losses since the last one."""
        if self.checkpoint_every % self.log_every:
            raise UsageError(f"checkpoint_every={self.checkpoint_every} must be a multiple of {self.log_every=}")


@dataclass
class Progress:
    """Where a training is: everything a checkpoint holds besides the two state dicts."""

    step: int = 0
    device_seconds: float = 0.0
    losses: list[list[float]] = field(default_factory=list)  # [step, mean loss since the last entry]


def device_clock(device: torch.device) -> float:
    """Seconds of device time: on a CPU the core-seconds this process used, elsewhere seconds of wall time."""
    return time.process_time() if device.type == "cpu" else time.perf_counter()


def train(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch_at: Callable[[int], Batch],
    loop: Loop,
    checkpoint: Path,
    identity: str,
    on_log: Callable[[Progress], object],
) -> Progress:
    """Minimise the softmax cross-entropy of ``network`` over ``loop.schedule.steps`` batches.

    Args:
        network: in place; images [B, 3, H, W] to logits [B, classes].
        optimizer: its learning rate is set by the schedule at every step.
        batch_at: the batch of a step; the same step must always give the same batch.
        loop: schedule, clipping, precision, how often to log and to save.
        checkpoint: where the state is kept; if it is there already, training goes on from it.
        identity: hash of all that decides the result; a checkpoint of another identity is refused.
        on_log: called every ``loop.log_every`` steps and at the end.

    Raises:
        Diverged: the loss became infinite or not a number.
        UsageError: ``checkpoint`` belongs to another training.
    """
    progress = _resume(network, optimizer, checkpoint, identity)
    device = next(network.parameters()).device
    network.train()
    loss_sum, since, clock = torch.zeros((), device=device), 0, device_clock(device)
    steps = loop.schedule.steps
    for step in range(progress.step, steps):
        for group in optimizer.param_groups:
            group["lr"] = loop.schedule.rate(step)
        loss_sum += _step(network, optimizer, batch_at(step), loop)
        since += 1
        progress.step = step + 1
        last = progress.step == steps
        if progress.step % loop.log_every == 0 or last:
            mean = loss_sum.item() / since
            if not math.isfinite(mean):
                raise Diverged(f"the loss is {mean} at step {progress.step}; a lower learning rate may help")
            progress.losses.append([progress.step, round(mean, 5)])
            now = device_clock(device)
            progress.device_seconds += now - clock
            loss_sum, since, clock = torch.zeros((), device=device), 0, now
            on_log(progress)
        if progress.step % loop.checkpoint_every == 0 or last:
            _save(network, optimizer, progress, checkpoint, identity)
    return progress


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, loop: Loop) -> Tensor:
    """One update; returns the batch's loss without waiting for it."""
    images, labels = batch
    with torch.autocast(images.device.type, torch.bfloat16, enabled=loop.precision == "bf16"):
        loss = nn.functional.cross_entropy(network(images), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for p in network.parameters() if p.requires_grad], loop.clip)
    optimizer.step()
    return loss.detach()


def _resume(network: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Path, identity: str) -> Progress:
    if not checkpoint.exists():
        return Progress()
    try:
        state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
        if state["identity"] != identity:
            raise UsageError(
                f"{checkpoint} belongs to a training with other settings or data; name another --output or delete it"
            )
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        return Progress(**state["progress"])
    except (pickle.UnpicklingError, OSError, RuntimeError, EOFError, LookupError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{checkpoint} is damaged ({reason}); delete it to start again") from None


def _save(
    network: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, checkpoint: Path, identity: str
) -> None:
    state = {
        "identity": identity,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": vars(progress),
    }
    atomic.write(checkpoint, lambda file: torch.save(state, file))
