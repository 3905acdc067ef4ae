"""What a record keeps of the model it measured."""

from __future__ import annotations

from pathlib import Path

from mixer_bench.errors import ResultsError, WeightsError
from mixer_bench.models.card import Card, Origin, Pretraining
from mixer_bench.models.weights import commit_of, place
from mixer_bench.system.paths import EMBEDDED
from mixer_bench.system.schema import read_file


def origin(card: Card, fetch: bool = False) -> Origin:
    """Return what a record keeps of a card; with ``fetch``, also the commit on the hub that its weights are from."""
    of_hub = place(card) if fetch and card.weights.startswith("hf-hub:") else None
    measured = pretraining(card)
    return Origin(
        family=card.family,
        pretrain=measured.data if measured and card.pretrain == "?" else card.pretrain,
        recipe=card.recipe,
        in_domain=card.in_domain,
        cost=measured.cost if measured else card.cost,
        parameters=card.parameters,
        network=card.network.digest if card.network else None,
        source=card.source,
        commit=commit_of(of_hub) if of_hub else None,
        licence=card.licence,
    )


def pretraining(card: Card) -> Pretraining | None:
    """Return the record that ``mixer-bench pretrain`` left beside a card's weights, if there is one.

    Raises:
        WeightsError: an embedded record is damaged.
    """
    kind, _, path = card.weights.partition(":")
    if kind == "embedded":
        return read_pretraining(EMBEDDED / f"{path}.json")
    beside = Path(path).with_suffix(".json") if kind == "file" else None
    try:
        return read_pretraining(beside) if beside and beside.is_file() else None
    except WeightsError:
        return None  # a file of one's own may have any other beside it


def read_pretraining(file: Path) -> Pretraining:
    """Read the record of a pre-training.

    Raises:
        WeightsError: it is not one, or was changed.
    """
    try:
        return read_file(file, Pretraining, "record of a pre-training", "train again")
    except ResultsError as error:
        raise WeightsError(str(error)) from None
