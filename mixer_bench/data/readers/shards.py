"""Images in records of several TFRecord files, one after the other."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mixer_bench.data.readers import numbers, tfrecord
from mixer_bench.data.readers.tfrecord import Record, Value
from mixer_bench.data.rows import Rows, Stored
from mixer_bench.errors import DataError
from mixer_bench.system import files

Told = Callable[[Mapping[str, Value]], int]  # features of a record to its label; ValueError where there is none


def rows(
    shards: Mapping[Path, list[Record]],
    split: str,
    image: str,
    label: str | tuple[Told, Sequence[str]],
    file_name: str = "",
) -> Rows:
    """Return all records of a split as images with labels.

    Args:
        shards: the split's files in order, and the records of each.
        split: names the images, with their position.
        image: the feature with the encoded image.
        label: the feature that is it, or what makes it and the features it is made of.
        file_name: the feature with the original file's, of which keys are made; empty where there is none.

    Raises:
        DataError: a record is no Example, lacks a feature, or no label can be made of it.
    """
    made, of = (functools.partial(_number, label), (label,)) if isinstance(label, str) else label
    wanted = (*of, *([file_name] if file_name else []))
    labels: list[int] = []
    told: list[str] = []
    for file, places in shards.items():
        alone = isinstance(label, str) and not file_name
        if alone and (at_once := numbers.numbers(file, places, wanted[0])) is not None:
            labels += at_once.tolist()
            continue
        for number, values in enumerate(tfrecord.features_of(file, places, wanted)):
            try:
                labels.append(made(values))
                told += [_text(values[file_name])] if file_name else []
            except (ValueError, IndexError, DataError) as error:
                raise DataError(f"{file}: record {number}: no label can be made of it ({error})") from None
    stored = _stored(shards, split, image)
    return Rows.all(_named(stored, told) if file_name else stored, np.array(labels, dtype=np.int64))


def _number(feature: str, values: Mapping[str, Value]) -> int:
    return int(np.asarray(values[feature], dtype=np.int64).item())


def _text(value: Value) -> str:
    (text,) = value
    return bytes(text).decode()


def _stored(shards: Mapping[Path, list[Record]], split: str, feature: str) -> Stored:
    names = [*shards]
    ends = np.cumsum([len(places) for places in shards.values()])

    def content(position: int) -> bytes:
        shard = int(np.searchsorted(ends, position, side="right"))
        file = names[shard]
        number = position - int(ends[shard]) + len(shards[file])
        try:
            data = tfrecord.content(file, number, shards[file][number])
            (image,) = tfrecord.features(data, (feature,))[feature]
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror})") from None
        except ValueError as error:
            raise DataError(f"{file}: record {number}: no image ({error})") from None
        return bytes(image)

    states = [f"{file} {files.state(file.stat())}" for file in shards]
    stamp = hashlib.sha256("\n".join([feature, *states]).encode()).hexdigest()
    return Stored(lambda position: f"{split}/{position}", content, stamp)


def _named(stored: Stored, told: Sequence[str]) -> Stored:
    """Return images that are found by their files' names as well."""

    def files_of(positions: np.ndarray) -> list[str]:
        return [told[position].rpartition("/")[2] for position in positions.tolist()]

    return replace(stored, name=lambda p: f"{stored.name(p)} ({told[p]})", fields={"file": files_of})
