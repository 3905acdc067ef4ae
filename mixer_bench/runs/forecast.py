"""What a request will take on this machine: images, FLOPs and time, what is there already and what is to be fetched."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from mixer_bench.data.readers import hub_files
from mixer_bench.errors import Absent, DataError, MixerBenchError, UsageError
from mixer_bench.models.card import Card
from mixer_bench.protocols.base import Shape
from mixer_bench.results.store import Store
from mixer_bench.runs import cost, plan
from mixer_bench.runs.cost import Work
from mixer_bench.runs.features import CachedFeatures, Computer, Network
from mixer_bench.runs.plan import Gathered, Group, Planned
from mixer_bench.runs.request import Request
from mixer_bench.runs.variants import Variant, variants_of
from mixer_bench.system import paths
from mixer_bench.system.grouping import grouped
from mixer_bench.task.sources import HubSource, JoinedSource
from mixer_bench.task.task import Task

if TYPE_CHECKING:
    from mixer_bench.runs.speeds import Speeds

FP32 = 4  # bytes of a weight in a file, nearly always
RUN = 0.02  # seconds to score a run and to write its record
CHANNELS = 3


@dataclass(frozen=True)
class Piece:
    """Missing runs of one model on one task: those that its features serve, or those of a protocol that trains it."""

    task: str
    model: str
    protocols: tuple[str, ...]
    runs: int
    work: Work
    flops: int | None  # None: the network cannot be built or counted
    seconds: float | None
    speed: str  # how the network's is known
    # Images or weights are not here: sizes are the task file's, and which runs are there is open.
    to_fetch: bool = False


class Fetched(NamedTuple):
    """What must be fetched first."""

    what: str
    bytes: int | None


@dataclass(frozen=True)
class Forecast:
    """What a request will take."""

    pieces: tuple[Piece, ...] = ()
    asked: int = 0  # runs
    kept: int = 0  # images whose features are there
    fetched: tuple[Fetched, ...] = ()
    unavailable: tuple[MixerBenchError, ...] = ()
    remarks: tuple[str, ...] = ()
    device: str = ""  # that will do it, in words
    on_cpu: bool = True

    @staticmethod
    def together(parts: Sequence[Forecast]) -> Forecast:
        """Return what several parts of a request will take; what several must fetch or lack is told once."""
        return Forecast(
            pieces=tuple(piece for part in parts for piece in part.pieces),
            asked=sum(part.asked for part in parts),
            kept=sum(part.kept for part in parts),
            fetched=tuple(dict.fromkeys(fetched for part in parts for fetched in part.fetched)),
            unavailable=tuple({str(error): error for part in parts for error in part.unavailable}.values()),
            remarks=tuple(dict.fromkeys(text for part in parts for text in part.remarks)),
            device=parts[0].device if parts else "",
            on_cpu=all(part.on_cpu for part in parts),
        )

    @property
    def missing(self) -> int:
        """How many runs there are to do."""
        return sum(piece.runs for piece in self.pieces)

    @property
    def seconds(self) -> float:
        """The time of all whose time is known."""
        return sum(piece.seconds or 0.0 for piece in self.pieces)

    @property
    def exit_code(self) -> int:
        """3 where data or weights are missing that nobody can fetch."""
        return max((error.exit_code for error in self.unavailable), default=0)

    def told(self) -> dict[str, Any]:
        """Return what ``--dry-run --json`` prints."""
        return {
            "device": self.device,
            "asked": self.asked,
            "missing": self.missing,
            "seconds": self.seconds,
            "cells": [{**dataclasses.asdict(piece), "work": piece.work._asdict()} for piece in self.pieces],
            "images_with_features": self.kept,
            "to_fetch": [fetched._asdict() for fetched in self.fetched],
            "unavailable": list(map(str, self.unavailable)),
            "exit_code": self.exit_code,
        }


def forecast(request: Request, store: Store, speeds: Speeds, gathered: Gathered) -> Forecast:
    """Return what there is to do of a request, and how long it will take at these speeds.

    What ``gathered`` (``plan.gather``) lacks is taken for what it will be, where it can be fetched.
    """
    todo = plan.make(request, store, gathered)
    pieces = _Pieces(request, speeds)
    for group in todo.groups:
        for runs in grouped(group.runs, lambda planned: _trained_by(planned.variant)).values():
            pieces.planned(group, runs)
    lacking = [] if request.options.offline else gathered.unavailable
    absent = [thing for thing, error in lacking if _can_come(thing) and not isinstance(error, UsageError)]
    pieces.to_come(gathered, absent)
    return Forecast(
        pieces=tuple(pieces.made),
        asked=len(todo.asked) + sum(piece.runs for piece in pieces.made if piece.to_fetch),
        kept=pieces.kept,
        fetched=tuple(_fetched(absent)),
        unavailable=tuple(
            error for thing, error in gathered.unavailable if all(thing is not other for other in absent)
        ),
        remarks=(*plan.remarks(todo, request.options.preset), *pieces.remarks),
        device=speeds.name,
        on_cpu=not speeds.overlaps,
    )


@dataclass
class _Pieces:
    """The pieces of a request, one after the other: each pays for the images that none before it decodes."""

    request: Request
    speeds: Speeds
    made: list[Piece] = field(default_factory=list)
    kept: int = 0  # images whose features are there
    remarks: list[str] = field(default_factory=list)
    _decoded: dict[Any, int] = field(default_factory=dict)

    def planned(self, group: Group, runs: Sequence[Planned]) -> None:
        """Add runs of which images and weights are here."""
        run, variants = runs[0].run, [planned.variant for planned in runs]
        sizes = cost.sizes_of(group.data)
        work, seconds = cost.work(variants, sizes), 0.0
        if work.extracted:
            kept = CachedFeatures(Network.of(run), paths.cache_dir(), load=_never, computer=Computer(0, "", {}))
            here = [len(split) for split in group.data.given.values() if kept.place(split).is_file()]
            self.kept += (known := 0 if self.request.options.fresh else sum(here))
            work = work._replace(extracted=work.extracted - known)
        decoded = (id(group.data), run.preprocessing.squares, variants[0].protocol.trains)
        more = max(0, (sum(sizes) if work.trained else work.extracted) - self._decoded.get(decoded, 0))
        if more:
            self._decoded[decoded] = self._decoded.get(decoded, 0) + more
            try:
                some = next(iter(group.data.given.values()))
                seconds = more * self.speeds.preparing(some, run.preprocessing)
            except DataError as error:
                self.remarks.append(f"how long decoding takes is not known, and runs will fail: {error}")
        classes = group.data.num_classes
        self._add(group.card, group.task, variants, work, Shape(*sizes, _width(group.card), classes), seconds)

    def to_come(self, gathered: Gathered, absent: Sequence[Card | Task]) -> None:
        """Add the runs of what is to be fetched; nobody knows yet which of them are there."""
        limit = self.request.options.limit
        here = {id(task): cost.sizes_of(images) for task, images in gathered.images}
        tasks = [task for task in self.request.tasks if id(task) in here or any(task is thing for thing in absent)]
        there = [model.card for model in gathered.models]
        coming = [thing.at(self.request.options.resolution) for thing in absent if isinstance(thing, Card)]
        for task in tasks:
            sizes = here.get(id(task)) or cost.declared(task, limit)
            every = [*variants_of(self.request, task, sizes[0] + sizes[1])]
            for card in coming if id(task) in here else [*there, *coming]:
                shape = Shape(*sizes, _width(card), task.num_classes or 1)
                for name, variants in grouped(every, _trained_by).items():
                    if not name or card.architecture is not None:
                        self._add(card, task, variants, cost.work(variants, sizes), shape, 0.0, to_fetch=True)

    def _add(
        self,
        card: Card,
        task: Task,
        variants: Sequence[Variant],
        work: Work,
        shape: Shape,
        preparing: float,
        to_fetch: bool = False,
    ) -> None:
        flops, seconds, how = self._network(card, work, preparing)
        if seconds is not None:
            probes = (v.protocol.arithmetic(v.config, shape) for v in variants if not v.protocol.trains)
            seconds += sum(probes) * self.speeds.arithmetic + RUN * len(variants)
        names = tuple(dict.fromkeys(variant.name for variant in variants))
        self.made.append(Piece(task.name, card.name, names, len(variants), work, flops, seconds, how, to_fetch))

    def _network(self, card: Card, work: Work, preparing: float) -> tuple[int | None, float | None, str]:
        """Return FLOPs and seconds of a card's network with its images, and how its speed is known."""
        if card.network is None or not work.passes:
            return 0, preparing, ""
        precision, seconds, hows = self.request.precision, 0.0, list[str]()
        try:
            for images, trains in ((work.trained, True), (work.extracted + work.judged, False)):
                if images:
                    measured = self.speeds.image(card, precision, trains=trains)
                    seconds, hows = seconds + images * measured.seconds, [*hows, measured.how]
            flops = work.passes * cost.counted(card).flops
        except UsageError as error:
            return None, None, str(error)
        both = max(preparing, seconds) if self.speeds.overlaps else preparing + seconds
        return flops, both, hows[0]


