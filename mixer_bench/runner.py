"""Doing what a plan says is missing: features, fit, the one look at test, record."""

from __future__ import annotations

import contextlib
import datetime
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mixer_bench import environment, protocols, stats
from mixer_bench.data.examples import TaskData
from mixer_bench.errors import MixerBenchError, ResultsError, UsageError, WeightsError
from mixer_bench.features import CachedFeatures, Extraction, Extractor
from mixer_bench.metrics import METRICS, real_counts
from mixer_bench.plan import TRAINING_STEP, Group, Plan, Planned, is_frozen
from mixer_bench.progress import Pace, ProgressLog
from mixer_bench.protocols.contract import Fitted, TrainableBackbone
from mixer_bench.record import Cost, Measured, Record, Run
from mixer_bench.store import Predictions, Store

BATCH_SIZE = {"cpu": 64}  # where the throughput of small and large networks levels off on CPUs
GPU_BATCH_SIZE = 256


Heard = Callable[[str, float, bool], object]  # what goes on, how many more pictures are done, and if trained on now


@dataclass(frozen=True)
class Machine:
    """Where and how the network works: nothing here moves a score."""

    device: str  # "cpu", "cuda:0"
    device_name: str
    threads: int
    cache: Path
    load: Callable[[Group], Extractor]
    trainable: Callable[[Group, Run, Heard], TrainableBackbone] | None = None
    leads: bool = True  # of several processes that train together, the one that writes and speaks
    batch_size: int | None = None  # None: by device

    @property
    def images_a_batch(self) -> int:
        """Pictures a forward pass."""
        return self.batch_size or BATCH_SIZE.get(self.device.partition(":")[0], GPU_BATCH_SIZE)

    @property
    def full_name(self) -> str:
        """For a table's note on speed."""
        return f"{self.device_name}, {self.threads} threads" if self.device == "cpu" else self.device_name

    @property
    def environment(self) -> dict[str, str]:
        """For the record: versions, device, threads."""
        return environment.describe(self.device, self.threads)


@dataclass
class Outcome:
    """What became of a plan."""

    finished: int = 0
    failed: list[Path] = field(default_factory=list)
    unavailable: list[MixerBenchError] = field(default_factory=list)
    images: int = 0
    trained: int = 0  # images that were trained on

    @property
    def exit_code(self) -> int:
        """0 all is there, 1 a run failed, 3 data or weights are missing."""
        if self.unavailable:
            return max(error.exit_code for error in self.unavailable)
        return 1 if self.failed else 0


def execute(plan: Plan, store: Store, machine: Machine, log: ProgressLog) -> Outcome:
    """Do every missing run. A run that fails is recorded as failed, and the others go on.

    Raises:
        ResultsError: results can no longer be written; what is finished is kept.
    """
    outcome = Outcome(unavailable=list(plan.unavailable))
    for number, group in enumerate(plan.groups, 1):
        log.label(group.label)
        try:
            images = _do_group(group, store, machine, log, outcome)
        except ResultsError:
            raise
        except MixerBenchError as error:
            # Data or weights that cannot be used: nothing is recorded, and the other groups go on.
            outcome.unavailable.append(error)
            log.line(f"{group.label}: {error}")
            continue
        log.line(
            f"{number}/{len(plan.groups)} {group.label}: {len(group.runs)} runs, {images} images through the network"
        )
    return outcome


def _do_group(group: Group, store: Store, machine: Machine, log: ProgressLog, outcome: Outcome) -> int:
    frozen = [planned for planned in group.runs if is_frozen(planned.run.protocol)]
    images = _do_frozen(group, frozen, store, machine, log, outcome) if frozen and machine.leads else 0
    trained = [planned for planned in group.runs if planned not in frozen]
    if trained:
        _do_trained(group, trained, store, machine, log, outcome)
    return images


def _do_frozen(
    group: Group, runs: list[Planned], store: Store, machine: Machine, log: ProgressLog, outcome: Outcome
) -> int:
    """The runs that leave the weights as they are: they share the features. Returns how many pictures were seen."""
    features = CachedFeatures(
        weights=runs[0].run.weights,
        preprocessing=runs[0].run.preprocessing,
        precision=runs[0].run.precision,
        folder=machine.cache,
        load=lambda: machine.load(group),
        batch_size=machine.images_a_batch,
        device_name=machine.full_name,
        environment=machine.environment,
        on_batch=log.advance,
        on_note=log.line,
    )
    try:
        for examples in group.data.splits.values():
            if features.missing(examples):
                examples.decode_ahead()
            else:
                log.advance(len(examples))
            features.features(examples)
    except MixerBenchError:
        raise
    except Exception as error:  # noqa: BLE001  no features, no scores: each run of the group is recorded as failed
        outcome.failed += [store.save_failure(planned.run, error) for planned in runs]
        log.line(f"{group.label}: failed: {type(error).__name__}: {error}")
        return sum(extraction.images for extraction in features.computed)
    images = sum(extraction.images for extraction in features.computed)
    outcome.images += images
    spent = features.computed
    for planned in runs:
        with _failure_recorded(group, planned, store, log, outcome):
            fitted, scores, fit_s = _fitted(group, planned, features)
            record, predictions = _judged(group, planned, fitted, scores, machine, _cost(features, spent, fit_s))
            record = record.model_copy(update=_extracted(features, machine))
            store.save(record, predictions)
            outcome.finished += 1
        spent = []  # the images are counted once, with the first run that needed them
        log.advance()
    return images


