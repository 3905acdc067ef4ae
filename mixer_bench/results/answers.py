"""Which answers were right: predictions read and checked against their record, and paired by seed and test example."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mixer_bench.errors import ResultsError, UsageError
from mixer_bench.results.made import Made
from mixer_bench.results.record import Record, Run
from mixer_bench.stats import metrics, paired
from mixer_bench.stats.paired import Comparison

DIGITS = 16  # of the labels' digest
MOST_KEPT = 1 << 28  # bytes of answers that a reader keeps: what it has to read again costs less than such memory


@dataclass(frozen=True, eq=False, slots=True)
class Answers:
    """What a finished run got right."""

    run: Run
    value: float  # of the task's own metric, in [0, 1]
    n_test: int
    labels: str | None  # digest of the examples' labels in order; None where there are no predictions that fit
    right: np.ndarray | None  # bool [N]
    made: Made
    weights: np.ndarray | None = None  # what each example counts for, [N]; None: the same, or a baseline's
    problem: str = ""  # why there are no predictions


class Reader:
    """Reads the answers of records, and keeps the latest. Labels and weights, which many runs share, are kept once."""

    def __init__(self, read: Callable[[Record], tuple[np.ndarray, np.ndarray]]) -> None:
        """``read`` gives label and prediction [N] of a record, or raises ResultsError: ``Store.answers``."""
        self._read = read
        self._known: dict[tuple[str, str], Answers] = {}
        self._kept = 0  # bytes of them
        self._labels: dict[tuple[str, bytes], tuple[str, np.ndarray | None]] = {}

    def answers(self, record: Record) -> Answers:
        """Return a record's answers; without predictions that fit it, its value alone and the problem."""
        name = (record.run.model, record.run.key)
        if name not in self._known:
            self._known[name] = self._checked(record)
            self._kept += _size(self._known[name])
        answers = self._known[name]
        while self._kept > MOST_KEPT:
            self._kept -= _size(self._known.pop(next(iter(self._known))))
        return answers

    def _checked(self, record: Record) -> Answers:
        run = record.run
        bare = Answers(run, record.metrics[run.metric].value, record.n_test, None, None, Made.of(record))
        try:
            return replace(bare, **self._fitting(record))
        except ResultsError as error:
            return replace(bare, problem=str(error))

    def _fitting(self, record: Record) -> dict[str, Any]:
        label, prediction = self._read(record)
        metric = _fitting_metric(record, label, prediction)
        digest, weights = self._shared(metric, label)
        right = np.asarray(prediction == label)
        # A mean over examples is the score, in a tenth of its time.
        value = float(right.mean() if weights is None else np.average(right, weights=weights)) if metric.pairs else None
        _check_value(record, metric.score(prediction, label, record.num_classes) if value is None else value)
        return {"labels": digest, "right": right, "weights": weights}

    def _shared(self, metric: metrics.Metric, label: np.ndarray) -> tuple[str, np.ndarray | None]:
        known = (metric.name, label.tobytes())
        if known not in self._labels:
            digest = hashlib.sha256(label.astype("<i8").tobytes()).hexdigest()[:DIGITS]
            self._labels[known] = (digest, metric.example_weights(label))
        return self._labels[known]


def _size(answers: Answers) -> int:
    return 0 if answers.right is None else answers.right.nbytes


def check(record: Record, label: np.ndarray, prediction: np.ndarray) -> None:
    """Refuse a record that its own predictions contradict.

    Raises:
        ResultsError: names the run.
    """
    metric = _fitting_metric(record, label, prediction)
    _check_value(record, metric.score(prediction, label, record.num_classes))


def _who(run: Run) -> str:
    return f"{run.task}, {run.model}, {run.key}"


def _check_value(record: Record, value: float) -> None:
    if not abs(value - record.metrics[record.run.metric].value) <= metrics.ROUNDING:
        raise ResultsError(f"{_who(record.run)}: its predictions do not give the record's value; not used: run again")


