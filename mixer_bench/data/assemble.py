"""What was read of a source to a task's examples: ordered, cut, checked and fingerprinted."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

import numpy as np

from mixer_bench.data import imagenet_real, vtab_labels
from mixer_bench.data.examples import Examples, TaskData
from mixer_bench.data.rows import Read, Rows
from mixer_bench.errors import DataError
from mixer_bench.task import splits
from mixer_bench.task.sources import JoinedSource, Source, Subset
from mixer_bench.task.task import SPLITS, Task


def assembled(task: Task, source: Source, found: Read, *, anew: bool = False) -> TaskData:
    """What was read of ``source`` as the task's examples: ordered, cut, checked and fingerprinted.

    Args:
        task: what to make of it.
        source: where it was read.
        found: its splits.
        anew: hash every image, whatever was noted of it before.

    Raises:
        DataError: it is not what the task file says.
        UsageError: the task's slices do not fit it.
    """
    if not isinstance(source, JoinedSource):
        _check_rows(source, found)
    own = {source.rename.get(name, name): name for name in found.splits}
    available = {name: found.splits[own[name]] for name in own}
    sizes = {name: len(rows) for name, rows in available.items()}
    table = source.splits or task.splits
    parts = {name: splits.resolve(getattr(table, name), sizes) for name in SPLITS}
    splits.check_disjoint(parts)
    for name in {used for part in parts.values() for used, _ in part}:
        available[name] = ordered(name, own[name], available[name], source, found.class_names)
    cut: Cut = {name: [available[used].take(indices) for used, indices in part] for name, part in parts.items()}
    cut, class_names = _classed(task, source, cut, found.class_names)
    _check_sizes(task, source, cut)
    examples = {name: Examples.joined([Examples.of(rows, anew) for rows in part]) for name, part in cut.items()}
    if task.duplicates == "refused":
        _check_duplicates(examples)
    subset = "resampled" if found.drawn else _worst(source)
    made = TaskData(
        train=examples["train"],
        val=examples["val"],
        test=examples["test"],
        class_names=class_names,
        metric=task.metric,
        source=_words(source, found),
        subset=subset,
    )
    return imagenet_real.with_accepted_labels(made) if task.real_labels else made


def _worst(source: Source) -> Subset:
    """The subset of a source; of joined ones that of the part farthest from the published images."""
    parts = source.part if isinstance(source, JoinedSource) else ()
    return max((source.subset, *(part.subset for part in parts)), key=get_args(Subset).index)


def _check_rows(source: Source, found: Read) -> None:
    """Refuse a split that is not whole: cut to the right size, it would still hold other images.

    Raises:
        DataError: names the split and both numbers.
    """
    held = {source.rename.get(name, name): len(rows) for name, rows in found.splits.items()}
    for name, count in source.rows.items():
        if held.get(name, 0) != count:
            raise DataError(f"split {name!r} holds {held.get(name, 0)} images, {count} when whole; fetch it again")


def _words(source: Source, found: Read) -> str:
    order = {
        "source": "",
        "tfds": f"; in TFDS's order, by {source.key}",
        "seeded": "; no key to TFDS's order, so shuffled by a fixed seed",
    }
    return found.description + order[source.order]


def ordered(name: str, own_name: str, rows: Rows, source: Source, class_names: tuple[str, ...] | None) -> Rows:
    """A split in the order that the source's declaration asks for.

    Args:
        name: the split as TFDS calls it, which salts the order.
        own_name: as the source calls it.
        rows: the source's rows.
        source: says the order.
        class_names: for keys that hold the class.

    Raises:
        DataError: the rows lack what their keys are made of, or two have the same key.
    """
    if source.order == "source":
        return rows
    if source.order == "seeded":
        return rows.take(splits.shuffled(name, len(rows)))
    return rows.take(splits.tfds_order(name, _keys(source.key, own_name, rows, class_names)))


def _keys(template: str, split: str, rows: Rows, class_names: tuple[str, ...] | None) -> list[str]:
    """The TFDS key of each row: ``template`` with the row's own fields."""
    columns = {}
    for field in dict.fromkeys(field for _, field, _, _ in string.Formatter().parse(template) if field):
        if field == "index":
            columns[field] = rows.positions.tolist()
        elif field == "split":
            columns[field] = [split] * len(rows)
        elif field == "class":
            if class_names is None:
                raise DataError(f"key {template!r}: the source does not name its classes")
            columns[field] = [class_names[label] for label in rows.labels]
        else:
            try:
                columns[field] = list(rows.stored.field(field, rows.positions))
            except KeyError as error:
                raise DataError(f"key {template!r}: {error.args[0]}") from None
    return [template.format(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


Cut = Mapping[str, list[Rows]]


def _classed(task: Task, source: Source, cut: Cut, class_names: tuple[str, ...] | None) -> tuple[Cut, tuple[str, ...]]:
    """Labels by the source's rule, and the classes' names; labels of images of one's own are numbered anew.

    Raises:
        DataError: another number of classes than declared, a label outside them, or a class without any example.
    """
    if source.rule:
        rule = vtab_labels.rule(source.rule)
        cut = {name: [replace(rows, labels=rule(rows.labels)) for rows in part] for name, part in cut.items()}
        class_names = None
    seen = np.unique(np.concatenate([rows.labels for part in cut.values() for rows in part]))
    if class_names is None and task.num_classes is None:
        class_names = tuple(str(label) for label in seen)
        cut = {
            name: [replace(rows, labels=np.searchsorted(seen, rows.labels)) for rows in part]
            for name, part in cut.items()
        }
        seen = np.arange(len(seen))
    names = class_names or tuple(str(number) for number in range(task.num_classes or 0))
    if task.num_classes is not None and len(names) != task.num_classes:
        raise DataError(f"{len(names)} classes found, {task.num_classes} declared")
    for part in cut.values():
        for rows in part:
            wrong = np.flatnonzero((rows.labels < 0) | (rows.labels >= len(names)))
            if len(wrong):
                first = int(wrong[0])
                raise DataError(f"{rows.name(first)}: label {rows.labels[first]} is outside 0..{len(names) - 1}")
    if absent := sorted(set(range(len(names))) - set(seen.tolist())):
        raise DataError(f"{len(seen)} of {len(names)} classes occur; class {names[absent[0]]!r} has no example")
    return cut, names


def _check_sizes(task: Task, source: Source, cut: Cut) -> None:
    if task.sizes is None:
        return
    for name, part in cut.items():
        allowed = source.sizes.get(name, (getattr(task.sizes, name),))  # type: ignore[call-overload]
        if (count := sum(map(len, part))) not in allowed:
            raise DataError(f"split {name} has {count} examples, {' or '.join(map(str, allowed))} declared")


def _check_duplicates(examples: Mapping[str, Examples]) -> None:
    """Refuse an image that is in two splits, byte for byte: what was learned by heart would be measured.

    Raises:
        DataError: names the first and counts them all.
    """
    owner: dict[str, str] = {}
    twice = []
    for split, part in examples.items():
        shared = [index for index, digest in enumerate(part.digests) if digest in owner]
        twice += [f"{split} {part.names[index]} is {owner[part.digests[index]]}" for index in shared]
        owner.update((digest, f"{split} {name}") for digest, name in zip(part.digests, part.names, strict=True))
    if twice:
        raise DataError(f"{len(twice)} images are in two splits, byte for byte, the first: {twice[0]}; remove one")
