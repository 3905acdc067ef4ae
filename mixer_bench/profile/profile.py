"""Profiles of models: throughput, latency, memory, parameters and FLOPs at any input resolution.

Networks are built untrained and nothing is fetched: weights do not change the speed. Away from its own resolution a
Mixer has two shapes, and both are profiled: with hidden widths as they are, cost grows linearly with the number of
patches (MLP-Mixer, section 2); widened, as pretrained weights need it (section 3 and appendix C), it grows faster.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mixer_bench.errors import MixerBenchError, UsageError
from mixer_bench.models import device as device_module
from mixer_bench.models import names, networks
from mixer_bench.models.card import Architecture, Card
from mixer_bench.profile.speed import Effort, Neighbours, PeakMemory, Stopwatch, best_precision, matmul_peak, sweep
from mixer_bench.results.profiles import Batch, Latency, Profile, Shape, SweepEnd
from mixer_bench.results.store import Store
from mixer_bench.system import machine as environment
from mixer_bench.system.machine import Precision
from mixer_bench.system.progress import ProgressLog

SMALLEST_SIDE = 8  # pixels, as in `run`


@dataclass(frozen=True)
class Machine:
    """Where and how networks are measured."""

    device: torch.device
    precision: Precision
    effort: Effort

    @property
    def device_name(self) -> str:
        """The processor's or GPU's own name."""
        return device_module.device_name(self.device)


@dataclass(frozen=True)
class Job:
    """One network to profile."""

    model: str
    architecture: Architecture
    shape: Shape
    resolution: int

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.model}{' widened' if self.shape == 'widened' else ''}, {self.resolution} px"


@dataclass
class Outcome:
    """What became of the jobs."""

    profiles: list[Profile] = field(default_factory=list)
    unavailable: list[MixerBenchError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 all is there; else what the gravest error says."""
        return max((error.exit_code for error in self.unavailable), default=0)


@dataclass(frozen=True)
class Counts:
    """What is known of a network without running it."""

    parameters: int
    flops: int
    patches: int | None


def machine(device: str = "auto", precision: Precision | Literal["auto"] = "auto") -> Machine:
    """The device of that name, and the precision it is best at if none is named.

    Raises:
        UsageError: there is no such device.
    """
    where = device_module.pick_device(device)
    if where.type == "cuda" and where.index is None:
        where = torch.device("cuda", torch.cuda.current_device())
    return Machine(where, best_precision(where) if precision == "auto" else precision, Effort())


def jobs(models: Sequence[str], resolutions: Sequence[int] = ()) -> tuple[list[Job], Outcome]:
    """What there is to profile, and an outcome that holds what cannot be had and which names share a network.

    Args:
        models: names as in ``run``; ``random:NAME`` is NAME's network.
        resolutions: pixels; none for each model's own.

    Raises:
        UsageError: an unknown model, one without a network, or a resolution too small for any.
    """
    if not models:
        raise UsageError("a model must be named")
    if any(side < SMALLEST_SIDE for side in resolutions):
        raise UsageError(f"--resolution {min(resolutions)}: from {SMALLEST_SIDE} pixels up")
    found: dict[tuple[str, int], Job] = {}
    twins: dict[str, str] = {}
    outcome = Outcome()
    for card in [names.card(name) for name in models]:
        if card.architecture is None:
            raise UsageError(f"{card.name} has no network to profile")
        for side in dict.fromkeys(resolutions or [card.preprocessing.resolution]):
            try:
                of_card = _jobs_at(card, side)
            except UsageError as error:
                outcome.unavailable.append(error)
                continue
            for job in of_card:
                twin = found.setdefault((job.architecture.digest, side), job)
                if twin.model != job.model:
                    twins[job.model] = twin.model
    outcome.notes += [f"{name} has the same network as {twin}" for name, twin in twins.items()]
    return list(found.values()), outcome


def _jobs_at(card: Card, side: int) -> list[Job]:
    """A card's shapes at one resolution.

    Raises:
        UsageError: the network cannot be had at it.
    """
    at = card.at(side)
    assert card.architecture is not None
    assert at.network is not None
    model = card.name.removeprefix("random:")
    if at.enlarged is None:
        return [Job(model, at.network, "native", side)]
    sized = Job(model, card.architecture.sized(side), "sized", side)
    return [sized] if card.family != "mixer" else [sized, Job(model, at.network, "widened", side)]


