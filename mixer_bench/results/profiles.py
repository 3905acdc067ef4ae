"""Profiles: how fast a network is on a device and what it takes there. Values only; never torch.

A profile is of a network, not of weights: they do not change the speed, so models of one architecture share it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from mixer_bench.results.record import KEY_DIGITS
from mixer_bench.system.machine import Precision
from mixer_bench.system.schema import Frozen, Sealed

Shape = Literal["native", "sized", "widened"]
SweepEnd = Literal["fell", "memory", "time", "sizes"]


class Batch(Frozen):
    """What was measured at one batch size."""

    batch: PositiveInt
    images_per_second: PositiveFloat  # median over repeats
    quartiles: tuple[PositiveFloat, PositiveFloat]
    peak_memory: NonNegativeInt | None  # bytes, weights and images included; None where the system does not tell


class Latency(Frozen):
    """Milliseconds from one image on the device to its features there, over so many passes of batch 1."""

    median: PositiveFloat
    p95: PositiveFloat
    repeats: PositiveInt


class Profile(Sealed):
    """One network at one resolution on one device in one precision."""

    schema_version: Literal[1] = 1
    model: str  # for people; the network's digest is what counts
    network: str  # SHA-256 of the architecture's identity
    # "native": as the card has it. At another resolution: "sized", with hidden widths as they are, and "widened", a
    # Mixer whose token-mixing MLPs grow with the patches, the shape that `run --resolution` puts weights into.
    shape: Shape
    resolution: PositiveInt  # pixels
    patches: PositiveInt | None  # of an image; None for networks without
    precision: Precision
    compiled: bool = False  # by torch.compile
    device: str  # "cpu", "cuda:0"
    device_name: str
    threads: PositiveInt
    parameters: PositiveInt  # without the classifier
    flops: PositiveInt  # of one image's forward pass; a multiply-add is two
    sweep: tuple[Batch, ...]
    # Why no larger batch was tried: throughput fell twice, memory ran out, a pass took too long, or sizes were done.
    sweep_end: SweepEnd
    best_batch: PositiveInt
    throughput: PositiveFloat  # images a second at the best batch size (MLP-Mixer, section 3, "Metrics")
    latency_ms: Latency
    matmul_peak_flops: PositiveFloat  # a second, of a large matrix product in the same precision, as measured
    utilisation: PositiveFloat  # throughput * flops / matmul_peak_flops
    disturbed: bool | None = None  # other processes took CPUs: told by profiles of version 0.1, no longer measured
    warmup: NonNegativeInt  # passes before each measurement
    repeats: PositiveInt  # at each batch size
    repeat_seconds: float  # a repeat has as many passes as take that long
    environment: dict[str, str]
    created: str  # ISO 8601, UTC

    @model_validator(mode="after")
    def _has_its_best_batch(self) -> Profile:
        if self.best_batch not in [batch.batch for batch in self.sweep]:
            raise ValueError(f"its best batch, {self.best_batch}, is none of those that were measured")
        return self

    @property
    def key(self) -> str:
        """The hash of what was measured and where, hexadecimal; what was swept and what came out are no part of it."""
        identity = self.model_dump(include={"network", "resolution", "device_name", "threads", "precision"})
        if self.compiled:  # eager went without saying before networks were compiled
            identity["compiled"] = True
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:KEY_DIGITS]

    @property
    def label(self) -> str:
        """The model's name for people: of a Mixer's two shapes at another resolution, the second is named."""
        return self.model + (" widened" if self.shape == "widened" else "")

    @property
    def networks(self) -> str:
        """How the network ran, in a word."""
        return "compiled" if self.compiled else "eager"

    @property
    def best(self) -> Batch:
        """What was measured at the best batch size."""
        return next(batch for batch in self.sweep if batch.batch == self.best_batch)