def _do_trained(
    group: Group, runs: list[Planned], store: Store, machine: Machine, log: ProgressLog, outcome: Outcome
) -> None:
    """The runs that train the network: each process takes part, one writes."""
    assert machine.trainable is not None
    for planned in runs:
        pace = Pace(sum(protocols.get(planned.run.protocol).trainings(planned.config)))
        backbone = machine.trainable(group, planned.run, functools.partial(_heard, log, pace, group, planned))
        with _failure_recorded(group, planned, store, log, outcome):
            fitted, scores, fit_s = _fitted(group, planned, backbone)
            record, predictions = _judged(group, planned, fitted, scores, machine, _training_cost(fitted, fit_s))
            record = record.model_copy(update={"extraction_notes": tuple(backbone.notes)})
            if machine.leads:
                store.save(record, predictions)
            fitted.finished()
            outcome.finished += 1
            outcome.trained += fitted.images
            log.line(f"{group.label}: {planned.run.protocol} seed {planned.run.seed} done")
        log.advance()


def _heard(
    log: ProgressLog, pace: Pace, group: Group, planned: Planned, words: str, images: float, trained: bool
) -> None:
    if trained:
        words += f", {pace.trained(images)}"
    else:
        pace.skip(images)
    log.label(f"{group.label}, {planned.run.protocol} seed {planned.run.seed}, {words}")
    log.advance(TRAINING_STEP * images)


@contextlib.contextmanager
def _failure_recorded(
    group: Group, planned: Planned, store: Store, log: ProgressLog, outcome: Outcome
) -> Iterator[None]:
    """What goes wrong inside becomes a recorded failure of this run, never a score."""
    try:
        yield
    except (WeightsError, UsageError, ResultsError):
        raise  # nothing was measured that could have failed
    except Exception as error:  # noqa: BLE001
        outcome.failed.append(store.save_failure(planned.run, error))
        log.line(f"{group.label}: {planned.run.protocol} failed: {type(error).__name__}: {error}")


def _fitted(group: Group, planned: Planned, backbone: Any) -> tuple[Fitted, np.ndarray, float]:
    """Fit on train and val, then look at test, once; and how long both took, seconds."""
    start = time.perf_counter()
    fitted: Fitted = protocols.get(planned.run.protocol).fit(
        backbone, group.data.development, planned.config, planned.run.seed
    )
    scores = fitted.scores(group.data.test)
    return fitted, scores, time.perf_counter() - start


def _judged(
    group: Group, planned: Planned, fitted: Fitted, scores: np.ndarray, machine: Machine, cost: Cost
) -> tuple[Record, Predictions]:
    data = group.data
    predictions = _predictions(scores, data.test.labels, data.num_classes)
    record = Record(
        run=planned.run,
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


def _training_cost(fitted: Fitted, fit_s: float) -> Cost:
    return Cost(
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
    predicted, label = predictions.prediction, predictions.label
    right = int((predicted == label).sum())
    intervals = {
        "top1": stats.proportion_interval(right, len(label)),
        "mean_per_class": stats.mean_per_class_interval(predicted, label),
    }
    found = {
        name: Measured(value=metric(predicted, label, data.num_classes), ci95=intervals[name])
        for name, metric in METRICS.items()
    }
    if data.accepted is not None:
        right, judged = real_counts(predicted, data.accepted)
        if judged:
            found["real"] = Measured(value=right / judged, ci95=stats.proportion_interval(right, judged))
    return found


def _elsewhere(features: CachedFeatures, machine: Machine) -> dict[str, str] | None:
    """What the features were computed with, where that is not what this run is made with."""
    others = [e.environment for e in features.provenance if e.environment != machine.environment]
    return others[0] if others else None


def _cost(features: CachedFeatures, spent: list[Extraction], fit_s: float) -> Cost:
    # The largest split is the best measured one: the smaller ones are dominated by their first batch.
    largest = max(features.provenance, key=lambda extraction: extraction.images)
    return Cost(
        images=sum(extraction.images for extraction in spent),
        extract_s=round(sum(extraction.seconds for extraction in spent), 4),
        fit_s=round(fit_s, 4),
        throughput=round(largest.images / largest.seconds, 1),
        throughput_on=f"{largest.device_name}, batch {largest.batch_size}",
        peak_memory=environment.peak_memory(),
    )
