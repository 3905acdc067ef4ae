"""Doing what a plan says is missing: features, fit, the one look at test, record."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mixer_bench.errors import MixerBenchError, ProcessesError, ResultsError, UsageError, WeightsError
from mixer_bench.protocols.base import Fitted
from mixer_bench.results.store import Store
from mixer_bench.runs import scoring
from mixer_bench.runs.features import CachedFeatures, Network
from mixer_bench.runs.machine import Machine
from mixer_bench.runs.plan import TRAINING_STEP, Group, Part, Plan, Planned, State
from mixer_bench.system import claims
from mixer_bench.system.progress import Pace, ProgressLog

Passing = type[Exception] | tuple[type[Exception], ...]
SHOWN = 3  # labels of what is waited for
NOTHING_MEASURED = (
    WeightsError,
    UsageError,
    ResultsError,
    ProcessesError,
)  # errors of what was asked or is here, not of a run


@dataclass
class Outcome:
    """What became of a plan."""

    plan: Plan
    finished: int = 0
    elsewhere: int = 0  # runs that another process finished meanwhile
    failed: list[Path] = field(default_factory=list)  # files of the runs that failed now
    unusable: list[MixerBenchError] = field(default_factory=list)  # data or weights, as it turned out
    images: int = 0
    trained: int = 0  # images that were trained on

    @property
    def unavailable(self) -> list[MixerBenchError]:
        """An error for each task or model that could not be had or used."""
        return [*self.plan.unavailable, *self.unusable]

    @property
    def exit_code(self) -> int:
        """0 all asked for is there, 1 a run failed now or before, 3 data or weights are missing."""
        failed = self.failed or self.plan.kept_failures
        return max((error.exit_code for error in self.unavailable), default=1 if failed else 0)


def execute(outcome: Outcome, store: Store, machine: Machine, log: ProgressLog) -> None:
    """Do every missing run of a plan. A run that fails is recorded as failed, and the others go on.

    Other processes may be doing the same: what one of them has claimed is done last, if it is not there by then.

    Raises:
        ResultsError: results can no longer be written; what is finished is kept.
        ProcessesError: another of several processes has ended; likewise.
    """
    parts = [part for group in outcome.plan.groups for part in group.parts]
    known = {_name(planned): (part.group, planned) for part in parts for planned in part.runs}
    given_up: list[Group] = []
    turns = _turns(parts, outcome, store, log, given_up)
    with contextlib.closing(machine.led(turns)) as led:
        for names in led:
            machine.agree_on(known.keys() >= {*names})
            group, runs = known[names[0]][0], [known[name][1] for name in names]
            log.label(group.label)
            try:
                _Work(group, store, machine, log, outcome).do(runs)
            except (ResultsError, ProcessesError):
                raise
            except MixerBenchError as error:
                # Data or weights that cannot be used: nothing is recorded, and the other groups go on.
                outcome.unusable.append(error)
                given_up.append(group)
                log.line(f"{group.label}: {error}")


def _name(planned: Planned) -> tuple[str, str]:
    return (planned.run.model, planned.run.key)


def _turns(
    parts: Sequence[Part], outcome: Outcome, store: Store, log: ProgressLog, given_up: Sequence[Group]
) -> Generator[list[tuple[str, str]]]:
    """Give the names of runs to do, part by part, each claimed meanwhile; what others did is counted instead."""

    def waiting(numbers: list[int]) -> None:
        labels = list(dict.fromkeys(parts[number].group.label for number in numbers))
        log.line(f"waiting for another process that does {', '.join(labels[:SHOWN])}{' ...' * (len(labels) > SHOWN)}")

    with contextlib.closing(claims.turns([part.outcome(store) for part in parts], waiting)) as turns:
        for number in turns:
            part = parts[number]
            if any(part.group is group for group in given_up):
                continue
            left = [planned for planned in part.runs if not _done_elsewhere(planned, outcome, store)]
            if others := len(part.runs) - len(left):
                log.line(f"{part.group.label}: another process did {others} of {len(part.runs)} runs")
                log.advance(others)
            if left:
                yield list(map(_name, left))


def _done_elsewhere(planned: Planned, outcome: Outcome, store: Store) -> bool:
    """Return whether another process has done the run since it was planned, and count it: finished or failed."""
    now = State.of(planned.run, store)
    if now.record not in (None, planned.before.record):
        outcome.elsewhere += 1
        return True
    if now.failure not in (None, planned.before.failure):
        outcome.failed.append(store.place(planned.run, ".failed.json"))
        return True
    return False


@dataclass(frozen=True)
class _Work:
    """Missing runs of one model on one task."""

    group: Group
    store: Store
    machine: Machine
    log: ProgressLog
    outcome: Outcome

    def do(self, runs: list[Planned]) -> None:
        """Do runs that share features, or one that trains."""
        if runs[0].variant.protocol.trains:
            self._train(runs[0])
            return
        with self.machine.together():  # the others wait here
            images = self._probe(runs) if self.machine.leads else 0
        self.log.line(f"{self.group.label}: {len(runs)} runs, {images} images through the network")

    def _probe(self, runs: list[Planned]) -> int:
        """The runs that leave the weights as they are: they share the features."""
        first = runs[0].run
        self.machine.forget_gpu_peak()
        features = CachedFeatures(
            Network(first.weights, first.preprocessing, first.precision),
            self.machine.cache,
            load=lambda: self.machine.load(self.group, first),
            computer=self.machine.computer,
            on_batch=self.log.advance,
            on_note=self.log.line,
            heard=lambda words: self.log.now(f"{self.group.label}, {words}"),
            fresh=self.machine.options.fresh,
        )
        with self._failures_recorded(runs, but=MixerBenchError):
            for examples in self.group.data.splits.values():
                if features.missing(examples):
                    examples.decode_ahead()
                else:
                    self.log.advance(len(examples))
                features.features(examples)
            spent = features.computed
            self.outcome.images += sum(extraction.images for extraction in spent)
            for planned in runs:
                with self._failures_recorded([planned]):
                    fitted, scores, seconds = _fitted(self.group, planned, features)
                    told = scoring.extraction(features, spent, seconds, self.machine)
                    self.store.save(*scoring.judged(self.group, planned, fitted, scores, self.machine, told))
                    self.outcome.finished += 1
                spent = []  # the images are counted once, with the first run that needed them
                self.log.advance()
        return sum(extraction.images for extraction in features.computed)

    def _train(self, planned: Planned) -> None:
        """A run that trains the network: each process takes part, one writes."""
        name = f"{planned.run.protocol} seed {planned.run.seed}"
        pace = Pace(sum(planned.variant.protocol.cost(planned.variant.config)))
        heard = functools.partial(_heard, self.log, pace, f"{self.group.label}, {name}")
        backbone = self.machine.trainable(self.group, planned.run, heard)
        self.machine.forget_gpu_peak()
        with self._failures_recorded([planned]), self.machine.together():
            fitted, scores, seconds = _fitted(self.group, planned, backbone)
            told = scoring.training(fitted, seconds, backbone.notes, self.machine)
            record, predictions = scoring.judged(self.group, planned, fitted, scores, self.machine, told)
            if self.machine.leads:
                self.store.save(record, predictions)
            fitted.finished()
            self.outcome.finished += 1
            self.outcome.trained += fitted.images
            self.log.line(f"{self.group.label}: {name} done")
        self.log.advance()

    @contextlib.contextmanager
    def _failures_recorded(self, runs: Sequence[Planned], but: Passing = NOTHING_MEASURED) -> Iterator[None]:
        """What goes wrong inside becomes a recorded failure of these runs, never a score."""
        try:
            yield
        except but:
            raise
        except Exception as error:  # noqa: BLE001
            if self.machine.leads:
                self.outcome.failed += [self.store.save_failure(planned.run, error) for planned in runs]
            kinds = ", ".join(sorted({planned.run.protocol for planned in runs}))
            self.log.line(f"{self.group.label}: {kinds} failed: {type(error).__name__}: {error}")


def _heard(log: ProgressLog, pace: Pace, label: str, words: str, images: float, trained: bool = True) -> None:
    if trained:
        words += f", {pace.trained(images)}"
    else:
        pace.skip(images)
    log.label(f"{label}, {words}")
    log.advance(TRAINING_STEP * images)


def _fitted(group: Group, planned: Planned, backbone: Any) -> tuple[Fitted, np.ndarray, float]:
    """Fit on train and val, then look at test, once; and how long both took, seconds."""
    start, variant = time.perf_counter(), planned.variant
    try:
        fitted = variant.protocol.fit(backbone, group.data.development, variant.config, variant.seed)
        if not isinstance(fitted, Fitted):
            raise TypeError(f"fit of {planned.run.protocol} gave {type(fitted).__name__}, not Fitted")
        scores = fitted.scores(group.data.test)
    except SystemExit as ended:  # of a package's protocol: it ends its run, not the program
        raise RuntimeError(f"{planned.run.protocol} called sys.exit({ended.code})") from ended
    return fitted, scores, time.perf_counter() - start