def _trained_by(variant: Variant) -> str:
    """Return the protocol that trains; nothing for those that features serve, which share them."""
    return variant.name if variant.protocol.trains else ""


def _never() -> Any:
    raise AssertionError("no network is needed to look for features")


def _width(card: Card) -> int:
    """Return how many features an image has, as far as its card says it."""
    return card.width or CHANNELS * card.preprocessing.resolution**2


def _can_come(thing: Card | Task) -> bool:
    if isinstance(thing, Card):
        return thing.weights.startswith(("hf-hub:", "https:"))
    return bool(_on_hub(thing))


def _on_hub(task: Task) -> list[HubSource]:
    """Return what the first of a task's sources that can be fetched fetches."""
    for source in task.source:
        parts = source.part if isinstance(source, JoinedSource) else [source]
        if any(isinstance(part, HubSource) for part in parts):
            return [part for part in parts if isinstance(part, HubSource)]
    return []


def _fetched(absent: Sequence[Card | Task]) -> Iterator[Fetched]:
    """Give what is to be fetched, each repository once."""
    told = set()
    for thing in absent:
        if isinstance(thing, Card):
            with contextlib.suppress(UsageError):
                yield Fetched(f"weights of {thing.name}", FP32 * (thing.parameters or cost.counted(thing).parameters))
            continue
        for source in _on_hub(thing):
            if source.repo not in told:
                told.add(source.repo)
                yield Fetched(f"images of {thing.name} ({source.repo})", _bytes(source))


def _bytes(source: HubSource) -> int | None:
    """Return how much of a data set is not here; None where nobody asked the hub before."""
    try:
        return hub_files.missing_bytes(hub_files.listing(source))
    except (Absent, DataError):
        return None
