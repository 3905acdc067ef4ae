"""TFDS's keys in copies of its sets: where a column proves to hold them, a copy's rows are put in TFDS's order.

What a column is called, or whether there is one, is not believed of any copy: its values are proved by the digests of
the published parts' keys, which only these very images in this very order have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mixer_bench.data.rows import Read, Rows, Stored
from mixer_bench.errors import DataError
from mixer_bench.task import splits
from mixer_bench.task.sources import Carried, HubSource, Source, Subset
from mixer_bench.task.task import SPLITS, Task

FIELD = "tfds_key"
PNG = b"\x89PNG\r\n\x1a\n"
LOOKED_AT = 8  # images of each split whose encoding and size are looked at
DIGITS = 16  # of a digest

Held = Mapping[str, Rows]  # of each split that the task's parts are cut from
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
    sizes = {split: len(rows) for split, rows in named.items()}
    parts = {name: splits.resolve(getattr(task.splits, name), sizes) for name in SPLITS}
    held = {split: named[split] for part in parts.values() for split, _ in part}
    for column in sorted(set.intersection(*(set(rows.stored.fields) for rows in held.values()))):
        values = _texts(held, column)
        keys = {split: [carried.key.format(**_pieces(value)) for value in of] for split, of in values.items()}
        if keys and _digests(keys, parts) == carried.digests.model_dump():
            break
    else:
        words = "no column of it proves to hold TFDS's keys"
        return source, replace(read, description=f"{read.description}; {words}")
    _check_labels(carried, held, values)
    subset, seen = _subset(carried, held)
    words = f"its column {column!r} holds TFDS's keys{seen}"
    told = replace(read, description=f"{read.description}; {words}")
    if subset == "resampled":
        return source, told
    keyed = {split: replace(rows, stored=_with(rows, keys[split])) for split, rows in held.items()}
    told = replace(told, splits=keyed)
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
    """Return what a key can be made of: a value, its folder, the file's name without suffix, that before the last _."""
    folder, _, file = value.replace("\\", "/").rpartition("/")
    stem = file.rpartition(".")[0] or file
    return {"value": value, "folder": folder, "stem": stem, "group": stem.rpartition("_")[0]}


def _digests(keys: Values, parts: Mapping[str, list[tuple[str, np.ndarray]]]) -> dict[str, str] | None:
    """Return the digest of each part's keys in TFDS's order; None where two rows have one key."""
    if any(len(set(of)) < len(of) for of in keys.values()):
        return None
    order = {split: splits.tfds_order(split, of) for split, of in keys.items()}
    digests = {}
    for name, part in parts.items():
        cut = [keys[split][row] for split, indices in part for row in order[split][indices].tolist()]
        digests[name] = hashlib.sha256(",".join(cut).encode()).hexdigest()[:DIGITS]
    return digests


def _check_labels(carried: Carried, held: Held, values: Values) -> None:
    """Refuse a copy of which one label goes with two classes that the keys name, or one class with two labels."""
    seen: dict[object, object] = {}
    for split, rows in held.items() if carried.classes else ():
        for row, value in enumerate(values[split]):
            name, label = carried.classes.format(**_pieces(value)), int(rows.labels[row])
            if seen.setdefault(name, label) != label or seen.setdefault(label, name) != name:
                words = f"its label is {label} and its key names {name!r}, which do not go together elsewhere"
                raise DataError(f"{rows.name(row)}: {words}; the copy is damaged")


def _subset(carried: Carried, held: Held) -> tuple[Subset, str]:
    """Return what a copy with the right keys is, by its images' encoding and size, and why it is not official."""
    subset: Subset = "official"
    for rows in held.values():
        for index in np.linspace(0, len(rows) - 1, LOOKED_AT).astype(int).tolist():
            content = rows.content(index)
            height, width, _ = rows.stored.decode(content, rows.place(index), False).shape
            if carried.pixels and not carried.pixels[0] <= height * width <= carried.pixels[1]:
                return "resampled", f", but {rows.name(index)} has {width} x {height} pixels, so that it was resized"
            if not content.startswith(PNG):
                subset = "official-lossy"
    return subset, "" if subset == "official" else "; its images may have been saved anew, since not all are PNG"


def _with(rows: Rows, keys: list[str]) -> Stored:
    def field(positions: np.ndarray) -> list[str]:
        return [keys[position] for position in positions.tolist()]

    return replace(rows.stored, fields={**rows.stored.fields, FIELD: field})
