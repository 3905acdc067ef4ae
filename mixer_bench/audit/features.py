"""The features that an audit stands on: those that runs keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mixer_bench.data.examples import Examples, TaskData
from mixer_bench.errors import UsageError
from mixer_bench.results.store import Store
from mixer_bench.runs import machine, plan, rounds
from mixer_bench.runs.features import CachedFeatures, Network
from mixer_bench.runs.request import Request
from mixer_bench.runs.squares import Squares
from mixer_bench.system.progress import ProgressLog
from mixer_bench.task.task import Task


def gathered(request: Request) -> tuple[Task, TaskData, plan.Model]:
    """Return the one task and model of a request.

    Raises:
        UsageError: it asks for several.
        MixerBenchError: one of them cannot be had.
    """
    there = plan.gather(request)
    if there.unavailable:
        raise there.unavailable[0][1]
    if len(there.images) != 1 or len(there.models) != 1:
        raise UsageError("one task and one model are audited at a time")
    return (*there.images[0], there.models[0])


def features(
    request: Request, task: Task, model: plan.Model, splits: Sequence[Examples], log: Callable[[float], ProgressLog]
) -> list[np.ndarray]:
    """Return a model's features of each of ``splits``, float32 [N, D]: kept ones, or computed now and kept.

    Raises:
        MixerBenchError: the weights cannot be loaded, or an image cannot be decoded.
    """
    from mixer_bench.models import backbone

    card, precision = model.card, request.precision if model.card.architecture else "fp32"
    preprocessing = card.preprocessing.for_task(task.resize)
    with (
        machine.joined(request.options, Store(Path(request.options.output_dir))) as here,
        log(sum(map(len, splits))) as shown,
    ):
        shown.label(f"features of {card.name} on {task.name}")
        cache = CachedFeatures(
            Network(model.identity, preprocessing, precision),
            here.cache,
            load=lambda: backbone.load(card, preprocessing, here.device, precision, request.options.compile),
            computer=here.computer,
            on_batch=shown.advance,
            on_note=shown.line,
            fresh=request.options.fresh,
        )
        resizer = here.resizer(preprocessing)
        squares = Squares(preprocessing, here.computer.batch_size, here.cache, shown.line, resizer)
        rounds.fill([cache], splits, squares, here.free_memory)
        return [cache.features(images) for images in splits]
