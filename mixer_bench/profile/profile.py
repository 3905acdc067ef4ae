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
from typing import Literal, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mixer_bench.errors import MixerBenchError, UsageError
from mixer_bench.models import compiling, names, networks
from mixer_bench.models.card import Architecture, Card
from mixer_bench.models.device import autocast, device_name, exact_fp32, pick_device, placed
from mixer_bench.profile.speed import (
    BATCH_SIZES,
    COMPILED_SIZES,
    Effort,
    PeakMemory,
    Stopwatch,
    best_precision,
    matmul_peak,
    sweep,
)
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
    compiled: bool = False


@dataclass(frozen=True)
class Job:
    """One network to profile."""

    model: str
    architecture: Architecture
    shape: Shape
    resolution: int

    @property
    def label(self) -> str:
        """The network in words."""
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


class Counts(NamedTuple):
    """What is known of a network without running it."""

    parameters: int
    flops: int
    patches: int | None


def machine(device: str = "auto", precision: Precision | Literal["auto"] = "auto", compiled: bool = False) -> Machine:
    """Return the device of that name, and the precision it is best at if none is named.

    Raises:
        UsageError: there is no such device, or nothing can be compiled for it.
    """
    where = pick_device(device)
    if where.type == "cuda" and where.index is None:
        where = torch.device("cuda", torch.cuda.current_device())
    if compiled:
        compiling.check(where)
    return Machine(where, best_precision(where) if precision == "auto" else precision, Effort(), compiled)


def jobs(models: Sequence[str], resolutions: Sequence[int] = ()) -> tuple[list[Job], Outcome]:
    """Return what there is to profile, and an outcome with what cannot be had and which names share a network.

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
    planned: dict[tuple[str, int], Job] = {}
    twins: dict[str, str] = {}
    outcome = Outcome()
    cards = [names.card(name) for name in names.matching(models)]
    for card in cards:
        if card.architecture is None:
            if card.name in models or len(cards) == 1:
                raise UsageError(f"{card.name} has no network to profile")
            continue  # a glob matched it beside others
        for side in dict.fromkeys(resolutions or [card.preprocessing.resolution]):
            try:
                jobs_at_side = _jobs_at(card, card.architecture, side)
            except UsageError as error:
                outcome.unavailable.append(error)
                continue
            for job in jobs_at_side:
                twin = planned.setdefault((job.architecture.digest, side), job)
                if twin.model != job.model:
                    twins[job.model] = twin.model
    outcome.notes += [f"{name} has the same network as {twin}" for name, twin in twins.items()]
    return list(planned.values()), outcome


def _jobs_at(card: Card, architecture: Architecture, side: int) -> list[Job]:
    """Return the shapes of a card's network at one resolution; UsageError where it cannot be had at it."""
    enlarged = card.at(side).enlarged
    model = card.name.removeprefix("random:")
    if enlarged is None:
        return [Job(model, architecture, "native", side)]
    sized = Job(model, architecture.sized(side), "sized", side)
    return [sized] if card.family != "mixer" else [sized, Job(model, enlarged, "widened", side)]


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
        label = f"{number}/{len(asked)} {job.label}"
        log.label(label)
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
            log.label(f"{label}: {profile.throughput:,.0f} images/s at batch {profile.best_batch}")
        log.advance()


def measure(job: Job, where: Machine, batch_sizes: Sequence[int] | None = None) -> Profile:
    """Return the profile of one network.

    Raises:
        UsageError: timm has no such network.
        RuntimeError: memory runs out at the first batch size, or torch cannot compute the network.
    """
    known = count(job)
    latency, batches, end, peak = _measured(job, where, batch_sizes)
    best = max(batches, key=lambda batch: batch.images_per_second)
    threads = torch.get_num_threads()
    return Profile(
        model=job.model,
        network=job.architecture.digest,
        shape=job.shape,
        resolution=job.resolution,
        **known._asdict(),
        precision=where.precision,
        compiled=where.compiled,
        device=str(where.device),
        device_name=device_name(where.device),
        threads=threads,
        sweep=batches,
        sweep_end=end,
        best_batch=best.batch,
        throughput=best.images_per_second,
        latency_ms=latency,
        matmul_peak_flops=peak,
        utilisation=best.images_per_second * known.flops / peak,
        warmup=where.effort.warmup,
        repeats=where.effort.repeats,
        repeat_seconds=where.effort.repeat_seconds,
        environment=environment.describe(str(where.device), threads),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


@exact_fp32()
def _measured(
    job: Job, where: Machine, batch_sizes: Sequence[int] | None
) -> tuple[Latency, tuple[Batch, ...], SweepEnd, float]:
    """Return latency, what was measured at batch sizes, why there are no more of them, and the matmul peak."""
    # Taken in turn with the network: a machine that others use is at no two times equally fast.
    peaks = [matmul_peak(where.device, where.precision, where.effort.product_seconds)]
    memory = PeakMemory(where.device)  # before the network is built, so that its weights count
    network = placed(_network(job), where.device)
    if where.compiled:
        compiling.compiled(network, job.model)
    watch = Stopwatch(network, job.resolution, where.device, where.effort)

    def at(size: int) -> Batch:
        batch = watch.at(size, memory)
        peaks.append(matmul_peak(where.device, where.precision, where.effort.product_seconds))
        return batch

    with torch.inference_mode(), autocast(where.device, where.precision):
        latency = watch.latency()
        tried = COMPILED_SIZES if where.compiled else BATCH_SIZES
        batches, end = sweep(at, batch_sizes, where.effort.longest_pass, tried)
    return latency, batches, end, max(peaks)


def count(job: Job) -> Counts:
    """Return parameters, FLOPs of one image's forward pass and patches, from a network that holds no memory.

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
    patches = (getattr(module, "num_patches", None) for module in network.modules())
    return Counts(parameters, counter.get_total_flops(), next((n for n in patches if isinstance(n, int)), None))


def _network(job: Job) -> nn.Module:
    """Build images to features, without gradients: the FLOP counter would look for them in vain."""
    return networks.headless(networks.build(job.architecture, 1)).eval().requires_grad_(requires_grad=False)
