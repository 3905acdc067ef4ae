"""Names of models to cards. Reads TOML only, never a weight.

A model is named by a card (``mixer_b16``) or by where its weights are: ``timm:NAME.TAG``, ``hf-hub:owner/name``,
``local-dir:DIR``, ``file:PATH?arch=NAME``; ``random:NAME`` is the same network untrained.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mixer_bench.errors import UsageError, unknown
from mixer_bench.models.card import Card, Recipe
from mixer_bench.system import plugins
from mixer_bench.system.schema import first_problem, read_toml

HERE = Path(__file__).parent
CARDS, RECIPES = HERE / "zoo.toml", HERE / "recipes.toml"
GROUP = "mixer_bench.models"  # of entry points


def _tables(file: Path) -> dict[str, dict[str, Any]]:
    tables = read_toml(file)
    if values := [name for name, table in tables.items() if not isinstance(table, dict)]:
        raise UsageError(f"{file}: {values[0]!r} is a value; a card is a table: [{values[0]}]")
    return tables


@functools.cache
def recipes() -> Mapping[str, Recipe]:
    """Return how groups of checkpoints were pre-trained, by name."""
    return {name: Recipe.model_validate(table) for name, table in _tables(RECIPES).items()}


def read_cards(file: Path) -> dict[str, Card]:
    """Read all cards of a TOML file; what its recipe says of a card's pre-training stands in the card.

    Raises:
        UsageError: the file is not TOML, or a card has an unknown, missing or wrong key; names file, card and key.
    """
    read = {}
    for name, table in _tables(file).items():
        shared: dict[str, Any] = {}
        if (recipe := table.get("recipe")) is not None:
            if not isinstance(recipe, str) or recipe not in recipes():
                raise UsageError(f"{file}: model {name!r}: {unknown('recipe', str(recipe), recipes())}")
            shared = recipes()[recipe].of_card
        try:
            read[name] = Card.model_validate({**shared, **table, "name": name})
        except ValidationError as error:
            raise UsageError(f"{file}: model {name!r}: {first_problem(error)}") from None
    return read


@functools.cache
def of_plugins() -> tuple[Mapping[str, Card], tuple[str, ...]]:
    """Return the cards that installed packages add, and what is wrong with those that are left out.

    An entry point of the group ``mixer_bench.models`` names a function that returns the path of a TOML file.
    """
    added: dict[str, Card] = {}
    problems = []
    taken = read_cards(CARDS).keys()
    for point in sorted(plugins.names(GROUP)):
        try:
            cards_of_package = read_cards(plugins.path_of("models", GROUP, point))
            if doubled := cards_of_package.keys() & (taken | added.keys()):
                raise UsageError(f"models {point!r}: there is a model named {', '.join(sorted(doubled))} already")
            added |= cards_of_package
        except UsageError as error:
            problems.append(str(error))
    return added, tuple(problems)


@functools.cache
def cards() -> Mapping[str, Card]:
    """Return every card by its name: the zoo's own, then those that installed packages add."""
    return {**read_cards(CARDS), **of_plugins()[0]}


def chosen(family: str | None = None, pretrain: str | None = None, more: Sequence[Card] = ()) -> list[Card]:
    """Return the cards, and ``more``, of a family and of one kind of pre-training images.

    Raises:
        UsageError: no card has that family or those images.
    """
    known_cards = [*cards().values(), *more]
    for kind, wanted in (("family", family), ("pretrain", pretrain)):
        known = {getattr(card, kind) for card in known_cards}
        if wanted is not None and wanted not in known:
            raise unknown(kind, wanted, known)
    return [c for c in known_cards if family in (None, c.family) and pretrain in (None, c.pretrain)]