def _fitting_metric(record: Record, label: np.ndarray, prediction: np.ndarray) -> metrics.Metric:
    """Return the metric of a record that has as many predictions as test images."""
    run, count = record.run, record.n_test
    if not (prediction.shape == label.shape == (count,) and count):
        raise ResultsError(f"{_who(run)}: {prediction.size} predictions for {count} test images; not used: run again")
    return _metric(_who(run), run.metric)


def _metric(who: str, name: str) -> metrics.Metric:
    """Return the metric of a record if its predictions and labels give its value."""
    if name not in metrics.names():
        raise ResultsError(f"{who}: its metric {name!r} is of a package that is not here; install it")
    try:
        metric = metrics.get(name)
    except UsageError as error:
        raise ResultsError(f"{who}: {error}") from None
    if metric.truth != "label":
        raise ResultsError(f"{who}: its metric {name!r} needs more than labels; no task is measured by it alone")
    return metric


@dataclass(frozen=True)
class Pair:
    """Answers of two sides, A and B, with the same seeds on the same examples in the same order."""

    a: tuple[Answers, ...]  # by seed
    b: tuple[Answers, ...]
    unshared: tuple[int, ...] = ()  # seeds that one side alone has
    problems: tuple[str, ...] = ()  # why seeds that both have are left out

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that are compared."""
        # A run that stands for all seeds of its side has seed 0.
        return tuple(max(a.run.seed, b.run.seed) for a, b in zip(self.a, self.b, strict=True))

    @property
    def means(self) -> tuple[float, float]:
        """The mean value of either side."""
        return mean_value(self.a), mean_value(self.b)

    @property
    def right(self) -> tuple[np.ndarray, np.ndarray]:
        """Which answers of either side were right, bool [S, N]."""
        a, b = (np.array([answers.right for answers in side]) for side in (self.a, self.b))
        return a, b

    def compared(self) -> Comparison:
        """Test whether A and B differ; at least one seed is needed."""
        return paired.compare(*self.right, self.a[0].weights)


def mean_value(answers: Sequence[Answers]) -> float:
    """Return the mean over runs of the task's own metric."""
    return float(np.mean([run.value for run in answers]))


def pair(a: Sequence[Record], b: Sequence[Record], reader: Reader, unseeded: Sequence[bool] = (False, False)) -> Pair:
    """Pair two sides' runs on one task by the seeds that both have.

    Seeds without predictions in both, or of other examples, are left out and named.

    Args:
        a: runs of one side, such as a model's with one setting.
        b: of the other.
        reader: of their answers.
        unseeded: of either side, whether its protocol draws nothing, so that its one run is that of any seed.
    """
    sides = [{record.run.seed: record for record in side} for side in (a, b)]
    if any(unseeded) and not all(unseeded):
        steady = [*unseeded].index(True)
        sides[steady] = dict.fromkeys(sides[1 - steady], next(iter(sides[steady].values())))
    kept: list[tuple[Answers, Answers]] = []
    problems: list[str] = []
    for seed in sorted(sides[0].keys() & sides[1].keys()):
        records = [side[seed] for side in sides]
        if min(record.n_test for record in records) < 2:  # noqa: PLR2004  variance needs two
            problems.append(f"{records[0].run.task}: {records[0].n_test} test images; not compared")
            continue
        both = reader.answers(records[0]), reader.answers(records[1])
        # Over seeds as well: all rows of the matrix must be of the same examples.
        reference = kept[0][0] if kept else both[0]
        run, other = (answers.run for answers in both)
        what = f"{run.model} and {other.model} on {run.task}, seed {seed}"
        if lost := [answers.problem for answers in both if answers.problem]:
            problems += lost
        elif not metrics.pairs(run.metric):
            problems.append(f"{what}: {run.metric} is no mean over test images; models cannot be paired by it")
        elif not reference.labels == both[0].labels == both[1].labels:
            problems.append(f"{what}: not the same examples in the same order; run both again")
        else:
            kept.append(both)
    unshared = tuple(sorted(sides[0].keys() ^ sides[1].keys()))
    return Pair(tuple(first for first, _ in kept), tuple(second for _, second in kept), unshared, tuple(problems))
