"""Doing what a plan says is missing: features, fit, the one look at test, record."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mixer_bench import protocols
from mixer_bench.errors import MixerBenchError, ResultsError, UsageError, WeightsError
from mixer_bench.protocols.base import Fitted
from mixer_bench.results.store import Store
from mixer_bench.runs.features import CachedFeatures
from mixer_bench.runs.machine import Machine
from mixer_bench.runs.plan import TRAINING_STEP, Group, Plan, Planned, is_frozen
from mixer_bench.runs.scoring import _cost, _extracted, _judged, _training_cost
from mixer_bench.system.progress import Pace, ProgressLog


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
    """The runs that leave the weights as they are: they share the features. Returns how many images were seen."""
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
    except Exception as error:  # noqa: BLE001
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
        pace = Pace(sum(protocols.get(planned.run.protocol).cost(planned.config)))
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
    log: ProgressLog, pace: Pace, group: Group, planned: Planned, words: str, images: float, trained: bool = True
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
    fitted = protocols.get(planned.run.protocol).fit(backbone, group.data.development, planned.config, planned.run.seed)
    scores = fitted.scores(group.data.test)
    return fitted, scores, time.perf_counter() - start
