"""Profiles: how fast a network is on a device and what it takes there. The folder that keeps them; never torch.

A profile is of a network, not of weights: they do not change the speed, so models of one architecture share it.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from mixer_bench.errors import ResultsError
from mixer_bench.results.record import KEY_DIGITS
from mixer_bench.system import files
from mixer_bench.system.machine import Precision
from mixer_bench.system.schema import first_problem, read_versioned

SCHEMA_VERSION = 1
Shape = Literal["native", "sized", "widened"]
SweepEnd = Literal["fell", "memory", "time", "sizes"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Batch(_Frozen):
    """What was measured at one batch size."""

    batch: PositiveInt
    images_per_second: PositiveFloat  # median over repeats
    quartiles: tuple[PositiveFloat, PositiveFloat]
    peak_memory: NonNegativeInt | None  # bytes, weights and images included; None where the system does not tell


class Latency(_Frozen):
    """Milliseconds from one image on the device to its features there, over so many passes of batch 1."""

    median: PositiveFloat
    p95: PositiveFloat
    repeats: PositiveInt


class Profile(_Frozen):
    """One network at one resolution on one device in one precision."""

    schema_version: int = SCHEMA_VERSION
    model: str  # for people; the network's digest is what counts
    network: str  # SHA-256 of the architecture's identity
    # "native": as the card has it. At another resolution: "sized", with hidden widths as they are, and "widened", a
    # Mixer whose token-mixing MLPs grow with the patches, the shape that `run --resolution` puts weights into.
    shape: Shape
    resolution: PositiveInt  # pixels
    patches: PositiveInt | None  # of an image; None for networks without
    precision: Precision
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
    disturbed: bool | None = None  # other processes took CPUs that it needed; None where the system does not tell
    warmup: NonNegativeInt  # passes before each measurement
    repeats: PositiveInt  # at each batch size
    repeat_seconds: float  # a repeat has as many passes as take that long
    environment: dict[str, str]
    created: str  # ISO 8601, UTC

    @property
    def key(self) -> str:
        """Hash of what was measured and where, hexadecimal; what was swept and what came out are no part of it."""
        identity = {
            "network": self.network,
            "resolution": self.resolution,
            "device_name": self.device_name,
            "threads": self.threads,
            "precision": self.precision,
        }
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:KEY_DIGITS]

    @property
    def label(self) -> str:
        """For people: of a Mixer's two shapes at another resolution, the second is named."""
        return self.model + (" widened" if self.shape == "widened" else "")

    @property
    def best(self) -> Batch:
        """What was measured at the best batch size."""
        return next(batch for batch in self.sweep if batch.batch == self.best_batch)


def place(profile: Profile, results: Path) -> Path:
    """Where a profile lies. The path is for people; what counts is inside."""
    model = re.sub(r"[^\w.=-]+", "_", profile.model)
    return results / "profiles" / model / f"{profile.resolution}px-{profile.key}.json"


def check_writable(results: Path) -> None:
    """Write and remove a file, so that a bad folder is found before the work and not after.

    Raises:
        ResultsError: the folder cannot be written.
    """
    probe = results / "profiles" / ".writable"
    try:
        files.write(probe, "")
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise ResultsError(f"cannot write profiles to {results}: {error.strerror}; name another folder") from None


def save(profile: Profile, results: Path) -> Path:
    """Keep a profile; an earlier one of the same key is replaced.

    Raises:
        ResultsError: the disk is full or the folder not writable.
    """
    file = place(profile, results)
    values: dict[str, Any] = profile.model_dump(mode="json")
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        files.write(file, text)
    except OSError as error:
        raise ResultsError(f"cannot write {file}: {error.strerror}; profiles written before are kept") from None
    return file


def read_profiles(results: Path) -> tuple[list[Profile], list[str]]:
    """All profiles of a results folder, by path, and a line for each file that is none: damaged, or of a newer version.

    Of two with the same key, measured under different names, only the newer one is given.
    """
    newest: dict[str, Profile] = {}
    problems = []
    for file in sorted((results / "profiles").rglob("*.json")):
        try:
            profile = read_profile(file)
        except ResultsError as error:
            problems.append(str(error))
            continue
        other = newest.get(profile.key)
        if other is None or other.created < profile.created:
            newest[profile.key] = profile
    return list(newest.values()), problems


def read_profile(file: Path) -> Profile:
    """The profile in ``file``.

    Raises:
        ResultsError: it is damaged, of a newer version, or not where its key belongs.
    """
    try:
        profile = Profile.model_validate(read_versioned(file, "profile", SCHEMA_VERSION, "profile again"))
    except ValidationError as error:
        raise ResultsError(
            f"{file}: not a whole profile ({first_problem(error)}); delete it and profile again"
        ) from None
    if not file.stem.endswith(profile.key):
        raise ResultsError(f"{file}: was changed or renamed: it is of the key {profile.key}; delete it")
    return profile
