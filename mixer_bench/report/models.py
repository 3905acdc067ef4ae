"""What tables say of models besides their scores: their order, origin, cost and speed. Pure; prints nothing."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mixer_bench.errors import MixerBenchError
from mixer_bench.models import names, weights, zoo
from mixer_bench.models import origin as origin_module
from mixer_bench.models.card import Card, Origin
from mixer_bench.results.profiles import Profile
from mixer_bench.results.record import Record

if TYPE_CHECKING:
    from mixer_bench.report.cells import Cell

OTHER = "other weights"
DEVICES = 2  # columns of speeds a table has room for
Place = tuple[str, int, str]  # device, threads, precision


@dataclass(frozen=True)
class Speeds:
    """Columns of speeds for a table's rows, images a second; None where there is no network or no measurement."""

    headings: tuple[str, ...]
    rows: tuple[tuple[float | None, ...], ...]
    where: tuple[str, ...] = ()  # what each column was measured on; none where nothing was measured
    remarks: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """All that a reader must know of them."""
        return (*self.where, *self.remarks)


@dataclass(frozen=True)
class About:
    """Cards of the models that have one, by name and in the order of tables, and measured speeds."""

    cards: Mapping[str, Card] = field(default_factory=dict)
    profiles: Sequence[Profile] = ()
    _known: dict[tuple[str, str, int, Origin | None], tuple[Origin | None, bool]] = field(default_factory=dict)

    def position(self, model: str) -> int:
        """Where the model stands in a table."""
        order = list(self.cards)
        return order.index(model) if model in self.cards else len(order)

    def origin(self, record: Record) -> Origin | None:
        """What is known of a record's model: today's card if it speaks of the same weights, else what was known then.

        A card corrected since is the better witness; one whose weights were replaced is none.
        """
        return self._witness(record)[0]

    def _witness(self, record: Record) -> tuple[Origin | None, bool]:
        """The origin, and whether its weights are those that were measured."""
        run = record.run
        key = (run.model, run.weights, run.preprocessing.resolution, record.origin)
        if key not in self._known:
            card = self.cards.get(run.model)
            self._known[key] = (record.origin, True) if card is None else _witness(card, record)
        return self._known[key]

    def images(self, record: Record) -> str:
        """The images a model was pre-trained on, in a word."""
        origin = self.origin(record)
        return "?" if origin is None else origin.pretrain

    def pretraining(self, record: Record) -> str:
        """The images and the cost of a model's pre-training, in a few words."""
        origin, same = self._witness(record)
        if origin is None:
            return "?"
        cost = origin.cost_words if same else OTHER
        return origin.pretrain if cost in ("?", origin.pretrain) else f"{origin.pretrain} {cost}"

    def is_in_domain(self, record: Record) -> bool:
        """Whether the task's images were among those of pre-training."""
        origin = self.origin(record)
        return origin is not None and record.run.task in origin.in_domain

    def speeds(self, rows: Sequence[Sequence[Cell]]) -> Speeds:
        """Return speeds of the models of a table's rows: of profiles where there are any, else of extraction."""
        models = [row[0].record for row in rows]
        profiled = [self._profiled(record) for record in models]
        places = [place for place, _ in Counter(p for row in profiled for p in row).most_common(DEVICES)]
        if not places:
            return self._extraction(rows)
        headings = ("img/s",) if len(places) == 1 else tuple(f"img/s ({n})" for n in range(1, len(places) + 1))
        where = [
            f"{heading}: forward pass, best batch size (mixer-bench profile), {_place_words(place)}"
            for heading, place in zip(headings, places, strict=True)
        ]
        pairs = zip(models, profiled, strict=True)
        lacking = [record.run.model for record, row in pairs if places[0] not in row and self._has_network(record)]
        remarks = [f"not profiled there: {', '.join(dict.fromkeys(lacking))}"] if lacking else []
        if any(row[place].disturbed for row in profiled for place in places if place in row):
            remarks.append(
                "img/s: other processes took CPUs while some were profiled, which can slow a network many times"
            )
        speeds = tuple(tuple(row[place].throughput if place in row else None for place in places) for row in profiled)
        return Speeds(headings, speeds, tuple(where), tuple(remarks))

    def _extraction(self, rows: Sequence[Sequence[Cell]]) -> Speeds:
        records = [[r for cell in row for r in cell.records if self._has_network(row[0].record)] for row in rows]
        measured = [
            [(r.cost.throughput, r.cost.throughput_on) for r in row if r.cost.throughput is not None] for row in records
        ]
        medians = tuple((statistics.median(speed for speed, _ in row) if row else None,) for row in measured)
        places = sorted({place for row in measured for _, place in row})
        return Speeds(("img/s",), medians, (f"img/s: feature extraction, {'; '.join(places)}",) if places else ())

    def _profiled(self, record: Record) -> dict[Place, Profile]:
        origin = self.origin(record)
        network = origin.network if origin is not None else None
        side = record.run.preprocessing.resolution
        return {
            (p.device_name, p.threads, p.precision): p
            for p in self.profiles
            if p.network == network and p.resolution == side
        }

    def _has_network(self, record: Record) -> bool:
        origin = self.origin(record)
        return origin is None or origin.network is not None


def _place_words(place: Place) -> str:
    device, threads, precision = place
    return (
        f"{device}, {precision}"
        if device.startswith(("NVIDIA", "AMD Instinct"))
        else f"{device}, {threads} threads, {precision}"
    )


def _witness(card: Card, record: Record) -> tuple[Origin, bool]:
    """The better of what a card says today and what was known when the record was made; whether of these weights."""
    today, then = origin_module.origin(card), record.origin
    if then is not None and then.source != today.source:
        return then, True
    if then is not None:
        today = today.model_copy(update={"network": then.network, "commit": then.commit})
    same = _same_weights(card, record)
    return today if same else today.model_copy(update={"cost": None}), same


def _same_weights(card: Card, record: Record) -> bool:
    """Whether an embedded checkpoint is still the one that was measured; others are known by where they are from."""
    if not card.weights.startswith("embedded:"):
        return True
    try:
        return weights.identity(card.at(record.run.preprocessing.resolution)) == record.run.weights
    except MixerBenchError:
        return False  # old results are reported also where the checkpoint is gone


def cards_of(records: Sequence[Record]) -> dict[str, Card]:
    """Cards of the records' models, in the zoo's order with controls last; a model without a card has none."""
    found: dict[str, Card] = {}
    for model in {record.run.model for record in records}:
        # Other kinds of names would have a file opened, the hub asked or timm loaded: their records say enough.
        name = model.removeprefix("random:")
        if name in zoo.cards():
            card = zoo.cards()[name]
            found[model] = names.untrained(card) if model.startswith("random:") else card
    order = {name: place for place, name in enumerate(zoo.cards())}

    def place(name: str) -> tuple[bool, int]:
        return "control" in found[name].tags, order.get(name.removeprefix("random:"), len(order))

    return {name: found[name] for name in sorted(found, key=place)}
