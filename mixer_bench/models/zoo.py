"""Names of models to cards. Reads TOML only, never a weight.

A model is named by a card (``mixer_b16``) or by where its weights are: ``timm:NAME.TAG``, ``hf-hub:owner/name``,
``local-dir:DIR``, ``file:PATH?arch=NAME``; ``random:NAME`` is the same network untrained.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mixer_bench.errors import UsageError, unknown
from mixer_bench.models.card import Card, Recipe
from mixer_bench.system.schema import first_problem

HERE = Path(__file__).parent
CARDS, RECIPES = HERE / "zoo.toml", HERE / "recipes.toml"


def _tables(file: Path) -> dict[str, dict[str, Any]]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file}: {error}") from None


@functools.cache
def recipes() -> Mapping[str, Recipe]:
    """How groups of checkpoints were pre-trained, by name."""
    return {name: Recipe.model_validate(table) for name, table in _tables(RECIPES).items()}


def read_cards(file: Path) -> dict[str, Card]:
    """All cards of a TOML file; what its recipe says of a card's pre-training stands in the card.

    Raises:
        UsageError: the file is not TOML, or a card has an unknown, missing or wrong key; names file, card and key.
    """
    found = {}
    for name, table in _tables(file).items():
        shared: dict[str, Any] = {}
        if (recipe := table.get("recipe")) is not None:
            if recipe not in recipes():
                raise UsageError(f"{file}: model {name!r}: {unknown('recipe', recipe, recipes())}")
            shared = {"pretrain": recipes()[recipe].pretrain, "in_domain": recipes()[recipe].in_domain}
        try:
            found[name] = Card.model_validate({**shared, **table, "name": name})
        except ValidationError as error:
            raise UsageError(f"{file}: model {name!r}: {first_problem(error)}") from None
    return found


@functools.cache
def cards() -> Mapping[str, Card]:
    """Every card: the zoo's own, then those that installed packages add (entry points ``mixer_bench.models``).

    Such an entry point names a function that returns the path of a TOML file.
    """
    found = read_cards(CARDS)
    for point in entry_points(group="mixer_bench.models"):
        for name, card in read_cards(Path(point.load()())).items():
            if name in found:
                raise UsageError(f"model {name!r} of package {point.value!r} has the name of a model already there")
            found[name] = card
    return found


def chosen(family: str | None = None, pretrain: str | None = None) -> list[Card]:
    """The cards of a family and of one kind of pre-training images.

    Raises:
        UsageError: no card has that family or those images.
    """
    for kind, wanted in (("family", family), ("pretrain", pretrain)):
        known = {getattr(card, kind) for card in cards().values()}
        if wanted is not None and wanted not in known:
            raise unknown(kind, wanted, known)
    return [c for c in cards().values() if family in (None, c.family) and pretrain in (None, c.pretrain)]
