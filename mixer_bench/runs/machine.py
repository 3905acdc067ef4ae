"""Where and how a network works: nothing here moves a score."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mixer_bench.data import jpeg
from mixer_bench.errors import UsageError, WeightsError
from mixer_bench.models import weights
from mixer_bench.results.record import Run
from mixer_bench.results.store import Store
from mixer_bench.runs.features import CachedFeatures, Computer, Network
from mixer_bench.runs.options import Options
from mixer_bench.runs.plan import Group
from mixer_bench.system import claims, code, files, paths
from mixer_bench.system import machine as system
from mixer_bench.system.processes import World
from mixer_bench.system.progress import ProgressLog

if TYPE_CHECKING:
    import torch

    from mixer_bench.models.backbone import Backbone
    from mixer_bench.models.matrices import Resizer
    from mixer_bench.models.preprocessing import Preprocessing
    from mixer_bench.training.network import Trainable

Value = TypeVar("Value")
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
        fresh = Path(
            "fresh", hashlib.sha256(asked.encode()).hexdigest()[:16]
        )  # others at once begin anew for themselves
        return self.cache / "finetune" / (fresh if self.options.fresh else "")

    @functools.cached_property
    def computer(self) -> Computer:
        """What features are computed with, as a record and a table's note on speed say it."""
        import torch

        from mixer_bench.models.device import device_name

        on_cpu, name, threads = self.device.type == "cpu", device_name(self.device), torch.get_num_threads()
        networks = {"networks": "compiled" if self.options.compile else "eager"}
        gpu = {"gpu": name} if self.device.type == "cuda" else {}
        return Computer(
            batch_size=self.options.batch_size or (CPU_BATCH_SIZE if on_cpu else GPU_BATCH_SIZE),
            device_name=f"{name}, {threads} threads" if on_cpu else name,
            environment={
                **system.describe(str(self.device), threads),
                "jpeg": jpeg.decoder(),
                **networks,
                **gpu,
            },
        )

    def forget_gpu_peak(self) -> None:
        """Begin to count anew how much memory of a GPU is taken."""
        from mixer_bench.models import device

        device.forget_gpu_peak(self.device)

    def gpu_peak(self) -> int | None:
        """Return how many bytes of its GPU this process took at most since then; None without one."""
        from mixer_bench.models import device

        return device.gpu_peak(self.device)

    def free_memory(self) -> int:
        """Return how many bytes networks may still take of the device's memory."""
        from mixer_bench.models import device

        return device.free_memory(self.device)

    def highest_gpu_peak(self) -> int | None:
        """Return the same of the process that took most; all must ask."""
        from mixer_bench.training import distributed

        peak = self.gpu_peak()
        return None if peak is None else distributed.most(peak)

    def together(self) -> contextlib.AbstractContextManager[None]:
        """Let what fails inside in one process fail in all of them, with the same error."""
        from mixer_bench.training import distributed

        return distributed.together()

    def the_firsts(self, value: Value) -> Value:
        """Return in all processes what the first one has."""
        from mixer_bench.training import distributed

        return distributed.the_firsts(value)

    def led(self, turns: Generator[Value]) -> Generator[Value]:
        """Give in all processes the turns of the first one: it alone claims work."""
        from mixer_bench.training import distributed

        return distributed.led(turns)

    def agree_on(self, known: bool) -> None:
        """Make sure that all processes know the runs that the first one does next.

        Raises:
            UsageError: one of them does not: it sees other data or results.
        """
        with self.together():
            if not known:
                raise UsageError(
                    "the processes have different runs to do: they see other data or results; let all share one "
                    "folder, and run again"
                )

    def load(self, group: Group, run: Run) -> Backbone:
        """Return the network of a run whose protocol wants features."""
        from mixer_bench.models import backbone

        if weights.identity(group.card) != run.weights:
            raise WeightsError(f"{run.model}: its weights have changed since this run began; run again")
        return backbone.load(group.card, run.preprocessing, self.device, run.precision, self.options.compile)

    def features(self, group: Group, run: Run, log: ProgressLog) -> CachedFeatures:
        """Return the frozen backbone of a run, which tells ``log`` of its work."""
        return CachedFeatures(
            Network(run.weights, run.preprocessing, run.precision),
            self.cache,
            load=lambda: self.load(group, run),
            computer=self.computer,
            on_batch=log.advance,
            on_note=log.line,
            heard=lambda words: log.now(f"{group.label}, {words}"),
            fresh=self.options.fresh,
        )

    def resizer(self, preprocessing: Preprocessing) -> Resizer | None:
        """Return what resizes images on the device; None where processors do."""
        from mixer_bench.models.matrices import Resizer

        return Resizer(preprocessing, self.device) if self.device.type == "cuda" else None

    def trainable(self, group: Group, run: Run, heard: Callable[..., None]) -> Trainable:
        """Return the network of a run whose protocol trains it; ``heard`` as ``TrainableBackbone`` has it."""
        from mixer_bench.training.network import Trainable

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
    from mixer_bench.models import compiling, matrices
    from mixer_bench.models.device import exact_fp32
    from mixer_bench.training import images, launch

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
    import torch

    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > system.cores():
        torch.set_num_threads(system.cores())
