"""From a request to cells: its parts, each a request of its own. No image is read and no weights are loaded."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mixer_bench.data.names import Reading, chosen_tasks
from mixer_bench.errors import UsageError
from mixer_bench.executors import Cell
from mixer_bench.models import names
from mixer_bench.models.card import Card
from mixer_bench.runs import cost
from mixer_bench.runs.options import Options
from mixer_bench.runs.request import Request, request
from mixer_bench.system.grouping import grouped
from mixer_bench.task.sources import HubSource, TableSource
from mixer_bench.task.task import Task, is_of_ones_own

NAMED = 3  # models that a label names
HERE = {"executor": "local", "jobs": 1, "executor_set": {}, "shard": None}  # how a cell is done, wherever that is


class _Part(NamedTuple):
    """What a cell is made of, with the words that it was asked for by."""

    task: Task
    asked: str
    models: tuple[tuple[str, Card], ...]
    protocols: tuple[str, ...]


def resolved(options: Options) -> Request:
    """Return what ``options`` ask for, without asking a device what "auto" means: that is for those who do the work.

    Raises:
        UsageError: an unknown name or setting, or options that do not go together.
    """
    return dataclasses.replace(request(options.model_copy(update={"precision": "fp32"})), options=options)


def cells(whole: Request, at_least: int = 1) -> list[Cell]:
    """Cut a request into cells, those that cost most first.

    Models that see equal squares of a task are one cell with all protocols that leave weights as they are, so that its
    images are decoded once; a protocol that trains is one cell for each model, with all seeds: they share the search.
    Where there are fewer than ``at_least``, models are taken apart.
    """
    weighed = [(_weight(whole, part), part) for part in _parts(whole)]
    while len(weighed) < at_least and (several := [each for each in weighed if len(each[1].models) > 1]):
        heaviest = max(several, key=lambda each: each[0])
        weighed.remove(heaviest)
        models, middle = heaviest[1].models, len(heaviest[1].models) // 2
        halves = [heaviest[1]._replace(models=some) for some in (models[:middle], models[middle:])]
        weighed += [(_weight(whole, half), half) for half in halves]
    made = [Cell(options=_narrowed(whole, part), label=_label(part), weight=weight) for weight, part in weighed]
    return sorted(made, key=lambda cell: (-cell.weight, cell.label))


def untrained(whole: Request) -> list[tuple[str, str]]:
    """Return the models without a network, each with the protocols that would train one: no cell asks for these."""
    bare = [card.name for card in whole.cards if card.architecture is None]
    trained = [name for name, protocol in whole.protocols.items() if protocol.trains]
    return [(model, name) for model in bare for name in trained]


def shard(all_cells: Sequence[Cell], which: int, count: int) -> list[Cell]:
    """Return one of ``count`` parts of about equal weight, the same wherever it is asked for."""
    shards: list[list[Cell]] = [[] for _ in range(count)]
    weights = [0.0] * count
    for cell in all_cells:
        lightest = min(range(count), key=lambda number: (weights[number], len(shards[number]), number))
        shards[lightest].append(cell)
        weights[lightest] += cell.weight
    return shards[which - 1]


def shard_of(text: str) -> tuple[int, int]:
    """Return which shard of how many ``text`` means: "1/4" to "4/4".

    Raises:
        UsageError: it means none.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    which, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= which <= count:
        raise UsageError(f"--shard {text}: must be I/N with I from 1 to N, such as 1/4")
    return which, count


def _parts(whole: Request) -> Iterator[_Part]:
    options = whole.options
    cards: dict[tuple[str, str], tuple[str, Card]] = {}
    for text in names.matching(options.model):
        card = names.card(text)
        cards.setdefault((card.name, card.weights), (text, card))
    frozen = tuple(name for name, protocol in whole.protocols.items() if not protocol.trains)
    trained = [name for name, protocol in whole.protocols.items() if protocol.trains]
    for task, asked in zip(whole.tasks, _texts(options), strict=True):
        squares = {place: _squares(options, task, card) for place, (_, card) in cards.items()}
        if frozen:
            for places in grouped(cards, squares.__getitem__).values():
                yield _Part(task, asked, tuple(cards[place] for place in places), frozen)
        for name in trained:
            for model in cards.values():
                if model[1].architecture is not None:
                    yield _Part(task, asked, (model,), (name,))


def _texts(options: Options) -> list[str]:
    """Return for each task of a request what names it alone: its name, or what was typed for images of one's own."""
    plain: list[tuple[Task, str]] = []
    for text in options.task:
        for task in chosen_tasks([text], options.include, Reading(allow_outside=options.allow_outside)):
            if all(task != other for other, _ in plain):
                plain.append((task, text if is_of_ones_own(task) else task.name))
    return [text for _, text in plain]


def _squares(options: Options, task: Task, card: Card) -> object:
    try:
        return card.at(options.resolution).preprocessing.for_task(task.resize).squares
    except UsageError:  # not at that resolution: said where the cell is done
        return card.name


def _narrowed(whole: Request, part: _Part) -> Options:
    """Return what asks for a part alone; options that nothing in it knows would be refused."""
    options = whole.options
    known = {key for name in part.protocols for key in whole.protocols[name].config.model_fields}
    presets = any(whole.protocols[name].defaults is not None for name in part.protocols)
    changes: dict[str, Any] = {
        **HERE,
        "task": (part.asked,),
        "model": tuple(text for text, _ in part.models),
        "protocol": part.protocols,
        "settings": {key: value for key, value in options.settings.items() if key in known},
        "shots": options.shots if "shots" in known else (),
        "preset": options.preset if presets else None,
    }
    if not isinstance(part.task.source[0], HubSource | TableSource):
        changes |= {"image": None, "label": None}
    if not is_of_ones_own(part.task):
        changes |= {"skip_bad": False, "follow_links": False}
    return options.model_copy(update=changes)


def _weight(whole: Request, part: _Part) -> float:
    protocols = {name: whole.protocols[name] for name in part.protocols}
    cards = [card for _, card in part.models]
    return cost.flops(dataclasses.replace(whole, tasks=[part.task], cards=cards, protocols=protocols))


def _label(part: _Part) -> str:
    models = [card.name for _, card in part.models]
    more = f" and {len(models) - NAMED} more" if len(models) > NAMED else ""
    return f"{', '.join(models[:NAMED])}{more} on {part.task.name}, {', '.join(part.protocols)}"
