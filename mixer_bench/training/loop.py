"""The one optimisation loop: pre-training and fine-tuning share it.

A batch is a pure function of its step, so a run that was killed goes on from its last checkpoint exactly as if it had
not been, unless the network itself draws random numbers (dropout). With several processes each sees its part of every
batch, and the gradients add up to those of the whole.
"""

from __future__ import annotations

import math
import pickle
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from mixer_bench.errors import UsageError, WeightsError
from mixer_bench.models.device import is_out_of_memory
from mixer_bench.system import files
from mixer_bench.training import distributed

# Images float [B, 3, H, W] and labels int64 [B], or with mixup the share of each class, float [B, classes].
Batch = tuple[Tensor, Tensor]


class Diverged(Exception):
    """The loss is no longer a finite number."""


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up from 0 to ``peak``, then decay to 0 at ``steps`` (MLP-Mixer, section 3 and appendix B).

    "steps" is a staircase instead: a tenth of the rate at each of ``decay_at`` (BiT, section 3.3).
    """

    peak: float
    steps: int
    warmup: int
    decay: Literal["linear", "cosine", "steps"]
    decay_at: tuple[int, ...] = ()

    def rate(self, step: int) -> float:
        """The learning rate of step ``step``, counted from 0."""
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.decay == "steps":
            return self.peak * warm * 0.1 ** sum(step >= place for place in self.decay_at)
        left = max(0, self.steps - step) / max(1, self.steps - self.warmup)
        fraction = min(1.0, left)
        shape = fraction if self.decay == "linear" else 0.5 * (1 - math.cos(math.pi * fraction))
        return self.peak * warm * shape


@dataclass(frozen=True)
class Loop:
    """How the loop steps, whatever it trains."""

    schedule: Schedule
    clip: float  # largest global gradient norm; 0 for none
    precision: Literal["fp32", "bf16"]
    log_every: int = 50
    checkpoint_every: int = 250
    batch_size: int | None = None  # of all processes together; None: of this one

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
    pending: tuple[float, int] = (0.0, 0)  # sum and number of the losses since the last entry
    micro: int | None = None  # images that fit into memory at once, where a batch did not


def device_clock(device: torch.device) -> float:
    """Seconds of device time: on a CPU the core-seconds this process used, elsewhere seconds of wall time."""
    return time.process_time() if device.type == "cpu" else time.perf_counter()


class Interruptions:
    """Ctrl-C and SIGTERM, put off to the end of a step, where a checkpoint can be written."""

    def __init__(self) -> None:
        """Nothing has arrived yet."""
        self.caught: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Listen, in the main thread; no other may."""
        if threading.current_thread() is threading.main_thread():
            heard = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def agreed(self, meeting: bool, device: torch.device) -> bool:
        """Whether to stop now: all processes at the same step, so several ask each other only at a ``meeting``."""
        if distributed.world().size == 1:
            return self.caught is not None
        return meeting and bool(distributed.total(torch.tensor(float(self.caught is not None), device=device)))

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.caught = number

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the signals do again what they did before, and what they would have done meanwhile."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.caught is not None and kind is None:
            signal.raise_signal(self.caught)


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

    Ctrl-C and SIGTERM end it after the step that is under way, with a checkpoint.

    Args:
        network: in place; images [B, 3, H, W] to logits [B, classes].
        optimizer: its learning rate is set by the schedule at every step.
        batch_at: the batch of a step, or this process's part of it; the same step must always give the same.
        loop: schedule, clipping, precision, how often to log and to save.
        checkpoint: where the state is kept; if it is there already, training goes on from it.
        identity: hash of all that decides the result; a checkpoint of another identity is refused.
        on_log: called every ``loop.log_every`` steps and at the end.

    Raises:
        Diverged: the loss became infinite or not a number.
        UsageError: ``checkpoint`` belongs to another training.
    """
    progress = _resume(network, optimizer, checkpoint, identity)
    with Interruptions() as interruptions:
        _steps(network, optimizer, batch_at, loop, progress, interruptions, checkpoint, identity, on_log)
    if progress.step < loop.schedule.steps:
        raise KeyboardInterrupt  # whoever handled the signal went on; a network half trained must not pass for one
    return progress


def _steps(  # noqa: PLR0913, PLR0917  what train was given
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch_at: Callable[[int], Batch],
    loop: Loop,
    progress: Progress,
    interruptions: Interruptions,
    checkpoint: Path,
    identity: str,
    on_log: Callable[[Progress], object],
) -> None:
    """All steps from where ``progress`` is; ends early, with a checkpoint, where an interruption was caught."""
    device = next(network.parameters()).device
    network.train()
    trained = distributed.in_step(network)
    loss_sum, since = torch.tensor(progress.pending[0], device=device), progress.pending[1]
    clock = device_clock(device)
    steps = loop.schedule.steps
    for step in range(progress.step, steps):
        for group in optimizer.param_groups:
            group["lr"] = loop.schedule.rate(step)
        loss_sum += _step(trained, optimizer, batch_at(step), loop, progress)
        since += 1
        progress.step = step + 1
        last = progress.step == steps
        logs = progress.step % loop.log_every == 0 or last
        if logs:
            mean = distributed.total(loss_sum).item() / since
            if not math.isfinite(mean):
                raise Diverged(f"the loss is {mean} at step {progress.step}; a lower learning rate may help")
            progress.losses.append([progress.step, round(mean, 7)])
            now = device_clock(device)
            progress.device_seconds += now - clock
            loss_sum, since, clock, progress.pending = torch.zeros((), device=device), 0, now, (0.0, 0)
            on_log(progress)
        stopped = interruptions.agreed(logs, device)
        if stopped:
            left = distributed.total(loss_sum).item()
            progress.pending = (left if distributed.world().leads else 0.0, since)
        if progress.step % loop.checkpoint_every == 0 or last or stopped:
            _save(network, optimizer, progress, checkpoint, identity)
        if stopped:
            return


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, loop: Loop, progress: Progress) -> Tensor:
    """One update; returns this process's part of the batch's mean loss without waiting for it.

    Where memory runs out, the batch goes through the network in halves, and halves of these: the gradients of the parts
    add up to the same step, but for batch normalisation, which then sees the parts.
    """
    while True:
        try:
            optimizer.zero_grad(set_to_none=True)
            loss = _gradients(network, batch, loop, progress.micro or len(batch[0]))
            break
        except RuntimeError as error:  # OutOfMemoryError is one; a CPU's allocator raises the plain one
            small = min(progress.micro or len(batch[0]), len(batch[0]))
            if not is_out_of_memory(error) or small == 1 or distributed.world().size > 1:
                raise
        progress.micro = (small + 1) // 2
        optimizer.zero_grad(set_to_none=True)
        if batch[0].device.type == "cuda":
            torch.cuda.empty_cache()
    if loop.clip:
        nn.utils.clip_grad_norm_([p for p in network.parameters() if p.requires_grad], loop.clip)
    optimizer.step()
    return loss


def _gradients(network: nn.Module, batch: Batch, loop: Loop, micro: int) -> Tensor:
    """Gradients of the mean loss over the whole batch, of which this is a process's part; returns its share of it."""
    images, labels = batch
    size = distributed.world().size
    whole = loop.batch_size or len(images)
    loss = torch.zeros((), device=images.device)
    for start in range(0, len(images), micro):
        part = slice(start, start + micro)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=loop.precision == "bf16"):
            found = nn.functional.cross_entropy(network(images[part]), labels[part], reduction="sum") / whole
        # Gradients are averaged over processes, so each counts as many times as there are.
        (found * size).backward()
        loss += found.detach()
    return loss


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
        return Progress(**{**state["progress"], "pending": tuple(state["progress"].get("pending", (0.0, 0)))})
    except (pickle.UnpicklingError, OSError, RuntimeError, EOFError, LookupError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{checkpoint} is damaged ({reason}); delete it to start again") from None


def _save(
    network: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, checkpoint: Path, identity: str
) -> None:
    if not distributed.world().leads:
        return
    state = {
        "identity": identity,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": vars(progress),
    }
    files.write(checkpoint, lambda file: torch.save(state, file))
