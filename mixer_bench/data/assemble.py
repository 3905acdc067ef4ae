"""What was read of a source to a task's examples: ordered, cut, checked and fingerprinted."""

from __future__ import annotations

import string
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import get_args

import numpy as np

from mixer_bench.data import carried, imagenet_real, resized, vtab_labels
from mixer_bench.data.examples import Examples, TaskData
from mixer_bench.data.readers.sound import shortened
from mixer_bench.data.rows import Read, Rows
from mixer_bench.errors import Absent, DataError
from mixer_bench.models import imagenet_classes
from mixer_bench.task import splits
from mixer_bench.task.sources import JoinedSource, Source, Subset
from mixer_bench.task.task import SPLITS, Task

Cut = Mapping[str, list[Rows]]  # of each of the task's splits, its parts


def assembled(task: Task, source: Source, read: Read, *, anew: bool = False) -> TaskData:
    """Return what was read of ``source`` as the task's examples; ``anew`` hashes images that are noted as unchanged.

    Raises:
        Absent: it needs a proof of its order, and this is not it.
        DataError: it is not what the task file says.
        UsageError: the task's slices do not fit it.
    """
    check_rows(source, read)
    source, read = carried.recognised(task, source, read)
    subset = "resampled" if read.drawn else _worst(source)
    if subset != "resampled" and (words := resized.said(task, read.splits.values())):
        subset, read = "resampled", replace(read, description=f"{read.description}; {words}")
    sizes = {source.rename.get(name, name): len(rows) for name, rows in read.splits.items()}
    table = source.splits or task.splits
    given = {name: getattr(table, name) for name in SPLITS}
    parts = {name: splits.resolve(expression, sizes) if expression else [] for name, expression in given.items()}
    splits.check_disjoint(parts)
    read = in_order(source, read, {used for part in parts.values() for used, _ in part})
    if source.begins:
        _check_first(source, read)
    cut: Cut = {name: [read.splits[used].take(indices) for used, indices in part] for name, part in parts.items()}
    for name, rows in ((name, rows) for name, part in cut.items() for rows in part):
        rows.check_told(f"split {name!r}")
    cut, class_names = _classed(task, source, cut, read.class_names)
    _check_sizes(task, source, cut)
    if read.proof is not None:
        _refuse_unproved(read.proof, cut)
    upright = task.orientation == "upright"
    test = Examples.joined([Examples.of(rows, upright, anew, task.resize) for rows in cut["test"]])
    nothing = test.take(np.arange(0))
    train, val = (
        Examples.joined([Examples.of(rows, upright, anew, task.resize) for rows in cut[name]] or [nothing])
        for name in ("train", "val")
    )
    order = _own_order([*parts["train"], *parts["val"]])
    data = TaskData(train, val, test, class_names, task.metric, read.description, subset, order=order)
    if task.duplicates == "refused":
        data = _each_in_one_split(data, source.skip_bad)
    if task.sizes is None and (twice := sum(len(part) - len(set(part.digests)) for part in data.splits.values())):
        data = replace(data, source=f"{data.source}; {twice} images are there more than once in their split")
    return imagenet_real.with_accepted_labels(data) if task.real_labels else data


def _refuse_unproved(proof: Mapping[str, np.ndarray], cut: Cut) -> None:
    """Refuse an order whose labels are not those of the proof; TFDS may have read test from shards in turn.

    Raises:
        Absent: they are others.
    """
    labels = {split: np.concatenate([rows.labels for rows in part]) for split, part in cut.items()}
    here, there = ({**each, "test": np.sort(each["test"])} for each in (labels, proof))
    if differing := [split for split in SPLITS if not np.array_equal(here[split], there[split])]:
        raise Absent(f"its order is not that of the VTAB-1k folder, whose labels of {', '.join(differing)} are others")


def _own_order(parts: list[tuple[str, np.ndarray]]) -> np.ndarray | None:
    """Return in which order the source has what was cut of it in ``parts``; None where they follow each other so.

    Of several splits the one named first comes first.
    """
    if not parts:
        return None
    first = {name: place for place, name in reversed([*enumerate(name for name, _ in parts)])}
    splits_of = np.concatenate([np.full(len(indices), first[name]) for name, indices in parts])
    order = np.lexsort((np.concatenate([indices for _, indices in parts]), splits_of))
    return None if (np.diff(order) == 1).all() else order


def check_rows(source: Source, read: Read) -> None:
    """Refuse a split that is not whole: cut to the right size, it would still hold other images.

    Raises:
        DataError: names the split and both numbers.
    """
    held = {source.rename.get(name, name): len(rows) for name, rows in read.splits.items()}
    for name, count in source.rows.items():
        if held.get(name, 0) != count:
            raise DataError(f"split {name!r} holds {held.get(name, 0)} images, {count} when whole; fetch it again")


def in_order(source: Source, read: Read, names: Collection[str] | None = None) -> Read:
    """Return the splits of ``read``, or those of ``names``, under TFDS's names in the order that the source declares.

    Raises:
        DataError: the rows lack what their keys are made of, or two have the same key.
    """
    words = {
        "source": "",
        "tfds": f"; in TFDS's order, by {source.key}" + (f" ({source.edition})" if source.edition else ""),
        "seeded": "; no key to TFDS's order, so shuffled by a fixed seed",
    }
    ordered = {}
    for of_source, rows in read.splits.items():
        name = source.rename.get(of_source, of_source)
        if names is not None and name not in names:
            continue
        if source.order == "tfds":
            keys = _keys(source.key, of_source, rows, read.class_names)
            ordered[name] = rows.take(splits.tfds_order(name, keys))
        else:
            ordered[name] = rows.take(splits.shuffled(name, len(rows))) if source.order == "seeded" else rows
    return replace(read, splits=ordered, description=read.description + words[source.order])


