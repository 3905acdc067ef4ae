"""Records to tables: ``tables`` builds them, ``render`` writes them out. Never imports torch."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mixer_bench import task, zoo
from mixer_bench.card import Card
from mixer_bench.profile_record import Profile
from mixer_bench.record import Record
from mixer_bench.report import averages, figures, page, render, rows, tables
from mixer_bench.report.about import About
from mixer_bench.report.tables import Table

Format = Literal["table", "markdown", "csv", "json"]
FORMATS: tuple[Format, ...] = ("table", "markdown", "csv", "json")


def write(records: Sequence[Record], fmt: Format, profiles: Sequence[Profile] = ()) -> str:
    """The report on ``records`` as text, with speeds from ``profiles`` where they hold the same networks."""
    about = About(cards_of(records), profiles)
    if fmt == "json":
        return json.dumps(rows.tidy(records, about), indent=1) + "\n"
    built = _tables(records, about)
    return {"table": render.terminal, "markdown": render.markdown, "csv": render.as_csv}[fmt](built)


def html(
    records: Sequence[Record],
    folder: Path,
    problems: Sequence[str] = (),
    failures: Sequence[Path] = (),
    profiles: Sequence[Profile] = (),
) -> str:
    """The report as one HTML page, with figures and with what is behind each number.

    Args:
        records: of the results folder.
        folder: the results folder; the page has its name and no path of this machine.
        problems: a line for each file there that is no record.
        failures: the files of runs that failed.
        profiles: for speeds.
    """
    about = About(cards_of(records), profiles)
    failed = [f"{file.relative_to(folder).as_posix()}: {_reason(file)}" for file in failures]
    # Problems begin with the path of a file, and may have it again in an error of the system.
    here = re.compile(rf"(?<![\w./\\-]){re.escape(str(folder))}[/\\]")
    spoiled = [here.sub("", line) for line in problems]
    drawn = figures.draw(records, about)
    return page.write(_tables(records, about), drawn, records, spoiled, failed, folder.resolve().name or "results")


def _tables(records: Sequence[Record], about: About) -> list[Table]:
    return [*tables.build(records, about), *averages.build(records, about, task.tasks())]


def _reason(file: Path) -> str:
    """Why a run failed, as its file says."""
    try:
        failure = json.loads(file.read_bytes())
        run = failure["run"]
        what = f"{run['model']} on {run['task']}, {run['protocol']}, seed {run['seed']}"
        return f"{what}: {failure['kind']}: {failure['message']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "the reason cannot be read"


def draw(records: Sequence[Record], folder: Path, profiles: Sequence[Profile] = ()) -> list[Path]:
    """The figures of ``records``, each as SVG and PNG in ``folder``; returns the files."""
    return figures.save(figures.draw(records, About(cards_of(records), profiles)), folder)


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
