"""Several processes that train one network: torch.distributed as torchrun sets it up.

Every process makes the same plan and trains in step; process 0 alone writes records and speaks.
"""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

PATIENCE = datetime.timedelta(days=1)  # others wait while process 0 computes features or fits a probe


@dataclass(frozen=True)
class World:
    """Which of how many processes this is."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """This process's part of any examples: each example is in exactly one part."""
        return slice(self.rank, None, self.size)


def asked() -> bool:
    """Return whether torchrun, or something like it, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join(device: torch.device) -> World:
    """Meet the other processes, if there are any."""
    if asked() and not dist.is_initialized():
        cuda = device.type == "cuda"
        dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE, device_id=device if cuda else None)
    return world()


def leave() -> None:
    """Part from the other processes."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def world() -> World:
    """Return which of how many processes this is."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World()


def own_device(device: str) -> str:
    """Return the device of this process: with several GPUs one each, by torchrun's LOCAL_RANK."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if asked() and device == "cuda" else device


def in_step(network: nn.Module) -> nn.Module:
    """Return ``network`` such that a backward pass averages its gradients over all processes."""
    if world().size == 1:
        return network
    device = next(network.parameters()).device
    return nn.parallel.DistributedDataParallel(network, device_ids=[device.index] if device.type == "cuda" else None)


def total(value: Tensor) -> Tensor:
    """Sum ``value`` over all processes, in place."""
    if world().size > 1:
        dist.all_reduce(value)
    return value


def wait() -> None:
    """Wait until all processes are here."""
    if world().size > 1:
        dist.barrier()


def gathered(rows: np.ndarray, count: int, device: torch.device) -> np.ndarray:
    """Put every process's rows together: row i of all is of the process whose share holds i.

    Args:
        rows: float64 [<= count, K] of this process's share.
        count: rows in all.
        device: what the processes exchange tensors on.
    """
    whole = torch.zeros((count, rows.shape[1]), dtype=torch.float64, device=device)
    whole[world().share] = torch.from_numpy(rows).to(device)
    return total(whole).cpu().numpy()


def spawn(processes: int, arguments: Sequence[str]) -> int:
    """Run the same command in ``processes`` processes of this machine; return the exit code."""
    from torch.distributed.run import main

    try:
        main(["--standalone", f"--nproc-per-node={processes}", "-m", "mixer_bench", *arguments])
    except torch.distributed.elastic.multiprocessing.errors.ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        print(f"a process ended with {code}", file=sys.stderr)  # noqa: T201
        return code if code > 0 else 128 - code
    return 0
