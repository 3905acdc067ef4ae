"""Data sets that TensorFlow Datasets prepared, read without it: their order, labels and bytes are TFDS's own.

``<name>[/<config>]/<version>/`` holds dataset_info.json, names of classes, and records in the order of the split, in
files ``<name>-<split>.tfrecord-00000-of-00004``.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from mixer_bench.data import vtab_labels
from mixer_bench.data.readers import shards, tfrecord
from mixer_bench.data.readers.tfrecord import Record, Value
from mixer_bench.data.rows import Read, Rows
from mixer_bench.errors import Absent, DataError
from mixer_bench.system import files
from mixer_bench.system.paths import expanded
from mixer_bench.task.sources import TfdsSource

FOLDER = "tensorflow_datasets"
TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
VEHICLES = 3  # the first kinds of kitti's objects: Car, Van, Truck


class _Split(BaseModel):
    name: str = Field(pattern=r"^\w+$")
    lengths: tuple[NonNegativeInt, ...] = Field(alias="shardLengths")
    template: str = Field(TEMPLATE, alias="filepathTemplate")


class _Info(BaseModel):
    """What is needed of dataset_info.json."""

    splits: tuple[_Split, ...]
    file_format: str = Field("tfrecord", alias="fileFormat")


def read(source: TfdsSource, data_dir: Path) -> Read:
    """Return all splits of the data set, from ``tensorflow_datasets`` below ``data_dir``, or where TFDS keeps them.

    Raises:
        Absent: it is in none of the places, or of other versions only.
        DataError: it is damaged, not whole, or not in TFRecord files.
    """
    folder = _place(source, data_dir)
    info = _info(folder / "dataset_info.json")
    if info.file_format != "tfrecord":
        raise DataError(f"{folder}: holds {info.file_format} files; prepare it with file_format='tfrecord'")
    splits = {split.name: _rows(source, folder, split) for split in info.splits}
    config = f"/{source.config}" if source.config else ""
    what = f"prepared by TFDS, {source.dataset}{config}:{folder.name}"
    return Read(splits, _class_names(folder, source), what)


def _place(source: TfdsSource, data_dir: Path) -> Path:
    """Return the folder of the newest version that the source allows."""
    roots = (data_dir / FOLDER, expanded(os.environ.get("TFDS_DATA_DIR") or f"~/{FOLDER}"))
    others: list[str] = []
    for root in roots:
        folder = root / source.dataset / (source.config or "")
        there = [each for each in folder.glob("*") if (each / "dataset_info.json").is_file()]
        versions = {tuple(map(int, each.name.split("."))): each for each in there if _is_version(each.name)}
        fitting = [version for version in versions if version[0] == source.major]
        if fitting:
            return versions[max(fitting)]
        others += [each.name for each in versions.values()]
    wanted = f"{source.dataset}{f'/{source.config}' if source.config else ''}:{source.major}.*.*"
    if others:
        raise Absent(f"{wanted} is wanted, {', '.join(sorted(others))} is there")
    raise Absent(f"no {wanted} in {' nor '.join(map(str, dict.fromkeys(roots)))}")


def _is_version(name: str) -> bool:
    return re.fullmatch(r"\d{1,9}\.\d{1,9}\.\d{1,9}", name) is not None


def _info(file: Path) -> _Info:
    try:
        return _Info.model_validate(json.loads(files.read(file)))
    except (ValidationError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[-1 if isinstance(error, ValidationError) else 0]
        raise DataError(f"{file}: is not what TFDS writes ({reason}); copy it again") from None


def _class_names(folder: Path, source: TfdsSource) -> tuple[str, ...] | None:
    """Return the names in the order of the labels, where there is a file of them."""
    file = folder / f"{source.label}.labels.txt"
    if source.target != "label" or source.rule or not file.is_file():
        return None
    return tuple(files.read(file).decode("utf-8", errors="replace").splitlines())


def _rows(source: TfdsSource, folder: Path, split: _Split) -> Rows:
    if split.template != TEMPLATE:
        raise DataError(f"{folder}: files of split {split.name!r} are called otherwise than {TEMPLATE}")
    held: dict[Path, list[Record]] = {}
    for number, length in enumerate(split.lengths):
        file = folder / f"{source.dataset}-{split.name}.tfrecord-{number:05d}-of-{len(split.lengths):05d}"
        held[file] = tfrecord.records(file)
        if len(held[file]) != length:
            raise DataError(f"{file}: holds {len(held[file])} records, dataset_info.json says {length}; copy it again")
    label = (functools.partial(_label, source), _made_of(source))
    return shards.rows(held, split.name, source.image, label, source.file_name)


def _made_of(source: TfdsSource) -> tuple[str, ...]:
    """Return the features that a label is made of."""
    return (source.label, *(["objects/type"] if source.target == "closest_vehicle_distance" else []))


def _label(source: TfdsSource, values: Mapping[str, Value]) -> int:
    """Return the label of a record.

    Raises:
        ValueError: none can be made of its values.
    """
    stored = values[source.label]
    match source.target:
        case "label":
            return int(np.asarray(stored, dtype=np.int64).item())
        case "count":
            return len(stored)
        case "closest_object_distance":
            return vtab_labels.clevr_distance(_depths(stored))
        case "closest_vehicle_distance":
            kinds = np.asarray(values["objects/type"], dtype=np.int64)
            return vtab_labels.kitti_distance(_depths(stored)[kinds < VEHICLES])


def _depths(coordinates: Value) -> np.ndarray:
    """Return the third of every three coordinates, float32."""
    return np.asarray(coordinates, dtype=np.float32).reshape(-1, 3)[:, 2]
