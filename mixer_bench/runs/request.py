"""What a user asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mixer_bench.data.names import Columns, chosen_tasks
from mixer_bench.errors import UsageError
from mixer_bench.models import names
from mixer_bench.system import machine as environment
from mixer_bench.system.machine import Precision

if TYPE_CHECKING:
    pass
from dataclasses import field
from typing import get_args

from mixer_bench import protocols
from mixer_bench.errors import unknown
from mixer_bench.models.card import Card
from mixer_bench.task.task import Task
from mixer_bench.training import presets


def request(  # noqa: PLR0913  the flags of the command
    *,
    tasks: Sequence[str],
    models: Sequence[str],
    protocols: Sequence[str],
    settings: Mapping[str, Any],
    shots: Sequence[int],
    seeds: int,
    limit: int | None,
    overwrite: Overwrite,
    data_dir: Path | None,
    include: Sequence[Path],
    columns: Columns,
    source: str | None = None,
    resolution: int | None = None,
    precision: Precision = "fp32",
    preset: str | None = None,
) -> Request:
    """Names to tasks and cards.

    Raises:
        UsageError: an unknown name.
    """
    if not (tasks and models and protocols):
        raise UsageError("a task, a model and a protocol must be named")
    # By weights as well as by name: two checkpoints in files of one name are two models.
    cards = {(card.name, card.weights): card for card in map(names.card, models)}
    found = chosen_tasks(tasks, include, columns, source)
    return Request(
        tasks=found,
        cards=list(cards.values()),
        protocols=list(dict.fromkeys(protocols)),
        settings=settings,
        shots=shots,
        seeds=seeds,
        limit=limit,
        resolution=resolution,
        precision=precision,
        preset=preset,
        overwrite=overwrite,
        data_dir=data_dir,
    )


def precision_for(asked: Precision | Literal["auto"], device: str) -> Precision:
    """The precision that ``asked`` means on ``device``: "auto" is half precision on a GPU and fp32 on a CPU."""
    if asked != "auto":
        return asked
    if device == "cpu" or (device == "auto" and not environment.may_have_gpu()):
        return "fp32"
    from mixer_bench.models import device as device_module

    return device_module.half_precision(device_module.pick_device(device))


Overwrite = Literal["never", "failed", "always"]


RESOLUTIONS = range(8, 4097)  # pixels


PROTOCOLS = ("fewshot", "finetune")  # of a run that names none


@dataclass(frozen=True)
class Request:
    """What a user asked for: every combination of its parts."""

    tasks: Sequence[Task]
    cards: Sequence[Card]
    protocols: Sequence[str] = PROTOCOLS
    settings: Mapping[str, Any] = field(default_factory=dict)  # each goes to the protocols that know it; one must
    shots: Sequence[int] = ()  # empty: the protocol's own sweep
    seeds: int = 3
    limit: int | None = None
    resolution: int | None = None  # pixels; None: each model's own
    precision: Precision = "fp32"
    preset: str | None = None  # of protocols that have presets; None: their default
    overwrite: Overwrite = "failed"
    data_dir: Path | None = None


def _check(request: Request) -> None:
    """Refuse what no task could make right."""
    if request.seeds < 1:
        raise UsageError(f"--seeds must be 1 or more, not {request.seeds}")
    if request.limit is not None and request.limit < 1:
        raise UsageError(f"--limit must be 1 or more, not {request.limit}")
    if request.resolution is not None and request.resolution not in RESOLUTIONS:
        raise UsageError(f"--resolution {request.resolution}: {RESOLUTIONS.start} to {RESOLUTIONS.stop - 1} pixels")
    if request.precision not in get_args(Precision):
        raise unknown("precision", request.precision, get_args(Precision))
    if request.overwrite not in get_args(Overwrite):
        raise unknown("way to overwrite", request.overwrite, get_args(Overwrite))
    fields = {name: protocols.get(name).config.model_fields for name in request.protocols}
    if request.shots and ("shots" in request.settings or not any("shots" in known for known in fields.values())):
        raise UsageError("--shots: no protocol asked for has shots, or they are --set already")
    with_presets = {name: protocols.get(name).defaults is not None for name in request.protocols}
    presets.only_with_presets(request.preset, with_presets)
    presets.preset(request.preset)
    for key in request.settings:
        if not any(key in known for known in fields.values()):
            raise unknown(
                f"setting of {' or '.join(fields)}", key, {name for known in fields.values() for name in known}
            )
    for name in request.protocols:
        protocols.configure(name, _settings(request, name))


def _settings(request: Request, protocol: str) -> dict[str, Any]:
    """What was set of a protocol's settings."""
    known = protocols.get(protocol).config.model_fields
    return {key: value for key, value in request.settings.items() if key in known}
