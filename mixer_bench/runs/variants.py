"""The runs that a request makes of each task: protocols with all their settings, and seeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pydantic import BaseModel

from mixer_bench import protocols
from mixer_bench.protocols.base import Protocol
from mixer_bench.runs.request import Request
from mixer_bench.task.task import Task
from mixer_bench.training import presets


class Variant(NamedTuple):
    """A protocol with all its settings and a seed."""

    name: str
    protocol: Protocol
    config: BaseModel
    seed: int
    preset: str | None = None  # whose settings these are, all of them


def variants_of(request: Request, task: Task, examples: int) -> Iterator[Variant]:
    """Give the runs of each model on a task with so many training examples."""
    options = request.options
    for name, protocol in request.protocols.items():
        settings, preset = request.settings_of(name), None
        if protocol.defaults:
            preset = None if settings else options.preset or presets.DEFAULT
            settings = {**protocol.defaults(options.preset, task, examples), **settings}
        sweep = dict(protocol.sweep)
        if options.shots and "shots" in sweep:
            sweep["shots"] = tuple(dict.fromkeys(options.shots))
        sweep = {key: values for key, values in sweep.items() if key not in settings}
        for values in itertools.product(*sweep.values()):
            config = protocols.configure(name, {**settings, **dict(zip(sweep, values, strict=True))})
            grid, most = rates_of(config), options.rates or len(rates_of(config))
            if len(grid) > most:
                spread = tuple(grid[(2 * place + 1) * len(grid) // (2 * most)] for place in range(most))
                config, preset = config.model_copy(update={"learning_rates": spread}), None
            for seed in range(options.seeds if protocol.seeded else 1):
                yield Variant(name, protocol, config, seed, preset)


def rates_of(config: BaseModel) -> tuple[float, ...]:
    """Return the learning rates that a protocol chooses from; none where it has no such setting."""
    return tuple(sorted(config.model_dump(include={"learning_rates"}).get("learning_rates", ())))


def trained_by(variants: Iterable[Variant]) -> int:
    """Return how many images variants train on, at most: the search for a rate is shared by the seeds."""
    total, searched = 0, set()
    for variant in variants:
        if variant.protocol.trains:
            cost = variant.protocol.cost(variant.config)
            total += cost.trained + (0 if variant.config in searched else cost.searched)
            searched.add(variant.config)
    return total
