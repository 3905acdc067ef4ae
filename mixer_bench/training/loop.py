"""The one optimisation loop: pre-training and fine-tuning share it.

A batch is a pure function of its step, and so are the random numbers that the network draws (dropout) where the batch
brings their seed; then a run that was killed goes on from its last checkpoint exactly as if it had not been. With
several processes each sees its part of every batch, and the gradients add up to those of the whole.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from mixer_bench.errors import UsageError
from mixer_bench.models.device import autocast, fitting, is_out_of_memory
from mixer_bench.system import signals
from mixer_bench.system.machine import Precision
from mixer_bench.training import distributed
from mixer_bench.training.batchnorm import OverAllProcesses, normalises, refuse_others
from mixer_bench.training.checkpoint import Checkpoint, Progress

LONGEST = 300.0  # seconds of work that a kill may cost
SAVE, STOP = 1, 2  # what a process may wish after a step; the most that one wishes is done
# Images float [B, 3, H, W] and labels int64 [B], or with mixup the share of each class, float [B, classes].
Batch = tuple[Tensor, Tensor]
BatchAt = Callable[[int, int, int], Batch]  # step, part, parts: of a step's batch one of so many parts


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
    stop: int | None = None  # steps to make of the schedule's; None: all
    batch_size: int = field(kw_only=True)  # of all processes together

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
    batch_at: BatchAt,
    loop: Loop,
    checkpoint: Checkpoint,
    on_log: Callable[[Progress], object],
) -> Progress:
    """Minimise the softmax cross-entropy of ``network`` over ``loop.end`` batches.

    Ctrl-C, SIGTERM, SIGHUP and SIGUSR2 end it after the step that is under way, with a checkpoint. Others are written
    every so many steps, and where steps are long at least every ``LONGEST`` seconds.

    Args:
        network: in place; images [B, 3, H, W] to logits [B, classes].
        optimizer: its learning rate is set by the schedule at every step.
        batch_at: of the batch of a step, or this process's share of it, one of so many parts, on the device; the same
            step must always give the same images, in however many parts.
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
        if loop.batch_size < size:
            raise UsageError(f"batches of {loop.batch_size} images leave some of {size} processes without any")


def _steps(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch_at: BatchAt,
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
        loss_sum += _step(network, optimizer, batch_at, loop, progress)
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


def _step(
    network: nn.Module, optimizer: torch.optim.Optimizer, batch_at: BatchAt, loop: Loop, progress: Progress
) -> Tensor:
    """Update the network once; return this process's part of the batch's mean loss without waiting for it.

    Where memory runs out, for images, activations or the optimizer's state, the step is taken back and the batch goes
    through the network in halves, and halves of these: the gradients of the parts add up to the same step, but for
    batch normalisation, which then sees the parts.
    """
    alone = distributed.world().size == 1
    share = math.ceil(loop.batch_size / distributed.world().size)  # the largest of a process
    size = min(progress.micro or share, share)
    before = _Before(network, optimizer)

    def attempt(micro: int) -> Tensor:
        if micro < size:
            before.restore()
        optimizer.zero_grad(set_to_none=True)
        with distributed.memory_shared():
            loss = _gradients(network, functools.partial(batch_at, progress.step), loop, micro)
            if alone:
                before.update(loop.clip)
        return loss

    loss, micro = fitting(attempt, size, next(network.parameters()).device)
    if not alone:  # what one process has updated could not be taken back in the others
        before.update(loop.clip)
    progress.micro = micro if micro < size else progress.micro
    return loss


class _Before:
    """What a step changes besides gradients, as it was before: it can be taken back until weights are changed."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._network, self._optimizer = network, optimizer
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._versions = self._counted()
        self._buffers = [buffer.clone() for buffer in network.buffers()]
        self._stateful = {parameter for parameter, state in optimizer.state.items() if state}

    def _counted(self) -> list[int]:
        return [parameter._version for parameter in self._parameters]  # torch counts all changes in place

    def restore(self) -> None:
        """Undo an attempt that failed: statistics that it renewed, and state of the optimizer that it began."""
        for buffer, value in zip(self._network.buffers(), self._buffers, strict=True):
            buffer.copy_(value)
        for parameter in self._optimizer.state.keys() - self._stateful:
            del self._optimizer.state[parameter]

    def update(self, clip: float) -> None:
        """Clip the gradients and change the weights.

        Raises:
            RuntimeError: memory ran out between two weights.
        """
        if clip:
            nn.utils.clip_grad_norm_(self._parameters, clip)
        try:
            self._optimizer.step()
        except RuntimeError as error:
            if not is_out_of_memory(error) or self._counted() == self._versions:
                raise
            raise RuntimeError(
                "memory ran out when some weights were changed and others were not: the step cannot be taken back; "
                "train with smaller batches, or with less beside it on the device"
            ) from None


def _gradients(network: nn.Module, part_at: Callable[[int, int], Batch], loop: Loop, micro: int) -> Tensor:
    """Add up the gradients of the mean loss of a batch in all processes; return what is due to this one's images."""
    size, whole = distributed.world().size, loop.batch_size
    # As many parts in every process, none of them empty: batch normalisation is computed by all together.
    parts = max(1, min(math.ceil(math.ceil(whole / size) / micro), whole // size))
    losses = []
    with OverAllProcesses() if size > 1 and normalises(network) else contextlib.nullcontext():
        for part in range(parts):
            images, labels = part_at(part, parts)
            with autocast(images.device, loop.precision):
                summed = nn.functional.cross_entropy(network(images), labels, reduction="sum") / whole
            summed.backward()
            losses.append(summed.detach())
    distributed.add_gradients(network)
    return torch.stack(losses).sum()