def _check_first(source: Source, read: Read) -> None:
    """Refuse names that differ from the maker's, by letters' case too: their order would be another, and look right."""
    (key,) = _keys(source.key, "train", read.splits["train"].take(np.arange(1)), read.class_names)
    if key != source.begins:
        raise DataError(f"its first key is {key!r}, not {source.begins!r}: names were changed; unpack the archive anew")


def _keys(template: str, split: str, rows: Rows, class_names: tuple[str, ...] | None) -> list[str]:
    """Return the TFDS key of each row: ``template`` with the row's own fields."""
    columns: dict[str, list[object]] = {}
    for field in dict.fromkeys(field for _, field, _, _ in string.Formatter().parse(template) if field):
        if field == "index":
            columns[field] = rows.positions.tolist()
        elif field == "split":
            columns[field] = [split] * len(rows)
        elif field == "class":
            if class_names is None:
                raise DataError(f"key {template!r}: the source does not name its classes")
            columns[field] = [class_names[label] for label in rows.labels]
        elif field in rows.stored.fields:
            columns[field] = list(rows.stored.fields[field](rows.positions))
        else:
            known = ", ".join(rows.stored.fields) or "none"
            raise DataError(f"key {template!r}: the rows have no field {field!r}; there are {known}")
    return [template.format(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def _classed(task: Task, source: Source, cut: Cut, class_names: tuple[str, ...] | None) -> tuple[Cut, tuple[str, ...]]:
    """Return labels by the source's rule, and the classes' names; labels of one's own images are numbered anew.

    Raises:
        DataError: another number of classes than declared, a label outside them, or a class without any example.
    """
    if source.rule:
        cut, class_names = _relabelled(cut, vtab_labels.rule(source.rule)), None
    seen = np.unique(np.concatenate([rows.labels for part in cut.values() for rows in part]))
    if class_names is None and task.num_classes is None:
        cut = _relabelled(cut, lambda labels: np.searchsorted(seen, labels))
        return cut, tuple(str(label) for label in seen)
    names = class_names or tuple(str(number) for number in range(task.num_classes or 0))
    _check_synsets(task, names)
    if task.num_classes is not None and len(names) != task.num_classes:
        raise DataError(f"{len(names)} classes found, {task.num_classes} declared")
    for rows in (rows for part in cut.values() for rows in part):
        if len(wrong := np.flatnonzero(rows.labels >= len(names))):
            first = int(wrong[0])
            raise DataError(f"{rows.name(first)}: label {rows.labels[first]} is outside 0..{len(names) - 1}")
    if absent := sorted(set(range(len(names))) - set(seen.tolist())):
        raise DataError(f"{len(seen)} of {len(names)} classes occur; class {names[absent[0]]!r} has no example")
    return cut, names


def _check_synsets(task: Task, names: tuple[str, ...]) -> None:
    """Refuse other classes than the set that the task declares; hub copies of ImageNet itself name theirs in words."""
    if task.classes is None or (task.classes == "imagenet-1k" and not imagenet_classes.are_synsets(names)):
        return
    declared = imagenet_classes.synsets(task.classes)
    lacking, foreign = sorted(set(declared) - set(names)), sorted(set(names) - set(declared))
    told = [f"{shortened(some)} {words}" for some, words in ((lacking, "missing"), (foreign, "too many")) if some]
    if told:
        raise DataError(f"its classes are not {task.classes}'s {len(declared)}: {'; '.join(told)}; unpack it again")


def _relabelled(cut: Cut, rule: vtab_labels.Rule) -> Cut:
    return {name: [replace(rows, labels=rule(rows.labels)) for rows in part] for name, part in cut.items()}


def _check_sizes(task: Task, source: Source, cut: Cut) -> None:
    for name, size in task.sizes or ():
        allowed = source.sizes.get(name, (size,))  # type: ignore[call-overload]
        if (count := sum(map(len, cut[name]))) not in allowed:
            raise DataError(f"split {name} has {count} examples, {' or '.join(map(str, allowed))} declared")


def _each_in_one_split(data: TaskData, skip_bad: bool) -> TaskData:
    """Refuse an image that is in two splits, byte for byte: what was learned by heart would be measured.

    With ``skip_bad`` the copy that is learned from is left out: test stays whole, and val before train.
    """
    owner: dict[str, str] = {}
    twice: list[str] = []
    kept = {}
    for split, part in reversed(data.splits.items()):
        known = [owner.get(digest) for digest in part.digests]
        names = [f"{split} {name}" for name in part.names]
        twice += [f"{name} is {other}" for name, other in zip(names, known, strict=True) if other]
        kept[split] = np.flatnonzero([other is None for other in known])
        owner |= dict(zip(part.digests, names, strict=True))
    if not twice:
        return data
    words = f"in two splits, byte for byte: {shortened(twice)}"
    count = f"{len(twice)} image{'s are' if len(twice) > 1 else ' is'}"
    if not skip_bad:
        raise DataError(f"{count} {words}; remove what is twice, or leave it out of the split learned from: --skip-bad")
    left_out = f"{data.source}; {count} left out of the split learned from, being {words}"
    return replace(data.taken(kept), source=left_out)


def _worst(source: Source) -> Subset:
    """Return the subset of a source; of joined ones that of the part farthest from the published images."""
    parts = source.part if isinstance(source, JoinedSource) else ()
    return max((source.subset, *(part.subset for part in parts)), key=get_args(Subset).index)
