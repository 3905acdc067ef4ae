"""What tables say of models besides their scores: their order, origin and costs. Pure; prints nothing."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mixer_bench.errors import MixerBenchError
from mixer_bench.models import names, weights, zoo
from mixer_bench.models import origin as origin_module
from mixer_bench.models.card import Card, Origin
from mixer_bench.results.profiles import Profile
from mixer_bench.results.record import Record, RunCost
from mixer_bench.system import machine

if TYPE_CHECKING:
    from mixer_bench.report.cells import Cell

OTHER = "other weights"
UNKNOWN = Origin(
    family="other",
    pretrain="?",
    recipe=None,
    in_domain=(),
    cost=None,
    parameters=None,
    network="",  # it has one
    source="?",
    commit=None,
    licence="?",
)
FORWARD = "forward pass, best batch size (mixer-bench profile)"
LIKEWISE = "measured there"
DEVICES = 2  # columns of speeds a table has room for
Place = tuple[str, int, str, str]  # device, threads, precision, compiled or eager


@dataclass(frozen=True)
class Quantity:
    """What each model of a table's rows takes or gives; None where there is no network or no measurement."""

    heading: str  # with its unit
    values: tuple[float | None, ...]
    where: str = ""  # what it was measured on; empty where nothing was measured
    larger: bool = False  # whether more is better


@dataclass(frozen=True)
class Costs:
    """Columns of quantities for a table's rows."""

    quantities: tuple[Quantity, ...]
    remarks: tuple[str, ...] = ()

    @property
    def headings(self) -> tuple[str, ...]:
        """The columns' headings."""
        return tuple(quantity.heading for quantity in self.quantities)

    @property
    def rows(self) -> list[tuple[float | None, ...]]:
        """The quantities of each row, in the columns' order."""
        return list(zip(*(quantity.values for quantity in self.quantities), strict=True))

    @property
    def notes(self) -> tuple[str, ...]:
        """All that a reader must know of them."""
        where = (f"{quantity.heading}: {quantity.where}" for quantity in self.quantities if quantity.where)
        return (*where, *self.remarks)


@dataclass(frozen=True)
class About:
    """Cards of the models that have one, by name and in the order of tables, and measured speeds."""

    cards: Mapping[str, Card] = field(default_factory=dict)
    profiles: Sequence[Profile] = ()
    _known: dict[tuple[str, str, int, Origin | None], tuple[Origin, bool]] = field(default_factory=dict)

    @staticmethod
    def of(records: Sequence[Record], profiles: Sequence[Profile] = ()) -> About:
        """Return what the zoo and profiles know of the models of ``records``."""
        return About(cards_of(records), profiles)

    def position(self, model: str) -> int:
        """Return where the model stands in a table."""
        return list(self.cards).index(model) if model in self.cards else len(self.cards)

    def origin(self, record: Record) -> Origin:
        """Return what is known of a record's model: by today's card if that is of the same weights, else by the record.

        A card corrected since is the better witness; a card whose weights were replaced is none.
        """
        return self._witness(record)[0]

    def pretraining(self, record: Record) -> str:
        """Return the images and the cost of a model's pre-training, in a few words."""
        origin, same = self._witness(record)
        cost = origin.cost_words if same else OTHER
        return origin.pretrain if cost in ("?", origin.pretrain) else f"{origin.pretrain} {cost}"

    def _witness(self, record: Record) -> tuple[Origin, bool]:
        """Return the origin, and whether its weights are those that were measured."""
        run, then = record.run, record.origin
        key = (run.model, run.weights, run.preprocessing.resolution, then)
        if key not in self._known:
            card = self.cards.get(run.model)
            self._known[key] = (then or UNKNOWN, True) if card is None else _witness(card, record)
        return self._known[key]

    def costs(self, rows: Sequence[Sequence[Cell]]) -> Costs:
        """Return what the models of a table's rows take: by profiles where there are any, else speeds of extraction."""
        models = [row[0].record for row in rows]
        profiled = [self._profiled(record) for record in models]
        places = [place for place, _ in Counter(p for row in profiled for p in row).most_common(DEVICES)]
        if not places:
            return self._extraction(rows)
        first, *others = ([row.get(place) for row in profiled] for place in places)
        where = [f"{FORWARD}, {_place_words(place)}" for place in places]
        quantities = [
            Quantity("img/s", _of(first, lambda p: p.throughput), where[0], larger=True),
            Quantity("latency ms", _of(first, lambda p: p.latency_ms.median), f"of batch 1, median; {LIKEWISE}"),
            Quantity("memory MB", _of(first, _megabytes), f"peak at the best batch size; {LIKEWISE}"),
            Quantity("params M", _of(first, lambda p: p.parameters / 1e6), "without the classifier"),
            *(
                Quantity(f"img/s ({number})", _of(there, lambda p: p.throughput), words, larger=True)
                for number, (there, words) in enumerate(zip(others, where[1:], strict=True), start=2)
            ),
        ]
        lacking = dict.fromkeys(self._unprofiled(models, first))
        remarks = (f"not profiled there: {', '.join(lacking)}",) if lacking else ()
        return Costs(tuple(quantities), remarks)

    def _unprofiled(self, models: Sequence[Record], profiles: Sequence[Profile | None]) -> Iterator[str]:
        """Give the networks without a profile, by resolution where they have one at another."""
        known = {record.run.model for record, profile in zip(models, profiles, strict=True) if profile is not None}
        for record, profile in zip(models, profiles, strict=True):
            if profile is None and self.origin(record).network is not None:
                run = record.run
                yield f"{run.model} ({run.preprocessing.resolution} px)" if run.model in known else run.model

    def _extraction(self, rows: Sequence[Sequence[Cell]]) -> Costs:
        with_network = [row if self.origin(row[0].record).network is not None else [] for row in rows]
        costs = [[record.cost for cell in row for record in cell.records] for row in with_network]
        measured = [[(c.throughput, _extraction_words(c)) for c in row if c.throughput is not None] for row in costs]
        medians = tuple(statistics.median(speed for speed, _ in row) if row else None for row in measured)
        places = sorted({place for row in measured for _, place in row})
        return Costs((Quantity("img/s", medians, "; ".join(places), larger=True),))

    def _profiled(self, record: Record) -> dict[Place, Profile]:
        network, side = self.origin(record).network, record.run.preprocessing.resolution
        fitting = [profile for profile in self.profiles if (profile.network, profile.resolution) == (network, side)]
        return {
            (profile.device_name, profile.threads, profile.precision, profile.networks): profile for profile in fitting
        }


