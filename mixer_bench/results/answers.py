"""Predictions of a record, read and checked against it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from mixer_bench.errors import ResultsError
from mixer_bench.results.record import Record, Run
from mixer_bench.results.store import Predictions, Store
from mixer_bench.stats import metrics

DIGITS = 16  # of the labels' digest


@dataclass(frozen=True)
class Answers:
    """What a finished run got right."""

    run: Run
    value: float  # of the task's own metric, in [0, 1]
    n_test: int
    labels: str | None  # digest of the examples' labels in order; None where there are no predictions
    right: np.ndarray | None  # bool [N]
    label: np.ndarray | None = None  # int [N]; a baseline does not hold them


def label_digest(label: np.ndarray) -> str:
    """Digest of labels [N] in their order: where it is the same, so are the examples and their order."""
    return hashlib.sha256(np.ascontiguousarray(label, dtype="<i8").tobytes()).hexdigest()[:DIGITS]


def answers(record: Record, store: Store) -> tuple[Answers, str | None]:
    """A record's answers; without predictions that fit it, its value alone and a line that says why."""
    value = record.metrics[record.run.metric].value
    bare = Answers(record.run, value, record.n_test, None, None)
    try:
        found = store.predictions(record.run)
    except ResultsError as error:
        return bare, str(error)
    right = _right(found)
    if right is None or len(right) != record.n_test:
        return bare, f"{store.place(record.run, '.npz')}: not the predictions of {record.n_test} examples; run again"
    shares = metrics.of_record(record.run.metric).example_weights(found.label)
    if not metrics.gives(value, right, shares):
        return bare, f"{store.place(record.run, '.npz')}: its answers do not give the record's value; run again"
    return Answers(record.run, value, record.n_test, label_digest(found.label), right, found.label), None


def _right(found: Predictions) -> np.ndarray | None:
    if found.label.ndim != 1 or found.label.shape != found.prediction.shape:
        return None
    return np.asarray(found.label == found.prediction)
