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

from mixer_bench.errors import MixerBenchError, ResultsError, UsageError, WeightsError
from mixer_bench.protocols.base import Fitted
from mixer_bench.results.store import Store
from mixer_bench.runs import scoring
from mixer_bench.runs.features import CachedFeatures, Network
from mixer_bench.runs.machine import Machine
from mixer_bench.runs.plan import TRAINING_STEP, Group, Plan, Planned
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
            images = _Work(group, store, machine, log, outcome).do()
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


@dataclass(frozen=True)
class _Work:
    """The missing runs of one model on one task."""

    group: Group
    store: Store
    machine: Machine
    log: ProgressLog
    outcome: Outcome

    def do(self) -> int:
        """Do all runs; returns how many images went through the network for their features."""
        frozen = self.group.frozen
        images = self._do_frozen(frozen) if frozen and self.machine.leads else 0
        for planned in self.group.runs:
            if planned.variant.protocol.trains:
                self._train(planned)
        return images

    def _do_frozen(self, runs: list[Planned]) -> int:
        """The runs that leave the weights as they are: they share the features."""
        first = runs[0].run
        features = CachedFeatures(
            Network(first.weights, first.preprocessing, first.precision),
            self.machine.cache,
            load=lambda: self.machine.load(self.group, first),
            computer=self.machine.computer,
            on_batch=self.log.advance,
            on_note=self.log.line,
        )
        if self._extracted(features, runs):
            spent = features.computed
            for planned in runs:
                with self._failure_recorded(planned):
                    fitted, scores, fit_s = _fitted(self.group, planned, features)
                    told = scoring.extraction(features, spent, fit_s)
                    self.store.save(*scoring.judged(self.group, planned, fitted, scores, self.machine, told))
                    self.outcome.finished += 1
                spent = []  # the images are counted once, with the first run that needed them
                self.log.advance()
        return sum(extraction.images for extraction in features.computed)

    def _extracted(self, features: CachedFeatures, runs: list[Planned]) -> bool:
        """Whether the features of all splits are there; if not, all runs have failed."""
        try:
            for examples in self.group.data.splits.values():
                if features.missing(examples):
                    examples.decode_ahead()
                else:
                    self.log.advance(len(examples))
                features.features(examples)
        except MixerBenchError:
            raise
        except Exception as error:  # noqa: BLE001
            self.outcome.failed.extend(self.store.save_failure(planned.run, error) for planned in runs)
            self.log.line(f"{self.group.label}: failed: {type(error).__name__}: {error}")
            return False
        self.outcome.images += sum(extraction.images for extraction in features.computed)
        return True

    def _train(self, planned: Planned) -> None:
        """A run that trains the network: each process takes part, one writes."""
        assert self.machine.trainable is not None
        pace = Pace(sum(planned.variant.protocol.cost(planned.variant.config)))
        label = f"{self.group.label}, {planned.run.protocol} seed {planned.run.seed}"
        heard = functools.partial(_heard, self.log, pace, label)
        backbone = self.machine.trainable(self.group, planned.run, heard)
        with self._failure_recorded(planned):
            fitted, scores, fit_s = _fitted(self.group, planned, backbone)
            told = scoring.training(fitted, fit_s, backbone.notes)
            record, predictions = scoring.judged(self.group, planned, fitted, scores, self.machine, told)
            if self.machine.leads:
                self.store.save(record, predictions)
            fitted.finished()
            self.outcome.finished += 1
            self.outcome.trained += fitted.images
            self.log.line(f"{self.group.label}: {planned.run.protocol} seed {planned.run.seed} done")
        self.log.advance()

    @contextlib.contextmanager
    def _failure_recorded(self, planned: Planned) -> Iterator[None]:
        """What goes wrong inside becomes a recorded failure of this run, never a score."""
        try:
            yield
        except (WeightsError, UsageError, ResultsError):
            raise  # nothing was measured that could have failed
        except Exception as error:  # noqa: BLE001
            self.outcome.failed.append(self.store.save_failure(planned.run, error))
            self.log.line(f"{self.group.label}: {planned.run.protocol} failed: {type(error).__name__}: {error}")


def _heard(log: ProgressLog, pace: Pace, label: str, words: str, images: float, trained: bool = True) -> None:
    if trained:
        words += f", {pace.trained(images)}"
    else:
        pace.skip(images)
    log.label(f"{label}, {words}")
    log.advance(TRAINING_STEP * images)


def _fitted(group: Group, planned: Planned, backbone: Any) -> tuple[Fitted, np.ndarray, float]:
    """Fit on train and val, then look at test, once; and how long both took, seconds."""
    start = time.perf_counter()
    variant = planned.variant
    fitted = variant.protocol.fit(backbone, group.data.development, variant.config, variant.seed)
    scores = fitted.scores(group.data.test)
    return fitted, scores, time.perf_counter() - start
