"""The one optimisation loop: pre-training and fine-tuning share it.

A batch is a pure function of its step, and so are the random numbers that the network draws (dropout) where the batch
brings their seed; then a run that was killed goes on from its last checkpoint exactly as if it had not been. With
several processes each sees its part of every batch, and the gradients add up to those of the whole.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mixer_bench.errors import UsageError
from mixer_bench.models.device import autocast, fitting
from mixer_bench.system import signals
from mixer_bench.system.machine import Precision
from mixer_bench.training import distributed
from mixer_bench.training.batchnorm import OverAllProcesses, refuse_others
from mixer_bench.training.checkpoint import Checkpoint, Progress

LONGEST = 300.0  # seconds of work that a kill may cost
SAVE, STOP = 1, 2  # what a process may wish after a step; the most that one wishes is done
# Images float [B, 3, H, W] and labels int64 [B], or with mixup the share of each class, float [B, classes].
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up from 0 to ``peak``, then decay to 0 at ``steps`` (MLP-Mixer, section 3 and appendix B).

    The formulas and where they count from are those of vision_transformer's and big_vision's utils.py. "steps" is a
    staircase instead: a tenth of the rate after each of ``decay_at`` (BiT's bit_hyperrule.py).
    """

    peak: float
    steps: int
    warmup: int
    decay: Literal["linear", "cosine", "steps"]
    decay_at: tuple[int, ...] = ()
    count_from: int = 0  # number of the first step, whose rate is 0 then; vit_jax counted from 1 in 2021 and 2022

    def rate(self, step: int) -> float:
        """Return the learning rate of step ``step``, which is 0 for the first."""
        number = step + self.count_from
        warm = min(1.0, number / self.warmup) if self.warmup else 1.0
        if self.decay == "steps":
            return self.peak * warm * 0.1 ** sum(number > place for place in self.decay_at)
        left = min(1.0, max(0, self.steps - number) / max(1, self.steps - self.warmup))
        shape = left if self.decay == "linear" else 0.5 * (1 - math.cos(math.pi * left))
        return self.peak * warm * shape


@dataclass(frozen=True)
class Loop:
    """How the loop steps, whatever it trains."""

    schedule: Schedule
    clip: float  # largest global gradient norm; 0 for none
    precision: Precision  # fp16 would need scaled gradients, which are not here
    log_every: int = 50  # steps
    save_every: int = 5  # log entries
    batch_size: int | None = None  # of all processes together; None: of this one
    stop: int | None = None  # steps to make of the schedule's; None: all

    @property
    def end(self) -> int:
        """The number of steps after which it is over."""
        return self.schedule.steps if self.stop is None else self.stop


class Breaks:
    """When steps stop, and when a checkpoint is due: a signal, and the clock of the process that writes, decide."""

    def __init__(self, caught: list[int]) -> None:
        """Start the clock; ``caught`` are the signals that arrived here."""
        self._caught, self._saved = caught, time.monotonic()

    def due(self) -> tuple[bool, bool]:
        """Return whether to stop now and whether to save, in all processes alike; all must ask."""
        late = distributed.world().leads and time.monotonic() - self._saved >= LONGEST
        wish = distributed.most(STOP if self._caught else SAVE if late else 0)
        return wish == STOP, wish > 0

    def saved(self) -> None:
        """Begin to count anew."""
        self._saved = time.monotonic()


def _device_time(device: torch.device) -> float:
    """Return seconds of device time: on a CPU the core-seconds this process used, elsewhere of wall time."""
    return time.process_time() if device.type == "cpu" else time.perf_counter()


def train(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch_at: Callable[[int], Batch],
    loop: Loop,
    checkpoint: Checkpoint,
    on_log: Callable[[Progress], object],
) -> Progress:
    """Minimise the softmax cross-entropy of ``network`` over ``loop.end`` batches.

    Ctrl-C, SIGTERM and SIGHUP end it after the step that is under way, with a checkpoint. Others are written every so
    many steps, and where steps are long at least every ``LONGEST`` seconds.

    Args:
        network: in place; images [B, 3, H, W] to logits [B, classes].
        optimizer: its learning rate is set by the schedule at every step.
        batch_at: the batch of a step, or this process's part of it; the same step must always give the same.
        loop: schedule, clipping, precision, how often to log and to save.
        checkpoint: if its file is there already, training goes on from it.
        on_log: called every ``loop.log_every`` steps and at the end.

    Raises:
        Diverged: the loss became infinite or not a number.
        UsageError: the checkpoint belongs to another training, or several processes would not train as one does.
    """
    _check_processes(network, loop)
    progress = checkpoint.resume(network, optimizer)
    with signals.put_off() as caught:
        _steps(network, optimizer, batch_at, loop, checkpoint, on_log, progress, caught)
    if progress.step < loop.end:
        raise KeyboardInterrupt  # whoever handled the signal went on; a network half trained must not pass for one
    return progress


