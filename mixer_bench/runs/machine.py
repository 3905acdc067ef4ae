"""Where and how a network works: nothing here moves a score."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mixer_bench.errors import WeightsError
from mixer_bench.models import weights
from mixer_bench.results.record import Run
from mixer_bench.results.store import Store
from mixer_bench.runs.features import Computer, Extractor
from mixer_bench.runs.options import Options
from mixer_bench.runs.plan import Group
from mixer_bench.system import machine as system
from mixer_bench.system import paths
from mixer_bench.training.trainable import TrainableBackbone

if TYPE_CHECKING:
    from mixer_bench.models.backbone import Backbone
    from mixer_bench.training.network import Trainable

CPU_BATCH_SIZE = 64  # where the throughput of small and large networks levels off
GPU_BATCH_SIZE = 256

Heard = Callable[..., None]  # TrainableBackbone.heard


@dataclass(frozen=True)
class Machine:
    """A device, and how networks get there."""

    device: str  # "cpu", "cuda:0"
    device_name: str
    threads: int
    cache: Path
    load: Callable[[Group, Run], Extractor]
    trainable: Callable[[Group, Run, Heard], TrainableBackbone] | None = None
    leads: bool = True  # of several processes that train together, the one that writes and speaks
    batch_size: int | None = None  # None: by device

    @property
    def computer(self) -> Computer:
        """What features are computed with, as a record and a table's note on speed say it."""
        on_cpu = self.device.partition(":")[0] == "cpu"
        return Computer(
            batch_size=self.batch_size or (CPU_BATCH_SIZE if on_cpu else GPU_BATCH_SIZE),
            device_name=f"{self.device_name}, {self.threads} threads" if on_cpu else self.device_name,
            environment=system.describe(self.device, self.threads),
        )


@contextlib.contextmanager
def joined(options: Options, store: Store) -> Iterator[Machine]:
    """Give the machine of this process, in step with the others where several train one network."""
    import torch

    from mixer_bench.models import backbone
    from mixer_bench.models import device as device_module
    from mixer_bench.training import distributed
    from mixer_bench.training.network import Trainable

    device = device_module.pick_device(distributed.own_device(options.device))

    def load(group: Group, run: Run) -> Backbone:
        if weights.identity(group.card) != run.weights:
            raise WeightsError(f"{run.model}: its weights have changed since this run began; run again")
        return backbone.load(group.card, run.preprocessing, device, run.precision)

    def trainable(group: Group, run: Run, heard: Heard) -> Trainable:
        return Trainable(
            card=group.card,
            preprocessing=run.preprocessing,
            device=device,
            precision=run.precision,
            identity=run.weights,
            scratch=paths.cache_dir() / "finetune",
            heard=heard,
            saved_to=store.place(run, ".safetensors") if options.save_model else None,
            compiling=options.compile,
        )

    world = distributed.join(device)
    try:
        yield Machine(
            device=str(device),
            device_name=device_module.device_name(device),
            threads=torch.get_num_threads(),
            cache=paths.cache_dir(),
            load=load,
            trainable=trainable,
            leads=world.leads,
            batch_size=options.batch_size,
        )
    finally:
        distributed.leave()
