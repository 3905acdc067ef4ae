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
from mixer_bench.data.readers.tfrecord import Value
from mixer_bench.data.rows import Read, Rows
from mixer_bench.errors import Absent, DataError
from mixer_bench.system import files
from mixer_bench.system.paths import expanded
from mixer_bench.task.sources import TfdsSource

FOLDER = "tensorflow_datasets"
INFO = "dataset_info.json"
TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
VEHICLES = 3  # the first kinds of kitti's objects: Car, Van, Truck


class Split(BaseModel):
    """A split in files, its shards."""

    name: str = Field(pattern=r"^\w+$")
    lengths: tuple[NonNegativeInt, ...] = Field(alias="shardLengths")  # records of each shard
    template: str = Field(TEMPLATE, alias="filepathTemplate")
    data_bytes: NonNegativeInt = Field(0, alias="numBytes")  # of all records' data; 0 where it is not told

    def shards(self, source: TfdsSource, folder: Path) -> dict[Path, int]:
        """Return the files of the split in order, and how many records each holds."""
        stem, of = f"{source.dataset}-{self.name}.tfrecord", f"of-{len(self.lengths):05d}"
        return {folder / f"{stem}-{number:05d}-{of}": length for number, length in enumerate(self.lengths)}

    @property
    def size(self) -> int:
        """Return how many bytes its files have together; 0 where it is not told."""
        return self.data_bytes and self.data_bytes + tfrecord.FRAME * sum(self.lengths)


class Info(BaseModel):
    """What is needed of dataset_info.json."""

    splits: tuple[Split, ...]
    file_format: str = Field("tfrecord", alias="fileFormat")


def read(source: TfdsSource, data_dir: Path) -> Read:
    """Return all splits of the data set, from ``tensorflow_datasets`` below ``data_dir``, or where TFDS keeps them.

    Raises:
        Absent: it is in none of the places, or of other versions only.
        DataError: it is damaged, not whole, or not in TFRecord files.
    """
    folder = place(source, data_dir)
    held = {split.name: split.shards(source, folder) for split in info(folder / INFO).splits}
    # Of a set that was fetched, splits that no task needs are not there; of one that was copied, nothing may be.
    there = {name: files for name, files in held.items() if any(map(Path.exists, files))} or held
    splits = {name: _rows(source, name, files) for name, files in there.items()}
    what = f"prepared by TFDS, {source.builder}:{folder.name}"
    return Read(splits, _class_names(folder, source), what)


def place(source: TfdsSource, data_dir: Path) -> Path:
    """Return the folder of the newest version that the source allows.

    Raises:
        Absent: there is none.
    """
    roots = (data_dir / FOLDER, expanded(os.environ.get("TFDS_DATA_DIR") or f"~/{FOLDER}"))
    others: list[str] = []
    for root in roots:
        there = [each for each in (root / source.builder).glob("*") if (each / INFO).is_file()]
        versions = {tuple(map(int, each.name.split("."))): each for each in there if _is_version(each.name)}
        fitting = [version for version in versions if version[0] == source.major]
        if fitting:
            return versions[max(fitting)]
        others += [each.name for each in versions.values()]
    wanted = f"{source.builder}:{source.major}.*.*"
    fetched = "mixer-bench prepare --source tfds asks TFDS's public bucket for it"
    if others:
        raise Absent(f"{wanted} is wanted, {', '.join(sorted(others))} is there; {fetched}")
    raise Absent(f"no {wanted} in {' nor '.join(map(str, dict.fromkeys(roots)))}; {fetched}")


def _is_version(name: str) -> bool:
    return re.fullmatch(r"\d{1,9}\.\d{1,9}\.\d{1,9}", name) is not None


def info(file: Path) -> Info:
    """Return what a dataset_info.json says.

    Raises:
        DataError: it is none, or says of files that are not read here.
    """
    try:
        told = Info.model_validate(json.loads(files.read(file)))
    except (ValidationError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[-1 if isinstance(error, ValidationError) else 0]
        raise DataError(f"{file}: is not what TFDS writes ({reason}); copy it again") from None
    if told.file_format != "tfrecord":
        raise DataError(f"{file}: is of {told.file_format} files; prepare it with file_format='tfrecord'")
    for split in told.splits:
        if split.template != TEMPLATE:
            raise DataError(f"{file}: files of split {split.name!r} are called otherwise than {TEMPLATE}")
    return told


def names_file(source: TfdsSource) -> str | None:
    """Return what a file with the names of the labels is called; None where the labels are made here."""
    return None if source.target != "label" or source.rule else f"{source.label}.labels.txt"


def _class_names(folder: Path, source: TfdsSource) -> tuple[str, ...] | None:
    """Return the names in the order of the labels, where there is a file of them."""
    name = names_file(source)
    if name is None or not (folder / name).is_file():
        return None
    return tuple(files.read(folder / name).decode("utf-8", errors="replace").splitlines())


def _rows(source: TfdsSource, split: str, lengths: Mapping[Path, int]) -> Rows:
    held = {file: tfrecord.records(file, length) for file, length in lengths.items()}
    label = source.label if source.target == "label" else (functools.partial(_label, source), _made_of(source))
    return shards.rows(held, split, source.image, label, source.file_name)


def _made_of(source: TfdsSource) -> tuple[str, ...]:
    """Return the features that a label is made of."""
    return (source.label, *(["objects/type"] if source.target == "closest_vehicle_distance" else []))


def _label(source: TfdsSource, values: Mapping[str, Value]) -> int:
    """Return the label of a record that is made of its values.

    Raises:
        ValueError: none can be made of its values.
    """
    stored = values[source.label]
    if source.target == "count":
        return len(stored)
    if source.target == "closest_object_distance":
        return vtab_labels.clevr_distance(_depths(stored))
    kinds = np.asarray(values["objects/type"], dtype=np.int64)
    return vtab_labels.kitti_distance(_depths(stored)[kinds < VEHICLES])


def _depths(coordinates: Value) -> np.ndarray:
    """Return the third of every three coordinates, float32."""
    return np.asarray(coordinates, dtype=np.float32).reshape(-1, 3)[:, 2]