def _check_processes(network: nn.Module, loop: Loop) -> None:
    """Refuse what several processes would not train as one does."""
    size = distributed.world().size
    if size > 1:
        refuse_others(network)
        if loop.batch_size and loop.batch_size < size:
            raise UsageError(f"batches of {loop.batch_size} images leave some of {size} processes without any")


def _steps(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch_at: Callable[[int], Batch],
    loop: Loop,
    checkpoint: Checkpoint,
    on_log: Callable[[Progress], object],
    progress: Progress,
    caught: list[int],
) -> None:
    """Do all steps from where ``progress`` is; end early, with a checkpoint, where a signal was caught."""
    device, steps = next(network.parameters()).device, loop.end
    if distributed.the_firsts(progress.step) != progress.step:
        raise UsageError(
            f"{checkpoint.file} is not the same file for all processes; name a folder they share for MIXER_BENCH_CACHE"
        )
    network.train()
    distributed.begin_alike(network)
    # Summed on the device, so that no step waits for its loss.
    loss_sum, clock = torch.tensor(progress.pending, device=device), _device_time(device)
    stops, saves, breaks = False, True, Breaks(caught)
    while progress.step < steps and not stops:
        for group in optimizer.param_groups:
            group["lr"] = loop.schedule.rate(progress.step)
        loss_sum += _step(network, optimizer, batch_at(progress.step), loop, progress)
        progress.step += 1
        last = progress.step == steps
        logs = progress.step % loop.log_every == 0 or last
        if logs:
            now = _device_time(device)
            progress.enter(distributed.total(loss_sum).item(), now - clock)
            loss_sum, clock = torch.zeros((), device=device), now
            on_log(progress)
        stops, due = breaks.due()
        if due or last or progress.step % (loop.log_every * loop.save_every) == 0:
            now = _device_time(device)
            progress.device_seconds, clock = progress.device_seconds + now - clock, now
            progress.pending = distributed.total(loss_sum.clone()).item()
            saves = saves and checkpoint.save(network, optimizer, progress)
            breaks.saved()


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, loop: Loop, progress: Progress) -> Tensor:
    """Update the network once; return this process's part of the batch's mean loss without waiting for it.

    Where memory runs out, the batch goes through the network in halves, and halves of these: the gradients of the parts
    add up to the same step, but for batch normalisation, which then sees the parts.
    """
    whole = loop.batch_size or int(distributed.total(torch.tensor(len(batch[0]))))
    largest = math.ceil(whole / distributed.world().size)  # share of a process
    size = min(progress.micro or largest, largest)
    before = [buffer.clone() for buffer in network.buffers()]

    def attempt(micro: int) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        if micro < size:  # the statistics that an attempt renewed before it failed
            for buffer, value in zip(network.buffers(), before, strict=True):
                buffer.copy_(value)
        with distributed.memory_shared():
            return _gradients(network, batch, loop.precision, whole, micro)

    loss, micro = fitting(attempt, size, batch[0].device)
    progress.micro = micro if micro < size else progress.micro
    if loop.clip:
        nn.utils.clip_grad_norm_([p for p in network.parameters() if p.requires_grad], loop.clip)
    optimizer.step()
    return loss


def _gradients(network: nn.Module, batch: Batch, precision: Precision, whole: int, micro: int) -> Tensor:
    """Add up the gradients of the mean loss of ``whole`` images in all processes; return what is due to this one's."""
    images, labels = batch
    size = distributed.world().size
    # As many parts in every process, none of them empty: batch normalisation is computed by all together.
    parts = max(1, min(math.ceil(math.ceil(whole / size) / micro), whole // size))
    loss = torch.zeros((), device=images.device)
    with OverAllProcesses() if size > 1 else contextlib.nullcontext():
        for some, their in zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True):
            with autocast(images.device, precision):
                summed = nn.functional.cross_entropy(network(some), their, reduction="sum") / whole
            summed.backward()
            loss += summed.detach()
    distributed.add_gradients(network)
    return loss
