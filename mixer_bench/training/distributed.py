"""What processes that train one network exchange, and decide together.

Every exchange begins with a vote. A process that fails goes to the vote as well, in place of the exchange that it does
not reach, so that the others never wait for it: all learn of the failure there and end the run alike.
"""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from mixer_bench.errors import MixerBenchError, ProcessesError
from mixer_bench.models.device import is_out_of_memory
from mixer_bench.system.processes import World

Value = TypeVar("Value")
FINE, NO_MEMORY, FAILED = range(3)  # votes; the worst decides


class FailedElsewhere(Exception):
    """Another process failed. Outside of ``together`` a class of the failure's own name has its words."""


class NoMemoryElsewhere(torch.OutOfMemoryError):
    """Memory ran out in another process."""


class _There(Exception):
    """The traceback of another process, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass
class _Run:
    """What is decided on the run that is under way."""

    failed: bool = False  # all know: nothing more is exchanged


_run = _Run()


def world() -> World:
    """Return which of how many processes this is."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World()


def vote(ballot: int = FINE) -> None:
    """Wait until all processes are here, and learn what befell them.

    Raises:
        FailedElsewhere: one of them failed, by this vote or before.
        NoMemoryElsewhere: memory ran out in another, and not in this one.
        ProcessesError: one of them has ended.
    """
    if world().size == 1:
        return
    if not _run.failed:
        verdict = torch.tensor(ballot)  # on the CPU: a GPU may be short of memory, and need not be waited for
        with _reaching_others():
            dist.all_reduce(verdict, dist.ReduceOp.MAX)
        _run.failed = int(verdict) == FAILED
        if int(verdict) == NO_MEMORY and ballot != NO_MEMORY:
            raise NoMemoryElsewhere("memory ran out in another process")
    if _run.failed:
        raise FailedElsewhere("another process failed")


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Do what is inside in all processes or in none: what fails in one of them is raised in all.

    Raises:
        ProcessesError: another process has ended.
        MixerBenchError: as it was raised here or elsewhere.
        FailedElsewhere: another error, raised elsewhere alone; its class has the other's name.
    """
    if world().size == 1:
        yield
        return
    _run.failed = False
    failure: Exception | None = None
    try:
        yield
        vote()
    except (ProcessesError, FailedElsewhere) as error:
        failure = error
    except Exception as error:  # noqa: BLE001  all must learn of it, whatever it is
        failure = error
        with contextlib.suppress(FailedElsewhere):
            vote(FAILED)
    if isinstance(failure, ProcessesError):
        raise failure
    if failure is not None:
        raise _settled(failure)


def _settled(failure: Exception) -> Exception:
    """Return the failure of the first process that has one of its own."""
    here, story = world(), None
    if not isinstance(failure, FailedElsewhere | NoMemoryElsewhere):
        story = type(failure).__name__, str(failure), "".join(traceback.format_exception(failure, limit=-8))
    stories: list[tuple[str, str, str] | None] = [None] * here.size
    with _reaching_others():
        dist.all_gather_object(stories, story)
    _run.failed = False
    first = next((rank for rank, known in enumerate(stories) if known), here.rank)
    if first == here.rank:
        return failure
    kind, message, trace = stories[first] or ("", "", "")
    known = {error.__name__: error for error in MixerBenchError.__subclasses__()}
    raised: type[Exception] = known.get(kind) or type(kind, (FailedElsewhere,), {})
    there = raised(message if all(stories) else f"{message} (in process {first} of {here.size})")
    there.__cause__ = _There(trace)
    return there


@contextlib.contextmanager
def memory_shared() -> Iterator[None]:
    """Where memory runs out inside in one process, raise that it did in all: they try again with less, in step."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error) and not isinstance(error, NoMemoryElsewhere):
            vote(NO_MEMORY)
        raise


def total(value: Tensor) -> Tensor:
    """Sum ``value`` over all processes, in place."""
    if world().size > 1:
        vote()
        with _reaching_others():
            dist.all_reduce(value)
    return value


def most(number: int) -> int:
    """Return the largest ``number`` that a process has."""
    numbers = torch.zeros(world().size, dtype=torch.int64)
    numbers[world().rank] = number
    return int(total(numbers).max())


def add_gradients(network: nn.Module) -> None:
    """Add up the gradients of all processes."""
    if world().size == 1:
        return
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    summed = total(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    for gradient, part in zip(gradients, summed.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def the_firsts(value: Value) -> Value:
    """Return the first process's ``value``, which is small and can be pickled."""
    if world().size == 1:
        return value
    values = [value]
    vote()
    with _reaching_others():
        dist.broadcast_object_list(values)
    return values[0]


def led(values: Generator[Value]) -> Generator[Value]:
    """Give in all processes what the first one's ``values`` give, in its own time; those of others are not asked."""
    with contextlib.closing(values):
        while (value := the_firsts(next(values, None) if world().leads else None)) is not None:
            yield value


def begin_alike(network: nn.Module) -> None:
    """Give all processes the weights and statistics of the first one's ``network``."""
    if world().size == 1:
        return
    vote()
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            values = tensor.detach().contiguous()
            with _reaching_others():
                dist.broadcast(values, 0)
            tensor.detach().copy_(values)


def gathered(rows: np.ndarray, count: int) -> np.ndarray:
    """Put every process's rows together: row i of all is of the process whose share holds i.

    Args:
        rows: float64 [<= count, K] of this process's share.
        count: rows in all.
    """
    whole = torch.zeros((count, rows.shape[1]), dtype=torch.float64)
    whole[world().share] = torch.from_numpy(rows)
    return total(whole).numpy()


@contextlib.contextmanager
def _reaching_others() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        here = world()
        # gloo begins with a place in its source, and ends with advice.
        reason = re.sub(r"^\[\S+\] |\. This is .*", "", str(error).splitlines()[0])
        raise ProcessesError(
            f"process {here.rank} of {here.size} no longer reaches the others ({reason}); what is finished is "
            "kept; the same command does the rest"
        ) from None