def execute(
    asked: Sequence[Job],
    where: Machine,
    batch_sizes: Sequence[int] | None,
    results: Path,
    log: ProgressLog,
    outcome: Outcome,
) -> None:
    """Measure each job and keep its profile at once. One that fails is reported, and the others go on.

    Args:
        asked: what to profile.
        where: the device and precision.
        batch_sizes: to be measured; None to sweep for the best.
        results: the folder of records.
        log: told what is being worked on.
        outcome: what comes out is added to it.

    Raises:
        ResultsError: profiles can no longer be written.
    """
    for number, job in enumerate(asked, 1):
        log.label(f"{number}/{len(asked)} {job.label}")
        try:
            profile = measure(job, where, batch_sizes)
        except UsageError as error:
            outcome.unavailable.append(error)
        except RuntimeError as error:  # torch's: memory that is too small for one batch, and all that it cannot compute
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            outcome.unavailable.append(MixerBenchError(f"{job.label} on {where.device}: {reason}"))
        else:
            Store(results).save_profile(profile)
            outcome.profiles.append(profile)
            speed = f"{profile.throughput:,.0f} images/s at batch {profile.best_batch}"
            log.label(f"{number}/{len(asked)} {job.label}: {speed}")
        log.advance()


def measure(job: Job, where: Machine, batch_sizes: Sequence[int] | None = None) -> Profile:
    """The profile of one network.

    Raises:
        UsageError: timm has no such network.
        RuntimeError: memory runs out at the first batch size, or torch cannot compute the network.
    """
    known = count(job)
    neighbours = Neighbours()
    latency, batches, end, peak = _measured(job, where, batch_sizes)
    best = max(batches, key=lambda batch: batch.images_per_second)
    threads = torch.get_num_threads()
    return Profile(
        model=job.model,
        network=job.architecture.digest,
        shape=job.shape,
        resolution=job.resolution,
        patches=known.patches,
        precision=where.precision,
        device=str(where.device),
        device_name=where.device_name,
        threads=threads,
        parameters=known.parameters,
        flops=known.flops,
        sweep=batches,
        sweep_end=end,
        best_batch=best.batch,
        throughput=best.images_per_second,
        latency_ms=latency,
        matmul_peak_flops=peak,
        utilisation=best.images_per_second * known.flops / peak,
        disturbed=neighbours.disturb(threads),
        warmup=where.effort.warmup,
        repeats=where.effort.repeats,
        repeat_seconds=where.effort.repeat_seconds,
        environment=environment.describe(str(where.device), threads),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _measured(
    job: Job, where: Machine, batch_sizes: Sequence[int] | None
) -> tuple[Latency, tuple[Batch, ...], SweepEnd, float]:
    """What the clock and the allocator say: latency, batch sizes, why there are no more of them, the matmul peak."""
    device_module.exact_fp32()
    # Taken in turn with the network: a machine that others use is at no two times equally fast.
    peaks = [matmul_peak(where.device, where.precision)]
    memory = PeakMemory(where.device)  # before the network is built, so that its weights count
    watch = Stopwatch(_network(job).to(where.device), job.resolution, where.device, where.effort)

    def at(batch: int) -> Batch:
        found = watch.at(batch, memory)
        peaks.append(matmul_peak(where.device, where.precision))
        return found

    with torch.inference_mode(), device_module.autocast(where.device, where.precision):
        latency = watch.latency()
        batches, end = sweep(at, batch_sizes, where.effort.longest_pass)
    return latency, batches, end, max(peaks)


def count(job: Job) -> Counts:
    """Parameters, FLOPs of one image's forward pass and patches, from a network that holds no memory.

    FLOPs are those of matrix products, convolutions and attention, a multiply-add being two; what is done element by
    element (normalisation, GELU, sums of residuals) is not counted, as is usual.

    Raises:
        UsageError: timm has no such network.
    """
    with torch.device("meta"):
        network = _network(job)
        image = torch.empty(1, 3, job.resolution, job.resolution)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(image)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Counts(parameters, counter.get_total_flops(), _patches(network))


def _network(job: Job) -> nn.Module:
    """Images to features; without gradients, which the FLOP counter would look for in vain under inference mode."""
    return networks.headless(networks.build(job.architecture, 1)).eval().requires_grad_(requires_grad=False)


def _patches(network: nn.Module) -> int | None:
    """How many an image has; None for a network without patches."""
    for module in network.modules():
        if isinstance(number := getattr(module, "num_patches", None), int):
            return number
    return None
