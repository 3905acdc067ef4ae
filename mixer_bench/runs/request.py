"""What a user asked for, with names resolved to tasks, cards and protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mixer_bench import protocols
from mixer_bench.data.names import Reading, chosen_tasks
from mixer_bench.errors import UsageError, unknown
from mixer_bench.models import names
from mixer_bench.models.card import Card
from mixer_bench.protocols.base import Protocol
from mixer_bench.runs.options import Options
from mixer_bench.system import machine
from mixer_bench.system.machine import Precision
from mixer_bench.task.task import Task
from mixer_bench.training import presets


@dataclass(frozen=True)
class Request:
    """Every combination of tasks, models and protocols, under the same options."""

    options: Options
    tasks: Sequence[Task]
    cards: Sequence[Card]
    protocols: Mapping[str, Protocol]
    precision: Precision = "fp32"

    def settings_of(self, protocol: str) -> dict[str, Any]:
        """Return what was set of a protocol's settings: each goes to the protocols that know it."""
        known = self.protocols[protocol].config.model_fields
        return {key: value for key, value in self.options.settings.items() if key in known}


def request(options: Options) -> Request:
    """Resolve the names in ``options``, and refuse what no task could make right.

    Raises:
        UsageError: an unknown name or setting, or options that do not go together.
    """
    if not (options.task and options.model and options.protocol):
        raise UsageError("a task, a model and a protocol must be named (--task, --model, --protocol)")
    names.import_files(options.import_files)
    # By weights as well as by name: two checkpoints in files of one name are two models.
    cards = {(card.name, card.weights): card for card in map(names.card, names.matching(options.model))}
    asked = Request(
        options,
        tasks=tasks_of(options),
        cards=list(cards.values()),
        protocols={name: protocols.get(name) for name in options.protocol},
        precision=precision_for(options.precision, options.device),
    )
    _check(asked)
    return asked


def tasks_of(options: Options) -> list[Task]:
    """Return the tasks that options name.

    Raises:
        UsageError: an unknown name.
    """
    reading = Reading(options.image, options.label, options.skip_bad, options.follow_links, options.allow_outside)
    return chosen_tasks(options.task, options.include, reading, options.source, options.subset)


def precision_for(asked: Literal["auto"] | Precision, device: str) -> Precision:
    """Return the precision that ``asked`` means: "auto" is half precision on a GPU and fp32 on a CPU."""
    if asked != "auto":
        return asked
    if device == "cpu" or (device == "auto" and not machine.may_have_gpu()):
        return "fp32"
    from mixer_bench.models.device import half_precision
    from mixer_bench.training import launch

    return half_precision(launch.device(device))


def _check(asked: Request) -> None:
    options = asked.options
    if options.fresh and options.overwrite == "never":
        raise UsageError("--fresh does every run again, --overwrite never does none: leave one out")
    known = {key for protocol in asked.protocols.values() for key in protocol.config.model_fields}
    if options.shots and ("shots" in options.settings or "shots" not in known):
        raise UsageError("--shots: no protocol asked for has shots, or they are --set already")
    presets.only_with_presets(
        options.preset, {name: protocol.defaults is not None for name, protocol in asked.protocols.items()}
    )
    presets.preset(options.preset)
    for key in options.settings:
        if key not in known:
            raise unknown(f"setting of {' or '.join(asked.protocols)}", key, known)
    for name, protocol in asked.protocols.items():
        settings = asked.settings_of(name)
        if protocol.defaults is None:
            protocols.configure(name, settings)
            continue
        for task in asked.tasks:  # what a setting goes with is the preset's, task by task
            try:
                protocols.configure(name, {**protocol.defaults(options.preset, task, 1), **settings})
            except UsageError as error:
                raise UsageError(f"{task.name}: {error}") from None
