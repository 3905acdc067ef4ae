"""Records to tables: ``tables`` builds them, ``render`` writes them out. Never imports torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from mixer_bench import task, zoo
from mixer_bench.errors import MixerBenchError
from mixer_bench.record import Record
from mixer_bench.report import averages, render, rows, tables

Format = Literal["table", "markdown", "csv", "json"]
FORMATS: tuple[Format, ...] = ("table", "markdown", "csv", "json")


def write(records: Sequence[Record], fmt: Format) -> str:
    """The report on ``records`` as text."""
    if fmt == "json":
        return json.dumps(rows.tidy(records, cards_of(records)), indent=1) + "\n"
    cards = cards_of(records)
    built = [*tables.build(records, cards), *averages.build(records, cards, task.tasks())]
    return {"table": render.terminal, "markdown": render.markdown, "csv": render.as_csv}[fmt](built)


def cards_of(records: Sequence[Record]) -> dict[str, zoo.Card]:
    """Cards of the records' models, in the zoo's order with controls last; a model without a card has none."""
    found: dict[str, zoo.Card] = {}
    for model in {record.run.model for record in records}:
        if model.startswith("file:"):
            continue  # a record keeps the file's name only, so its card cannot be had back
        try:
            found[model] = zoo.card(model)
        except MixerBenchError:
            continue  # results of a model this zoo does not know are reported without cost
    order = {name: place for place, name in enumerate(zoo.cards())}

    def place(name: str) -> tuple[bool, int]:
        return "control" in found[name].tags, order.get(name.removeprefix("random:"), len(order))

    return {name: found[name] for name in sorted(found, key=place)}
