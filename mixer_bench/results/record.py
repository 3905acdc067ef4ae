"""Run, Record: what was asked and what came out. A run is identified by a hash of values."""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Sequence
from pathlib import PureWindowsPath
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt, field_validator, model_validator

from mixer_bench.models.card import Origin
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.results.setting import Setting, Variant
from mixer_bench.system.machine import Precision
from mixer_bench.system.schema import CANONICAL, Count, Frozen, Sealed
from mixer_bench.system.shared import Shared, shared
from mixer_bench.task.sources import Subset

KEY_DIGITS = 16  # 64 bits: a collision among a million records has a chance below 1 in 10^7


class Run(Frozen):
    """Identity of one number: everything that can move it."""

    model: Shared[str]  # for people; the weights hash is what counts
    weights: Shared[str]  # SHA-256 of architecture and checkpoint
    preprocessing: Shared[Preprocessing]  # how images became inputs
    task: Shared[str]  # its name
    task_version: Count  # of the task file
    data: Shared[str]  # fingerprint of every image, label and split
    subset: Subset  # how far the images are the published ones
    limit: Count | None  # at most so many examples a split
    metric: Shared[str]  # the task's own: what selections go by
    metric_version: PositiveInt = 1  # raised whenever a metric is computed otherwise
    protocol: Shared[str]  # its name
    protocol_version: Count  # of the protocol's code
    config: Shared[dict[str, Any]]  # all settings of the protocol, by name
    seed: Count  # of what is drawn; 0 where nothing is
    precision: Precision  # in which features were computed

    @field_validator("task", "protocol")
    @classmethod
    def _names_a_place(cls, name: str) -> str:
        """Refuse a name that leads out of the results folder: records of strangers are read, too."""
        if not _is_name(name):
            raise ValueError(f"{name!r} is no name")
        return name

    @field_validator("config")
    @classmethod
    def _holds_settings(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Refuse what no protocol's settings can be: reports use their names and shots as they are."""
        if wrong := next((key for key in config if not key.isidentifier()), None):
            raise ValueError(f"{wrong!r} is no setting's name")
        shots = config.get("shots")
        if shots is not None and (isinstance(shots, bool) or not isinstance(shots, int) or not 0 < shots < 1 << 31):
            raise ValueError(f"shots are {shots!r}, no number of images")
        return config

    @property
    def identity(self) -> dict[str, Any]:
        """All fields but the model's name, which may be an alias, as plain values."""
        return self.model_dump(mode="json", exclude={"model"})

    @functools.cached_property
    def key(self) -> str:
        """The hash of the canonical JSON of the identity, hexadecimal."""
        values = self.identity
        if self.metric_version == 1:  # went without saying before metrics had versions: those runs keep their keys
            del values["metric_version"]
        return hashlib.sha256(CANONICAL.encode(values).encode()).hexdigest()[:KEY_DIGITS]

    @functools.cached_property
    def setting(self) -> Setting:
        """The protocol with all its settings."""
        return shared(Setting(self.protocol, self.protocol_version, config=self.config))

    @functools.cached_property
    def variant(self) -> Variant:
        """What it was measured on and by which metric."""
        fields = (self.task, self.task_version, self.data, self.subset, self.limit, self.metric, self.metric_version)
        return shared(Variant(*fields))

    @functools.cached_property
    def but_seed(self) -> tuple[str, Setting, Variant]:
        """All of it but the seed: where that is the same, runs repeat one measurement."""
        return (self.network, self.setting, self.variant)

    @functools.cached_property
    def network(self) -> str:
        """The model with its checkpoint, preprocessing and precision, as text."""
        return shared(f"{self.model} {self.weights} {self.preprocessing.model_dump_json()} {self.precision}")

    def __copy__(self) -> Run:
        """Copy without what was derived: after ``model_copy`` it may be another."""
        copied = super().__copy__()
        for derived in ("key", "setting", "variant", "but_seed", "network"):
            copied.__dict__.pop(derived, None)
        return copied


@functools.lru_cache(maxsize=4096)  # thousands of records have a few names
def _is_name(text: str) -> bool:
    whole = text.isprintable() and all(part.strip(". ") for part in re.split(r"[/\\]", text))
    return whole and not PureWindowsPath(text).drive


class Measured(Frozen):
    """A metric's value in [0, 1] and the 95 % interval due to the size of the test split."""

    value: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]  # a share: 1 is all right
    ci95: tuple[float, float]  # lower and upper end

    @field_validator("ci95")
    @classmethod
    def _ascends(cls, interval: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= interval[0] <= interval[1] <= 1:
            raise ValueError(f"{interval} is no interval in [0, 1]")
        return interval


class Selection(Frozen):
    """What was chosen, from which grid, by which score on which split."""

    parameter: str  # its name
    grid: tuple[float, ...]  # the values tried
    scores: tuple[float | None, ...]  # on `split`, in the grid's order; None where the training diverged
    chosen: float  # the value with the highest score
    split: str  # where the scores are from, never test
    examples: Count  # in that split
    at_edge: bool  # chosen is the grid's smallest or largest value: a better one may lie beyond

    @staticmethod
    def best(parameter: str, grid: Sequence[float], scores: Sequence[float | None], examples: int) -> Selection:
        """Choose the grid's value with the highest score on val, the first of equals; one without a score never."""
        chosen = grid[int(np.argmax([-math.inf if score is None else score for score in scores]))]
        at_edge = len(grid) > 1 and chosen in (min(grid), max(grid))
        values = {"parameter": parameter, "grid": grid, "scores": scores, "chosen": chosen, "at_edge": at_edge}
        return Selection.model_validate({**values, "split": "val", "examples": examples})


class Drawn(Frozen):
    """How many images a seed drew of those there were to draw from, where a protocol draws so many of each class."""

    images: int  # that the seed drew
    pool: int  # images there were to draw from
    short: int  # classes that have fewer than so many, each of which gave all it has
    fewest: int  # drawn of a class that has any

    @property
    def whole(self) -> bool:
        """Whether nothing was left to draw: every seed gave the same images, and its runs are one."""
        return self.images == self.pool


class RunCost(Frozen):
    """What the run took here. ``images`` went through the network for this very run: 0 where features were shared.

    ``extract_s`` is the network's own time and its share of that of preparing the images: models that see equal squares
    share it evenly. ``throughput`` is of the network alone, so that it does not depend on how many share; in earlier
    records the images were decoded in that time.
    """

    images: Count  # that went through the network for this very run
    extract_s: NonNegativeFloat  # seconds of computing features
    fit_s: NonNegativeFloat  # seconds of fitting and choosing
    throughput: NonNegativeFloat | None  # images a second when features were extracted, wherever that was
    throughput_on: Shared[str]  # device, threads and batch size of that, and whether networks were compiled
    decoding: bool = True  # whether the images of the throughput were decoded in that time
    trained_images: Count = 0  # that this very run trained on; the search for a rate counts with the run that made it
    peak_memory: Count | None  # bytes the process held at most; None where the system does not tell
    processes: PositiveInt = 1  # that trained the network together
    gpu_memory: Count | None = None  # bytes of tensors on one GPU at most, meanwhile; None on other devices


class Record(Sealed):
    """A run and what came out. Written once, never changed."""

    schema_version: Literal[2] = 2  # raised when earlier programs could not read it
    run: Run  # what was asked
    preset: str | None = None  # whose settings the run's config has, all of them
    metrics: dict[str, Measured]  # the task's own metric and the others
    num_classes: Count  # of the task
    n_train: Count  # images of the training split
    n_val: Count  # images of the validation split
    n_test: Count  # images of the test split
    selection: Selection | None = None  # what was chosen, and how; None where nothing is
    converged: bool | None = None  # whether the solver ended where it should; None for closed forms
    gradient: NonNegativeFloat | None = None  # largest component of the loss's, where a solver ended
    drawn: Drawn | None = None  # which training images a seed drew; None where all are used
    notes: Shared[tuple[str, ...]] = ()  # what a reader of the number should know
    curve: tuple[tuple[Count, float], ...] = ()  # of a training: step, mean loss since the last entry
    source: Shared[str]  # where the images were from, in words
    images_of: Shared[tuple[str, ...]] = ()  # tasks whose images the task's are among
    origin: Shared[Origin | None] = None  # of the model; None in records of the first versions
    extraction_notes: Shared[tuple[str, ...]] = ()  # on loading the weights and computing the features
    # Of the features from fp32's: norm of the difference / norm; None in fp32.
    deviation: NonNegativeFloat | None = None
    cost: RunCost  # what it took here
    code: Shared[dict[str, str]]  # digest of each concern's code (system/code.toml)
    environment: Shared[dict[str, str]]  # versions, processor and device, no names of hosts or users
    extraction_environment: Shared[dict[str, str] | None] = None  # where the features come from, if from elsewhere
    kept: str | None = None  # SHA-256 of the .safetensors beside it, which holds what was fitted; None: nothing is kept
    created: str  # ISO 8601, UTC

    @model_validator(mode="after")
    def _has_its_metric(self) -> Record:
        if self.run.metric not in self.metrics:
            raise ValueError(f"no value of its metric, {self.run.metric}")
        return self