def _of(profiles: Sequence[Profile | None], value: Callable[[Profile], float | None]) -> tuple[float | None, ...]:
    return tuple(None if profile is None else value(profile) for profile in profiles)


def _megabytes(profile: Profile) -> float | None:
    peak = profile.best.peak_memory
    return None if peak is None else peak / 1e6


def _extraction_words(cost: RunCost) -> str:
    return f"feature extraction {'with' if cost.decoding else 'without'} decoding, {cost.throughput_on}"


def _place_words(place: Place) -> str:
    device, threads, precision, networks = place
    on_gpu = device.startswith(("NVIDIA", "AMD Instinct"))
    return f"{device if on_gpu else machine.with_threads(device, threads)}, {precision}, {networks}"


def _witness(card: Card, record: Record) -> tuple[Origin, bool]:
    """Return the better of today's card and what the record says, and whether it is of the weights measured."""
    today, then = origin_module.origin(card), record.origin
    if then is not None and then.source != today.source:
        return then, True
    if then is not None:
        today = today.model_copy(update={"network": then.network, "commit": then.commit})
    same = _same_weights(card, record)
    return today if same else today.model_copy(update={"cost": None}), same


def _same_weights(card: Card, record: Record) -> bool:
    """Return whether an embedded checkpoint is still that which was measured; others are known by their source."""
    if not card.weights.startswith("embedded:"):
        return True
    try:
        return weights.identity(card.at(record.run.preprocessing.resolution)) == record.run.weights
    except MixerBenchError:
        return False  # old results are reported also where the checkpoint is gone


def cards_of(records: Sequence[Record]) -> dict[str, Card]:
    """Return the cards of the records' models, in the zoo's order with controls last; of the zoo's models alone.

    Other kinds of names would have a file opened, the hub asked or timm loaded: their records say enough.
    """
    models = {record.run.model for record in records}
    cards = []
    for card in zoo.cards().values():
        cards += [card] if card.name in models else []
        cards += [names.untrained(card)] if f"random:{card.name}" in models else []
    return {card.name: card for card in sorted(cards, key=lambda card: "control" in card.tags)}
