"""Records to tables: ``tables`` builds them, ``render`` writes them out. Never imports torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mixer_bench import task, zoo
from mixer_bench.card import Card
from mixer_bench.profile_record import Profile
from mixer_bench.record import Record
from mixer_bench.report import averages, figures, render, rows, tables
from mixer_bench.report.about import About

Format = Literal["table", "markdown", "csv", "json"]
FORMATS: tuple[Format, ...] = ("table", "markdown", "csv", "json")


def write(records: Sequence[Record], fmt: Format, profiles: Sequence[Profile] = ()) -> str:
    """The report on ``records`` as text, with speeds from ``profiles`` where they hold the same networks."""
    about = About(cards_of(records), profiles)
    if fmt == "json":
        return json.dumps(rows.tidy(records, about), indent=1) + "\n"
    built = [*tables.build(records, about), *averages.build(records, about, task.tasks())]
    return {"table": render.terminal, "markdown": render.markdown, "csv": render.as_csv}[fmt](built)


def draw(records: Sequence[Record], folder: Path, profiles: Sequence[Profile] = ()) -> list[Path]:
    """The figures of ``records``, each as SVG and PNG in ``folder``; returns the files.

    ``captions.md`` beside them says what each shows and what was left out.
    """
    found = figures.draw(records, About(cards_of(records), profiles), task.tasks())
    if found.drawn or found.left_out:
        figures.write_captions(found, folder)
    return figures.save(found.drawn, folder)


def cards_of(records: Sequence[Record]) -> dict[str, Card]:
    """Cards of the records' models, in the zoo's order with controls last; a model without a card has none."""
    found: dict[str, Card] = {}
    for model in {record.run.model for record in records}:
        # Other kinds of names would have a file opened, the hub asked or timm loaded: their records say enough.
        name = model.removeprefix("random:")
        if name in zoo.cards():
            card = zoo.cards()[name]
            found[model] = zoo.untrained(card) if model.startswith("random:") else card
    order = {name: place for place, name in enumerate(zoo.cards())}

    def place(name: str) -> tuple[bool, int]:
        return "control" in found[name].tags, order.get(name.removeprefix("random:"), len(order))

    return {name: found[name] for name in sorted(found, key=place)}
