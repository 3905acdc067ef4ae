"""Doing what a plan says is missing: features, fit, the one look at test, record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Container, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixer_bench.data.examples import Examples
from mixer_bench.errors import MixerBenchError, ProcessesError, ResultsError, UsageError, WeightsError
from mixer_bench.models import device
from mixer_bench.protocols.base import Fitted
from mixer_bench.results.store import Store
from mixer_bench.runs import keeping, scoring, tracking
from mixer_bench.runs.features import CachedFeatures, Network
from mixer_bench.runs.machine import Machine
from mixer_bench.runs.plan import TRAINING_STEP, Group, Planned, Share, State
from mixer_bench.runs.summary import Outcome
from mixer_bench.system import claims
from mixer_bench.system.grouping import grouped
from mixer_bench.system.progress import Pace, ProgressLog
from mixer_bench.training import distributed
from mixer_bench.training.trainable import Point

Passing = type[Exception] | tuple[type[Exception], ...]
SHOWN = 3  # labels of what is waited for
NOTHING_MEASURED = (
    WeightsError,
    UsageError,
    ResultsError,
    ProcessesError,
)  # of what was asked or is here, not of a run


def execute(outcome: Outcome, store: Store, machine: Machine, log: ProgressLog) -> None:
    """Do every missing run of a plan. A run that fails is recorded as failed, and the others go on.

    Other processes may be doing the same: what one of them has claimed is done last, if it is not there by then.

    Raises:
        ResultsError: results can no longer be written; what is finished is kept.
        ProcessesError: another of several processes has ended; likewise.
    """
    parts = outcome.plan.parts
    known = {_name(planned): (share, planned) for part in parts for share in part for planned in share.runs}
    given_up: list[Group] = []
    track = machine.options.track if machine.leads else None
    turns = distributed.led(_turns(parts, outcome, store, log, given_up))
    with tracking.following(track, store, log) as tracker, contextlib.closing(turns) as led:
        work = _Work(store, machine, log, outcome, tracker)
        for names in led:
            _agree_on(names, known)
            by_group = grouped((known[name] for name in names), lambda pair: id(pair[0].group)).values()
            shares = [pairs[0][0]._replace(runs=[planned for _, planned in pairs]) for pairs in by_group]
            log.label(_label(shares))
            try:
                unusable = work.do(shares)
            except (ResultsError, ProcessesError):
                raise
            except MixerBenchError as error:
                unusable = dict.fromkeys(range(len(shares)), error)
            # Data or weights that cannot be used: nothing is recorded, and the other groups go on.
            for reason, numbers in grouped(unusable, unusable.get).items():
                outcome.unusable.append(reason)
                given_up += [shares[number].group for number in numbers]
                log.line(f"{_label([shares[number] for number in numbers])}: {reason}")


def _name(planned: Planned) -> tuple[str, str]:
    return (planned.run.model, planned.run.key)


def _agree_on(names: Sequence[tuple[str, str]], known: Container[tuple[str, str]]) -> None:
    """Make sure that all processes know the runs that the first one does next."""
    with distributed.together():
        if any(name not in known for name in names):
            raise UsageError(
                "the processes have different runs to do: they see other data or results; let all share one folder, "
                "and run again"
            )


def _label(shares: Sequence[Share]) -> str:
    names = [share.group.card.name for share in shares]
    return f"{', '.join(names[:SHOWN])}{' ...' * (len(names) > SHOWN)} on {shares[0].group.task.name}"


def _turns(
    parts: Sequence[Sequence[Share]], outcome: Outcome, store: Store, log: ProgressLog, given_up: Sequence[Group]
) -> Generator[list[tuple[str, str]]]:
    """Give the names of runs to do, part by part, each claimed meanwhile; what others did is counted instead.

    Of a part those models come together that no other process does just then.
    """
    part_of = [part for part in parts for _ in part]
    shares = [share for part in parts for share in part]
    begun: list[Share] = []

    def waiting(numbers: list[int]) -> None:
        labels = list(dict.fromkeys(shares[number].group.label for number in numbers))
        log.line(f"waiting for another process that does {', '.join(labels[:SHOWN])}{' ...' * (len(labels) > SHOWN)}")

    def left(share: Share) -> list[Planned]:
        runs = [planned for planned in share.runs if not _done_elsewhere(planned, outcome, store)]
        if others := len(share.runs) - len(runs):
            log.line(f"{share.group.label}: another process did {others} of {len(share.runs)} runs")
            log.advance(others)
        return runs

    with contextlib.closing(claims.turns([share.outcome(store) for share in shares], waiting)) as turns:
        for number in turns:
            with contextlib.ExitStack() as held:
                able = [share for share in part_of[number] if not any(share is other for other in begun)]
                able = [share for share in able if not any(share.group is group for group in given_up)]
                beside = [share for share in able if share is not shares[number]]
                free = [share for share in beside if held.enter_context(claims.claimed(share.outcome(store)))]
                mine = [share for share in able if share is shares[number]] + free
                begun += mine
                if mine and (runs := [planned for share in mine for planned in left(share)]):
                    yield [*map(_name, runs)]


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
    """Doing missing runs."""

    store: Store
    machine: Machine
    log: ProgressLog
    outcome: Outcome
    tracker: tracking.Tracker

    def do(self, shares: list[Share]) -> dict[int, MixerBenchError]:
        """Do runs of models that see equal squares, or one that trains; return why some models cannot be used."""
        if shares[0].trains:
            self._train(shares[0], shares[0].runs[0])
            return {}
        caches = [self._features(share) for share in shares]
        with distributed.together():
            self._fill(shares, caches)
        with distributed.together():  # the others wait here
            unusable = self._probe(shares, caches) if self.machine.leads else {}
        return distributed.the_firsts(unusable)

    def _features(self, share: Share) -> CachedFeatures:
        group, network = share.group, Network.of(share.runs[0].run)
        return self.machine.features(group.card, network, group.label, self.log)

    def _fill(self, shares: list[Share], caches: list[CachedFeatures]) -> None:
        """Compute the features of models that see equal squares; of several processes each does splits of its own."""
        if self.machine.options.fresh and not self.machine.leads:
            return  # what others keep meanwhile would not be taken
        device.forget_gpu_peak(self.machine.device)
        splits = [*shares[0].group.data.given.values()]
        self.log.advance(sum(len(images) for cache in caches for images in splits if not cache.missing(images)))
        if self.machine.world.size > 1:
            for cache in caches:
                cache.shared = frozenset(images.fingerprint for images in splits if cache.missing(images))
        self.machine.fill(caches, splits, self.log.line)

    def _probe(self, shares: list[Share], caches: list[CachedFeatures]) -> dict[int, MixerBenchError]:
        """The runs that leave the weights as they are: those of a model share its features."""
        splits = [*shares[0].group.data.given.values()]
        unusable: dict[int, MixerBenchError] = {}
        for number, share in enumerate(shares):
            try:
                with self._failures_recorded(share, share.runs, but=MixerBenchError):
                    self._measure(share, caches[number], splits)
            except (ResultsError, ProcessesError):
                raise
            except MixerBenchError as error:
                unusable[number] = error
        return unusable

    def _measure(self, share: Share, features: CachedFeatures, splits: Sequence[Examples]) -> None:
        """Fit and judge all of one model's runs on its features."""
        for examples in splits:
            features.features(examples)
        features.release()
        spent = features.computed
        images = sum(extraction.images for extraction in spent)
        self.outcome.images += images
        for planned in share.runs:
            with self._failures_recorded(share, [planned]):
                fitted, scores, seconds = _fitted(share.group, planned, features)
                kept = keeping.of_probe(share.group, fitted.probe)
                told = scoring.extraction(features, spent, seconds, self.machine)
                record, predictions = scoring.judged(share.group, planned, fitted, scores, self.machine, told, kept)
                self.store.save(record, predictions, kept)
                self.tracker.start(planned)
                self.tracker.finish(record)
                self.outcome.finished += 1
            spent = []  # the images are counted once, with the first run that needed them
            self.log.advance()
        self.log.line(f"{share.group.label}: {len(share.runs)} runs, {images} images through the network")

    def _train(self, share: Share, planned: Planned) -> None:
        """A run that trains the network: each process takes part, one writes."""
        group = share.group
        name = f"{planned.run.protocol} seed {planned.run.seed}"
        pace = Pace(sum(planned.variant.protocol.cost(planned.variant.config)))

        def heard(words: str, images: float, trained: bool = True, points: Sequence[Point] = ()) -> None:
            _heard(self.log, pace, f"{group.label}, {name}", words, images, trained)
            self.tracker.log(points)

        backbone = self.machine.trainable(group, planned.run, heard)
        self.tracker.start(planned)
        device.forget_gpu_peak(self.machine.device)
        with self._failures_recorded(share, [planned]), distributed.together():
            fitted, scores, seconds = _fitted(group, planned, backbone)
            kept = keeping.of_network(group, backbone.kept)
            told = scoring.training(fitted, seconds, backbone.notes, self.machine)
            record, predictions = scoring.judged(group, planned, fitted, scores, self.machine, told, kept)
            if self.machine.leads:
                self.store.save(record, predictions, kept)
                self.tracker.finish(record)
            fitted.finished()
            self.outcome.finished += 1
            self.outcome.trained += fitted.images
            self.log.line(f"{group.label}: {name} done")
        self.log.advance()

    @contextlib.contextmanager
    def _failures_recorded(
        self, share: Share, runs: Sequence[Planned], but: Passing = NOTHING_MEASURED
    ) -> Iterator[None]:
        """What goes wrong inside becomes a recorded failure of these runs, never a score."""
        try:
            yield
        except but:
            raise
        except Exception as error:  # noqa: BLE001
            if self.machine.leads:
                self.outcome.failed += [self.store.save_failure(planned.run, error) for planned in runs]
            kinds = ", ".join(sorted({planned.run.protocol for planned in runs}))
            self.log.line(f"{share.group.label}: {kinds} failed: {type(error).__name__}: {error}")


def _heard(log: ProgressLog, pace: Pace, label: str, words: str, images: float, trained: bool) -> None:
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
