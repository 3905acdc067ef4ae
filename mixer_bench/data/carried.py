"""TFDS's keys in copies of its sets: where a column proves to hold them, a copy's rows are put in TFDS's order.

What a column is called, or whether there is one, is not believed of any copy: its values are proved by the digests of
the published parts' keys, which only these very images in this very order have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mixer_bench.data import resized
from mixer_bench.data.rows import Read, Rows, Stored
from mixer_bench.errors import DataError
from mixer_bench.task import splits
from mixer_bench.task.sources import Carried, HubSource, Source, Subset
from mixer_bench.task.task import SPLITS, Task

FIELD = "tfds_key"
PNG = b"\x89PNG\r\n\x1a\n"
DIGITS = 16  # of a digest

Held = Mapping[str, Rows]  # of each split that the task's parts are cut from
Place = tuple[str, int]  # a split and the row in it
Values = Mapping[str, list[str]]  # of each of these splits, in the order of its rows


def recognised(task: Task, source: Source, read: Read) -> tuple[Source, Read]:
    """Return a copy with its order and subset by the keys that it carries; without any, as it is, which it says.

    Raises:
        DataError: labels contradict the keys.
        UsageError: the task's slices do not fit it.
    """
    carried = source.carried if isinstance(source, HubSource) else None
    if carried is None:
        return source, read
    named = {source.rename.get(split, split): rows for split, rows in read.splits.items()}
    counts = {split: len(rows) for split, rows in named.items()}
    parts = {name: splits.resolve(getattr(task.splits, name), counts) for name in SPLITS}
    held = {split: named[split] for part in parts.values() for split, _ in part}
    for column in sorted(set.intersection(*(set(rows.stored.fields) for rows in held.values()))):
        values = _texts(held, column)
        keys = {split: [carried.key.format(**_pieces(value)) for value in of] for split, of in values.items()}
        ordered = _ordered(keys, parts) if keys else {}
        if {name: _digest(key for key, _ in part) for name, part in ordered.items()} == carried.digests.model_dump():
            break
    else:
        words = "no column of it proves to hold TFDS's keys"
        return source, replace(read, description=f"{read.description}; {words}")
    where = [place for part in ordered.values() for _, place in part]
    words = f"its column {column!r} holds TFDS's keys" + _labels_proved(carried, held, where)
    subset: Subset = "official"
    if not all(_is_png(rows, row) for rows in held.values() for row in resized.looked_at(len(rows))):
        subset, words = "official-lossy", f"{words}; its images may have been saved anew, since not all are PNG"
    keyed = {split: replace(rows, stored=_with(rows, keys[split])) for split, rows in held.items()}
    told = replace(read, splits=keyed, description=f"{read.description}; {words}")
    return source.model_copy(update={"order": "tfds", "key": f"{{{FIELD}}}", "subset": subset, "rename": {}}), told


def _texts(held: Held, column: str) -> dict[str, list[str]]:
    """Return the values of a column in each split; nothing where they are not all texts, each once."""
    values: dict[str, list[str]] = {}
    for split, rows in held.items():
        field = rows.stored.fields[column]
        first = next(iter(field(rows.positions[:1])), None)
        if not (first and isinstance(first, str)):
            return {}
        given = [str(value) for value in field(rows.positions) if isinstance(value, str)]
        if len(set(given)) < len(rows):
            return {}
        values[split] = given
    return values


def _pieces(value: str) -> dict[str, str]:
    """Return what a key can be made of: a value, its file's name without suffix, that before the last _."""
    file = value.replace("\\", "/").rpartition("/")[2]
    stem = file.rpartition(".")[0] or file
    return {"value": value, "stem": stem, "group": stem.rpartition("_")[0]}


def _ordered(keys: Values, parts: Mapping[str, list[tuple[str, np.ndarray]]]) -> dict[str, list[tuple[str, Place]]]:
    """Return each part's keys in TFDS's order and where they are; nothing where two rows have one key."""
    if any(len(set(of)) < len(of) for of in keys.values()):
        return {}
    order = {split: splits.tfds_order(split, of) for split, of in keys.items()}
    return {
        name: [(keys[split][row], (split, row)) for split, indices in part for row in order[split][indices].tolist()]
        for name, part in parts.items()
    }


def _digest(values: Iterable[object]) -> str:
    return hashlib.sha256(",".join(map(str, values)).encode()).hexdigest()[:DIGITS]


def _labels_proved(carried: Carried, held: Held, where: Sequence[Place]) -> str:
    """Return in words that labels are not known to be right; classes may have other numbers than the published ones.

    Raises:
        DataError: they are wrong.
    """
    if not carried.labels:
        return ", of which no digest proves the labels"
    number: dict[int, int] = {}
    labels = (int(held[split].labels[row]) for split, row in where)
    if _digest(number.setdefault(label, len(number)) for label in labels) != carried.labels:
        raise DataError("its keys are TFDS's and its labels are others than go with them; the copy is damaged")
    return ""


def _is_png(rows: Rows, row: int) -> bool:
    return rows.content(row).startswith(PNG)


def _with(rows: Rows, keys: list[str]) -> Stored:
    def field(positions: np.ndarray) -> list[str]:
        return [keys[position] for position in positions.tolist()]

    return replace(rows.stored, fields={**rows.stored.fields, FIELD: field})
