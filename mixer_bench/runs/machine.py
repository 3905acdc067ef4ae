"""Where and how a network works: nothing here moves a score."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mixer_bench.data import jpeg
from mixer_bench.data.examples import Examples
from mixer_bench.errors import WeightsError
from mixer_bench.models import backbone, compiling, matrices, weights
from mixer_bench.models.backbone import Backbone
from mixer_bench.models.card import Card
from mixer_bench.models.device import device_name, exact_fp32, free_memory
from mixer_bench.models.matrices import Resizer
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.results.record import Run
from mixer_bench.results.store import Store
from mixer_bench.runs import rounds
from mixer_bench.runs.features import CachedFeatures, Computer, Network
from mixer_bench.runs.options import Options
from mixer_bench.runs.plan import Group
from mixer_bench.runs.squares import Squares
from mixer_bench.system import claims, code, files, paths
from mixer_bench.system import machine as system
from mixer_bench.system.processes import World
from mixer_bench.system.progress import ProgressLog
from mixer_bench.training import images, launch
from mixer_bench.training.network import Trainable

CPU_BATCH_SIZE = 64  # where the throughput of small and large networks levels off
GPU_BATCH_SIZE = 256


@dataclass(frozen=True)
class Machine:
    """A device, and how networks get there."""

    options: Options
    store: Store
    device: torch.device
    world: World  # which of the processes that train together this is
    cache: Path

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks."""
        return self.world.leads

    @property
    def scratch(self) -> Path:
        """Where searches are noted and trainings leave checkpoints: a fresh run has a place of its own."""
        asked = self.options.model_dump_json(include={"task", "model", "protocol"})
        # Others at once begin anew for themselves.
        fresh = Path("fresh", hashlib.sha256(asked.encode()).hexdigest()[:16])
        return self.cache / "finetune" / (fresh if self.options.fresh else "")

    @functools.cached_property
    def computer(self) -> Computer:
        """What features are computed with, as a record and a table's note on speed say it."""
        on_cpu, name, threads = self.device.type == "cpu", device_name(self.device), torch.get_num_threads()
        networks = {"networks": "compiled" if self.options.compile else "eager"}
        gpu = {"gpu": name} if self.device.type == "cuda" else {}
        return Computer(
            batch_size=self.options.batch_size or (CPU_BATCH_SIZE if on_cpu else GPU_BATCH_SIZE),
            device_name=system.with_threads(name, threads) if on_cpu else name,
            environment={**system.describe(str(self.device), threads), "jpeg": jpeg.decoder(), **networks, **gpu},
        )

    def load(self, card: Card, network: Network) -> Backbone:
        """Return the network of a card, as runs on features have it."""
        if weights.identity(card) != network.weights:
            raise WeightsError(f"{card.name}: its weights have changed since this run began; run again")
        return backbone.load(card, network.preprocessing, self.device, network.precision, self.options.compile)

    def features(self, card: Card, network: Network, label: str, log: ProgressLog) -> CachedFeatures:
        """Return the frozen backbone of a card, which tells ``log`` of its work under ``label``."""
        return CachedFeatures(
            network,
            self.cache,
            load=lambda: self.load(card, network),
            computer=self.computer,
            on_batch=log.advance,
            on_note=log.line,
            heard=lambda words: log.now(f"{label}, {words}"),
            fresh=self.options.fresh,
        )

    def fill(self, caches: Sequence[CachedFeatures], splits: Iterable[Examples], say: Callable[[str], object]) -> None:
        """Compute the features of models that see equal squares, as ``rounds.fill`` does, with this device's memory."""
        how = caches[0].network.preprocessing
        squares = Squares(how, self.computer.batch_size, self.cache, say, self.resizer(how))
        rounds.fill(caches, splits, squares, lambda: free_memory(self.device))

    def resizer(self, preprocessing: Preprocessing) -> Resizer | None:
        """Return what resizes images on the device; None where processors do."""
        return Resizer(preprocessing, self.device) if self.device.type == "cuda" else None

    def trainable(self, group: Group, run: Run, heard: Callable[..., None]) -> Trainable:
        """Return the network of a run whose protocol trains it; ``heard`` as ``TrainableBackbone`` has it."""
        return Trainable(
            card=group.card,
            preprocessing=run.preprocessing,
            device=self.device,
            precision=run.precision,
            identity=run.weights,
            scratch=self.scratch,
            heard=heard,
            run=run.key,
            keeps=self.options.save_model,
            compiling=self.options.compile,
        )


@contextlib.contextmanager
def joined(options: Options, store: Store) -> Iterator[Machine]:
    """Give the machine of this process, in step with the others where several train one network."""
    device = launch.device(options.device)
    _spare_threads()
    if options.compile:
        compiling.check(device)
    with launch.joined(device) as world, exact_fp32():
        here = Machine(options, store, device, world, paths.cache_dir())
        code.digests()  # as it is now: what is edited meanwhile is another program
        with contextlib.ExitStack() as held:
            held.callback(images.let_go)
            held.callback(matrices.let_go)
            if options.fresh and world.leads and held.enter_context(claims.claimed(here.scratch)):
                shutil.rmtree(here.scratch, ignore_errors=True)  # what another fresh run makes now is as fresh
            if world.leads:  # the others follow when it is done
                for folder in (here.cache / "features", here.scratch):
                    files.tidy(folder)
            yield here


def _spare_threads() -> None:
    """Take no more threads than processors: torch knows the mask of this process, not the quota of its cgroup."""
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > system.cores():
        torch.set_num_threads(system.cores())
