"""In what a measurement departs from the setting of a published number: values compared with values. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mixer_bench import protocols
from mixer_bench.models import zoo
from mixer_bench.report import published
from mixer_bench.report.cells import Cell
from mixer_bench.report.published import Group, Published
from mixer_bench.results import naming
from mixer_bench.results.record import Record
from mixer_bench.task import task
from mixer_bench.training import presets


def departures(cell: Cell, printed: Published) -> list[str]:
    """Say in what a cell, or a part of a mean, was measured otherwise than a published number; empty where in nothing.

    Args:
        cell: of known tasks in their present version.
        printed: of the same quantity and protocol.
    """
    told = ["other weights than the card's"] if printed.weights == "other" else []
    for name, part in cell.by_task.items():
        told += _of_task(part.record, printed, published.group_of(printed, name))
    return list(dict.fromkeys(told))


def _of_task(record: Record, printed: Published, group: Group | None) -> Iterator[str]:
    run, protocol = record.run, protocols.get(record.run.protocol)
    if run.subset != "official":
        yield f"images {run.subset}, published official"
    if run.limit is not None:
        yield f"at most {run.limit} images a split, published all"
    if group is None or group.differs:
        yield group.differs if group else "the source's setting is not declared"
        return
    known, examples = task.tasks()[run.task], record.n_train + record.n_val
    preset = presets.preset(group.preset) if group.preset else None  # none where nothing is trained
    squares = zoo.cards()[run.model].preprocessing.for_task(known.resize)
    squares = squares.model_copy(update={"resolution": run.preprocessing.resolution})
    here, card = (side.model_dump(mode="json") for side in (run.preprocessing, squares))
    yield from _differing(here, card, "the card's")
    of_preset = preset.resolution_of(known, examples) if preset else None
    resolution = printed.resolution or group.resolution or of_preset
    if resolution is not None and resolution != run.preprocessing.resolution:
        yield f"resolution {run.preprocessing.resolution}, published at {resolution}"
    if run.protocol_version != protocol.version:  # its settings may mean other things
        yield f"version {run.protocol_version} of {run.protocol}, now {protocol.version}"
        return
    settings = preset.of(known, examples, group.settings) if preset else group.settings
    expected = protocols.configure(run.protocol, settings).model_dump(mode="json")
    if run.config != expected and record.preset not in (None, group.preset):
        yield f"preset {record.preset}, published with {group.preset}"
    yield from _differing(run.config, expected, "published with")


def _differing(here: Mapping[str, Any], there: Mapping[str, Any], words: str) -> Iterator[str]:
    for name in naming.differing([here, there]):
        yield f"{name} {naming.whole(here.get(name))}, {words} {naming.whole(there.get(name))}"
