"""From scores on test to a record."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np

from mixer_bench.data.examples import TaskData
from mixer_bench.protocols.base import Fitted
from mixer_bench.results.record import Measured, Record, RunCost
from mixer_bench.results.store import Predictions
from mixer_bench.runs.features import CachedFeatures, Extraction
from mixer_bench.runs.machine import Machine
from mixer_bench.runs.plan import Group, Planned
from mixer_bench.stats import metrics
from mixer_bench.system import machine as environment


def _judged(
    group: Group, planned: Planned, fitted: Fitted, scores: np.ndarray, machine: Machine, cost: RunCost
) -> tuple[Record, Predictions]:
    data = group.data
    predictions = _predictions(scores, data.test.labels, data.num_classes)
    record = Record(
        run=planned.run,
        preset=planned.preset,
        metrics=_metrics(predictions, data),
        num_classes=data.num_classes,
        n_train=len(data.train),
        n_val=len(data.val),
        n_test=len(data.test),
        selection=fitted.selection,
        converged=fitted.converged,
        notes=fitted.notes,
        curve=fitted.curve,
        source=data.source,
        origin=group.origin,
        cost=cost,
        environment=machine.environment,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    return record, predictions


def _extracted(features: CachedFeatures, machine: Machine) -> dict[str, Any]:
    """What a record says of the features it stands on."""
    return {
        "extraction_notes": tuple(dict.fromkeys(note for e in features.provenance for note in e.notes)),
        "deviation": max((e.deviation for e in features.provenance if e.deviation is not None), default=None),
        "extraction_environment": _elsewhere(features, machine),
    }


def _training_cost(fitted: Fitted, fit_s: float) -> RunCost:
    return RunCost(
        images=0,
        extract_s=0.0,
        fit_s=round(fit_s, 4),
        throughput=None,
        throughput_on="",
        trained_images=fitted.images,
        peak_memory=environment.peak_memory(),
    )


def _predictions(scores: np.ndarray, labels: np.ndarray, num_classes: int) -> Predictions:
    if scores.shape != (len(labels), num_classes):
        raise ValueError(f"scores of shape {scores.shape} for {len(labels)} examples of {num_classes} classes")
    top = scores.max(axis=1)
    if not np.isfinite(top).all():
        raise FloatingPointError("scores are infinite or undefined")
    return Predictions(labels, scores.argmax(axis=1), top.astype(np.float32))


def _metrics(predictions: Predictions, data: TaskData) -> dict[str, Measured]:
    values = metrics.measured(predictions.prediction, predictions.label, data.accepted, data.num_classes, data.metric)
    return {name: Measured(value=value, ci95=interval) for name, (value, interval) in values.items()}


def _elsewhere(features: CachedFeatures, machine: Machine) -> dict[str, str] | None:
    """What the features were computed with, where that is not what this run is made with."""
    others = [e.environment for e in features.provenance if e.environment != machine.environment]
    return others[0] if others else None


def _cost(features: CachedFeatures, spent: list[Extraction], fit_s: float) -> RunCost:
    # The largest split is the best measured one: the smaller ones are dominated by their first batch.
    largest = max(features.provenance, key=lambda extraction: extraction.images)
    return RunCost(
        images=sum(extraction.images for extraction in spent),
        extract_s=round(sum(extraction.seconds for extraction in spent), 4),
        fit_s=round(fit_s, 4),
        throughput=round(largest.images / largest.seconds, 1),
        throughput_on=f"{largest.device_name}, batch {largest.batch_size}",
        peak_memory=environment.peak_memory(),
    )
