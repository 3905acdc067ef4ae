"""From scores on test to a record."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np

from mixer_bench.data.examples import TaskData
from mixer_bench.models import device
from mixer_bench.protocols.base import Fitted
from mixer_bench.results.kept import digest
from mixer_bench.results.record import Measured, Record, RunCost
from mixer_bench.results.store import Predictions
from mixer_bench.runs.features import CachedFeatures, Extraction
from mixer_bench.runs.machine import Machine
from mixer_bench.runs.plan import Group, Planned
from mixer_bench.stats import metrics
from mixer_bench.system import code
from mixer_bench.system import machine as system
from mixer_bench.training import distributed


def judged(
    group: Group,
    planned: Planned,
    fitted: Fitted,
    scores: np.ndarray,
    machine: Machine,
    told: dict[str, Any],
    kept: bytes | None,
) -> tuple[Record, Predictions]:
    """Return the record and the predictions of a run, from its scores of test, float [n_test, num_classes].

    ``told`` has the record's fields that ``extraction`` or ``training`` gives, ``kept`` what the run learned.

    Raises:
        FloatingPointError: a score is infinite or undefined.
    """
    data = group.data
    given = _given(scores, len(data.test), data.num_classes, fitted)
    sure = given.confidence if given.confidence is None else given.confidence.astype(np.float32)
    predictions = Predictions(data.test.labels, given.classes, scores.max(axis=1).astype(np.float32), sure)
    record = Record(
        run=planned.run,
        preset=planned.variant.preset,
        metrics=_metrics(given, data),
        num_classes=data.num_classes,
        n_train=len(data.train),
        n_val=len(data.val),
        n_test=len(data.test),
        selection=fitted.selection,
        converged=fitted.converged,
        gradient=fitted.gradient,
        drawn=fitted.drawn,
        notes=(*fitted.notes, *_trimmed(machine.options.budget)),
        curve=fitted.curve,
        source=data.source,
        images_of=group.task.images_of,
        origin=group.origin,
        code=code.installed(planned.run.protocol),
        environment=machine.computer.environment,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        kept=kept and digest(kept),
        **told,
    )
    return record, predictions


def _trimmed(budget: str | None) -> list[str]:
    """What a record says of a request that was trimmed to fit into a time."""
    return [f"budget {budget}"] if budget and ":" in budget else []


def extraction(features: CachedFeatures, spent: Sequence[Extraction], fit_s: float, machine: Machine) -> dict[str, Any]:
    """Return what a record says of the features it stands on; ``spent``: those that count with this very run."""
    # The largest split is the best measured one: the smaller ones are dominated by their first batch.
    largest = max(features.provenance, key=lambda extraction: extraction.images)
    elsewhere = [e.environment for e in features.provenance if e.environment != features.computer.environment]
    return {
        "cost": RunCost(
            images=sum(extraction.images for extraction in spent),
            extract_s=round(sum(extraction.seconds + extraction.prepared for extraction in spent), 4),
            fit_s=round(fit_s, 4),
            throughput=round(largest.images / largest.seconds, 1),
            throughput_on=f"{largest.device_name}, batch {largest.batch_size}, {largest.networks}",
            decoding=False,
            peak_memory=system.peak_memory(),
            gpu_memory=device.gpu_peak(machine.device),
        ),
        "extraction_notes": tuple(dict.fromkeys(note for e in features.provenance for note in e.notes)),
        "deviation": max((e.deviation for e in features.provenance if e.deviation is not None), default=None),
        "extraction_environment": elsewhere[0] if elsewhere else None,
    }


def training(fitted: Fitted, fit_s: float, notes: Sequence[str], machine: Machine) -> dict[str, Any]:
    """Return what a record says of the training of its network, in all processes; ``notes``: on loading the weights."""
    peak = device.gpu_peak(machine.device)
    cost = RunCost(
        images=0,
        extract_s=0.0,
        fit_s=round(fit_s, 4),
        throughput=None,
        throughput_on="",
        trained_images=fitted.images,
        peak_memory=system.peak_memory(),
        processes=machine.world.size,
        gpu_memory=None if peak is None else distributed.most(peak),
    )
    return {"cost": cost, "extraction_notes": tuple(notes)}


def _given(scores: np.ndarray, count: int, num_classes: int, fitted: Fitted) -> metrics.Given:
    if scores.shape != (count, num_classes):
        raise ValueError(f"scores of shape {scores.shape} for {count} examples of {num_classes} classes")
    if not np.isfinite(scores.max(axis=1)).all():
        raise FloatingPointError("scores are infinite or undefined")
    return metrics.Given.of(scores, fitted.scale)


def _metrics(given: metrics.Given, data: TaskData) -> dict[str, Measured]:
    values = metrics.measured(given, data.test.labels, data.accepted, data.num_classes, data.metric)
    return {name: Measured(value=value, ci95=interval) for name, (value, interval) in values.items()}
