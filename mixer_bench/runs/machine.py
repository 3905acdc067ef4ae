"""Where and how a network works: nothing here moves a score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mixer_bench.results.record import Run
from mixer_bench.runs.features import Extractor
from mixer_bench.runs.plan import Group
from mixer_bench.system import machine as environment
from mixer_bench.training.trainable import TrainableBackbone

BATCH_SIZE = {"cpu": 64}  # where the throughput of small and large networks levels off on CPUs


GPU_BATCH_SIZE = 256


Heard = Callable[..., None]  # TrainableBackbone.heard


@dataclass(frozen=True)
class Machine:
    """Where and how the network works: nothing here moves a score."""

    device: str  # "cpu", "cuda:0"
    device_name: str
    threads: int
    cache: Path
    load: Callable[[Group], Extractor]
    trainable: Callable[[Group, Run, Heard], TrainableBackbone] | None = None
    leads: bool = True  # of several processes that train together, the one that writes and speaks
    batch_size: int | None = None  # None: by device

    @property
    def images_a_batch(self) -> int:
        """Images a forward pass."""
        return self.batch_size or BATCH_SIZE.get(self.device.partition(":")[0], GPU_BATCH_SIZE)

    @property
    def full_name(self) -> str:
        """For a table's note on speed."""
        return f"{self.device_name}, {self.threads} threads" if self.device == "cpu" else self.device_name

    @property
    def environment(self) -> dict[str, str]:
        """For the record: versions, device, threads."""
        return environment.describe(self.device, self.threads)
