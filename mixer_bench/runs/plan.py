"""Which runs are asked for, which of them are missing, and what they will cost. Computes nothing."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel

from mixer_bench import data, protocols
from mixer_bench.data.examples import TaskData
from mixer_bench.errors import Absent, DataError, MixerBenchError, UsageError, WeightsError
from mixer_bench.models import origin as origin_module
from mixer_bench.models import weights
from mixer_bench.models.card import Card, Origin
from mixer_bench.results.record import Run
from mixer_bench.results.store import Store
from mixer_bench.runs.request import Overwrite, Request, _check, _settings
from mixer_bench.system.machine import Precision
from mixer_bench.task.task import Task
from mixer_bench.training import presets

Found = TypeVar("Found")
TRAINING_STEP = 3  # forward, and backward to inputs and to weights
Variant = tuple[str, BaseModel, int, str | None]  # protocol, config, seed, preset


@dataclass(frozen=True)
class Planned:
    """A run and the config object its protocol is called with."""

    run: Run
    config: BaseModel
    preset: str | None = None  # whose settings these are, all of them


@dataclass(frozen=True)
class Group:
    """Missing runs of one model on one task: they share data and features."""

    card: Card
    task: Task
    data: TaskData
    runs: tuple[Planned, ...]
    origin: Origin

    @property
    def images(self) -> int:
        """Images of all three splits, where features of them are wanted."""
        return sum(map(len, self.data.splits.values())) if any(is_frozen(p.run.protocol) for p in self.runs) else 0

    @property
    def trained(self) -> int:
        """Images that are trained on, at most: the search for a rate is shared by the seeds."""
        total, searched = 0, set()
        for planned in self.runs:
            if not is_frozen(planned.run.protocol):
                cost = protocols.get(planned.run.protocol).cost(planned.config)
                total += cost.trained + (0 if planned.config in searched else cost.searched)
                searched.add(planned.config)
        return total

    @property
    def units(self) -> float:
        """How long it takes, in forward passes of an image: a training step is about three."""
        return self.images + TRAINING_STEP * self.trained + len(self.runs)

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.card.name} on {self.task.name}"


@dataclass(frozen=True)
class Plan:
    """What there is to do. ``unavailable`` holds an error for each task or model that cannot be had."""

    groups: tuple[Group, ...]
    asked: tuple[Run, ...]
    kept_failures: int
    unavailable: tuple[MixerBenchError, ...]
    untrained: tuple[tuple[str, str], ...] = ()  # models without a network, and protocols that would train one

    @property
    def missing(self) -> int:
        """How many runs there are to do."""
        return sum(len(group.runs) for group in self.groups)


def make(request: Request, store: Store) -> Plan:
    """Every run asked for, and those of them that ``store`` does not have.

    Raises:
        UsageError: an unknown protocol or setting, or no seeds.
    """
    _check(request)
    groups: list[Group] = []
    asked: list[Run] = []
    unavailable: list[MixerBenchError] = []
    kept = 0
    untrained: set[tuple[str, str]] = set()
    # Two files of one name are two models, so cards are kept by place and not by name.
    models = [
        m for c in request.cards if (m := _or_error(functools.partial(_model, c, request.resolution), unavailable))
    ]
    # Task by task: a task's images are read once and serve all models.
    for task in request.tasks:
        loaded = _or_error(functools.partial(_load, task, request), unavailable)
        if loaded is None:
            continue
        variants = _variants(request, task, len(loaded.train) + len(loaded.val))
        for card, identity, origin in models:
            fitting = [v for v in variants if card.architecture is not None or is_frozen(v[0])]
            untrained |= {(card.name, v[0]) for v in variants if v not in fitting}
            planned = [
                Planned(_run(card, identity, task, loaded, request, variant), variant[1], variant[3])
                for variant in fitting
            ]
            asked += [p.run for p in planned]
            wanted = tuple(p for p in planned if _is_wanted(p.run, store, request.overwrite))
            kept += sum(store.has_failed(p.run) and not store.has(p.run) for p in planned if p not in wanted)
            if wanted:
                groups.append(Group(card, task, loaded, wanted, origin))
    return Plan(tuple(groups), tuple(asked), kept, tuple(unavailable), tuple(sorted(untrained)))


def is_frozen(protocol: str) -> bool:
    """Whether a protocol leaves the backbone's weights as they are, so that features serve it."""
    return not protocols.get(protocol).trains


def _variants(request: Request, task: Task, examples: int) -> list[Variant]:
    """The runs of each model on a task with so many training examples."""
    found = []
    for name in request.protocols:
        protocol = protocols.get(name)
        settings, preset = _settings(request, name), None
        if protocol.defaults:
            defaults = protocol.defaults(request.preset, task, examples)
            preset = None if settings else request.preset or presets.DEFAULT
            settings = {**defaults, **settings}
        sweep = dict(protocol.sweep)
        if request.shots and "shots" in sweep:
            sweep["shots"] = tuple(dict.fromkeys(request.shots))
        sweep = {key: values for key, values in sweep.items() if key not in settings}
        for values in itertools.product(*sweep.values()):
            config = protocols.configure(name, {**settings, **dict(zip(sweep, values, strict=True))})
            seeds = request.seeds if protocol.seeded else 1
            found += [(name, config, seed, preset) for seed in range(seeds)]
    return found


def _load(task: Task, request: Request) -> TaskData:
    return data.load(task, request.data_dir).limited(request.limit)


def _or_error(get: Callable[[], Found], errors: list[MixerBenchError]) -> Found | None:
    """What ``get`` gives, or None with the error noted: one missing task or model does not stop the others."""
    try:
        return get()
    except (DataError, UsageError, WeightsError, Absent) as error:
        errors.append(error)
        return None


def _model(card: Card, resolution: int | None) -> tuple[Card, str, Origin]:
    """The card at that resolution, its weights' identity, and what records will say of it."""
    at = card.at(resolution)
    identity = weights.identity(at)
    return at, identity, origin_module.origin(at, fetch=True)


def _run(card: Card, identity: str, task: Task, loaded: TaskData, request: Request, variant: Variant) -> Run:
    protocol, config, seed, _ = variant
    return Run(
        model=card.name,
        weights=identity,
        preprocessing=card.preprocessing.for_task(task.resize),
        task=task.name,
        task_version=task.version,
        data=loaded.fingerprint,
        subset=loaded.subset,
        limit=request.limit,
        metric=task.metric,
        protocol=protocol,
        protocol_version=protocols.get(protocol).version,
        config=config.model_dump(mode="json"),
        seed=seed,
        precision=_precision(card, protocol, request.precision),
    )


def _precision(card: Card, protocol: str, asked: Precision) -> Precision:
    """What is computed in: without a network nothing is rounded, and training in fp16 would need scaled gradients."""
    if card.architecture is None or (asked == "fp16" and not is_frozen(protocol)):
        return "fp32"
    return asked


def _is_wanted(run: Run, store: Store, overwrite: Overwrite) -> bool:
    if overwrite == "always":
        return True
    return not store.has(run) and (overwrite == "failed" or not store.has_failed(run))
