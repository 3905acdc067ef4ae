"""Processes that train one network, from start to end: how they are started, get a device each, and meet.

Every process makes the same plan and trains in step; the first alone writes records and speaks.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist

from mixer_bench.errors import UsageError
from mixer_bench.models.device import pick_device
from mixer_bench.system import processes
from mixer_bench.system.processes import World

MEETING = datetime.timedelta(minutes=10)  # in which all processes must have started
PATIENCE = datetime.timedelta(days=1)  # others wait while the first computes features; if it ends, they notice at once


def device(name: str) -> torch.device:
    """Return the device of that name; of several processes each has a GPU of its own, by torchrun's LOCAL_RANK.

    Nothing has been put on another GPU by then, and what names none goes to this one from now on.

    Raises:
        UsageError: torch knows no such device, it is not here, or several processes cannot train on it.
    """
    world = processes.started()
    if world.size == 1:
        return pick_device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise UsageError(
            f"--device {name}: {world.size} processes train on the CPU, or on a GPU each; say cpu or cuda, and "
            "CUDA_VISIBLE_DEVICES which GPUs"
        )
    if name == "cuda":
        name = f"cuda:{_own_gpu(world)}"
        torch.cuda.set_device(name)
    return pick_device(name)


def _own_gpu(world: World) -> int:
    here = torch.cuda.device_count()
    if world.local is None:
        raise UsageError("LOCAL_RANK does not say which GPU is this process's; start the processes by torchrun")
    if world.local >= here:
        raise UsageError(
            f"process {world.local} on this machine has no GPU: there are {here}; start as many, or say cpu"
        )
    return world.local


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Meet the other processes, if there are any, and part from them at the end.

    What is on the CPU is exchanged by gloo, what is on GPUs by NCCL.

    Raises:
        UsageError: they do not meet, or the program that calls this one has processes of its own.
    """
    world = processes.started()
    if world.size == 1:
        yield world
        return
    if dist.is_initialized():
        raise UsageError("torch.distributed is in use by the program that calls mixer_bench; run mixer-bench by itself")
    from torch.distributed.rendezvous import rendezvous  # not everywhere, nor is it needed by one process

    cuda = device.type == "cuda"
    try:
        store, _, _ = next(rendezvous("env://", timeout=MEETING))
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            store=store,
            rank=world.rank,
            world_size=world.size,
            timeout=PATIENCE,
            device_id=device if cuda else None,
        )
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = str(error).splitlines()[0]
        raise UsageError(f"{world.size} processes were to meet at {place} ({reason}); {processes.ALONE}") from None
    try:
        yield world
    finally:
        dist.destroy_process_group()


def spawn(count: int, arguments: Sequence[str]) -> int:
    """Run the same command in ``count`` processes of this machine; return the exit code."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    # torchrun would leave each a single thread.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // count)))
    flags = ["--standalone", f"--nproc-per-node={count}"]
    try:
        with tempfile.TemporaryDirectory() as logs:  # of torchrun, which would leave one of its own behind
            main([*flags, f"--log-dir={logs}", "-m", "mixer_bench", *arguments])
    except SignalException as error:
        return 128 + error.sigval
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        if code > 0:
            return code
        print(f"a process was ended by signal {-code}; the same command does the rest", file=sys.stderr)  # noqa: T201
        return 128 - code
    return 0
