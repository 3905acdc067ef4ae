"""The features that an audit stands on: those that runs keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mixer_bench.data.examples import Examples, TaskData
from mixer_bench.errors import UsageError
from mixer_bench.results.store import Store
from mixer_bench.runs import machine, plan
from mixer_bench.runs.features import Network
from mixer_bench.runs.request import Request
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
    card, options = model.card, request.options
    network = Network(
        model.identity, card.preprocessing.for_task(task.resize), request.precision if card.architecture else "fp32"
    )
    with machine.joined(options, Store(options.output_dir)) as here, log(sum(map(len, splits))) as shown:
        label = f"features of {card.name} on {task.name}"
        shown.label(label)
        cache = here.features(card, network, label, shown)
        here.fill([cache], splits, shown.line)
        return [cache.features(images) for images in splits]
