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

    def share(self, count: int) -> slice:
        """This process's part of ``count`` examples: each example is in exactly one part."""
        del count
        return slice(self.rank, None, self.size)


def asked() -> bool:
    """Whether torchrun, or something like it, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join(device: torch.device) -> World:
    """Meet the other processes; alone, there is nobody to meet."""
    if not asked():
        return World()
    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE, device_id=device if device.type == "cuda" else None)
    return World(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    """Part from the other processes."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def world() -> World:
    """Which of how many processes this is."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World()


def own_device(device: str) -> str:
    """The device of this process: with several GPUs one each, by torchrun's LOCAL_RANK."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if asked() and device == "cuda" else device


def in_step(network: nn.Module) -> nn.Module:
    """``network`` so that a backward pass sums its gradients over all processes, mean by mean."""
    if world().size == 1:
        return network
    device = next(network.parameters()).device
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(network, device_ids=ids)


def total(value: Tensor) -> Tensor:
    """The sum of ``value`` over all processes, in place."""
    if world().size > 1:
        dist.all_reduce(value)
    return value


def wait() -> None:
    """Until all processes are here."""
    if world().size > 1:
        dist.barrier()


def gathered(rows: np.ndarray, count: int, device: torch.device) -> np.ndarray:
    """Every process's rows put together: row i of all is of the process whose share holds i.

    Args:
        rows: float [<= count, K] of this process's share.
        count: rows in all.
        device: what the processes exchange tensors on.
    """
    here = world()
    if here.size == 1:
        return rows
    whole = torch.zeros((count, rows.shape[1]), dtype=torch.float64, device=device)
    whole[here.share(count)] = torch.from_numpy(rows.astype(np.float64)).to(device)
    return total(whole).cpu().numpy()


def spawn(processes: int, arguments: Sequence[str]) -> int:
    """Run the same command in ``processes`` processes of this machine; returns the exit code."""
    from torch.distributed.run import main

    try:
        main(["--standalone", f"--nproc-per-node={processes}", "-m", "mixer_bench", *arguments])
    except SystemExit as done:
        return int(done.code or 0)
    except torch.distributed.elastic.multiprocessing.errors.ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        print(f"a process ended with {code}", file=sys.stderr)  # noqa: T201
        return code if code > 0 else 128 - code
    return 0
