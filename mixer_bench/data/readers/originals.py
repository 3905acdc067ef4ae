"""The makers' own files of VTAB's data sets that torchvision does not read, in the layouts that the makers gave them.

What TFDS makes keys and splits of is read from the same files as its builders read (tensorflow_datasets, the builder of
each name, 4.9.10).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mixer_bench.data import archives, vtab_labels
from mixer_bench.data.readers import arrays, caltech101, retinopathy, shards, sun397, tfrecord, vtab1k_folder, zipped
from mixer_bench.data.rows import Read, Rows
from mixer_bench.errors import Absent, DataError
from mixer_bench.system.files import read as read_file
from mixer_bench.task.sources import OriginalsSource, Vtab1kFolderSource
from mixer_bench.task.task import SPLITS

Splits = dict[str, Rows]


def read(source: OriginalsSource, data_dir: Path) -> Read:
    """Return the splits of a data set whose files lie below ``data_dir`` as ``originals.toml`` says.

    Raises:
        Absent: they are not there, or what is to prove their order is not.
        DataError: they are damaged.
    """
    proof = _proof(source.proved_by, data_dir) if source.proved_by else None
    if left := archives.missing(source.originals, data_dir):
        raise Absent(f"no {data_dir / left[0].there}; mixer-bench prepare --source originals fetches it")
    splits = READERS[source.originals](source, data_dir)
    return Read(splits, None, f"original files of {source.originals}", proof=proof)


def _proof(folder: str, data_dir: Path) -> dict[str, np.ndarray]:
    """Return the labels of a task of the VTAB-1k folder or zip, by the task's splits."""
    held = vtab1k_folder.read(Vtab1kFolderSource(kind="vtab1k_folder", folder=folder), data_dir).splits
    return {split: held[name].labels for split, name in zip(SPLITS, vtab1k_folder.LISTS, strict=True)}


# --- arrays


def _cifar100(_source: OriginalsSource, data_dir: Path) -> Splits:
    """Records of a coarse label, a fine one and 3 planes of 32 x 32 bytes."""
    splits = {}
    for split in ("train", "test"):
        file = data_dir / f"cifar-100-binary/{split}.bin"
        content = np.frombuffer(read_file(file), np.uint8)
        if len(content) % CIFAR_RECORD:
            raise DataError(f"{file}: {len(content):,} bytes are no whole number of records; fetch it again")
        records = content.reshape(-1, CIFAR_RECORD)
        planes = records[:, 2:].reshape(-1, 3, 32, 32)

        def image(position: int, planes: np.ndarray = planes) -> np.ndarray:
            return np.asarray(planes[position].transpose(1, 2, 0))

        splits[split] = Rows.all(arrays.stored(image, split), records[:, 1].astype(np.int64))
    return splits


CIFAR_RECORD = 2 + 3 * 32 * 32


def _smallnorb(source: OriginalsSource, data_dir: Path) -> Splits:
    """The left camera's images; instance, elevation, azimuth and lighting of each."""
    splits = {}
    column = {"elevation": 1, "azimuth": 2}[source.label]
    for split, numbers in (("train", "46789x9x18x6x2x96x96-training"), ("test", "01235x9x18x6x2x96x96-testing")):
        stem = data_dir / f"smallnorb/smallnorb-5x{numbers}"
        pairs, told = (_norb(stem.with_name(f"{stem.name}-{kind}.mat")) for kind in ("dat", "info"))
        if pairs.ndim != 4 or told.ndim != 2 or len(pairs) != len(told):  # noqa: PLR2004
            raise DataError(f"{stem}-dat.mat: {pairs.shape} images for {told.shape} labels; fetch both again")

        def image(position: int, pairs: np.ndarray = pairs) -> np.ndarray:
            return _grey(pairs[position, 0])

        splits[split] = Rows.all(arrays.stored(image, split), np.array(told[:, column], dtype=np.int64))
    return splits


def _norb(file: Path) -> np.ndarray:
    """Map a file of NORB's own format: magic number, dimensions (at least three are written), values."""
    kinds: dict[int, np.dtype[Any]] = {0x1E3D4C55: np.dtype("u1"), 0x1E3D4C54: np.dtype("<i4")}
    with file.open("rb") as opened:
        beginning = opened.read(HEAD)
    head = np.frombuffer(beginning[: len(beginning) // 4 * 4], "<i4")
    if len(head) < 5 or head[0] not in kinds or not 0 < head[1] <= 4:  # noqa: PLR2004
        raise DataError(f"{file}: does not begin as a file of NORB; fetch it again")
    kind, count = kinds[int(head[0])], int(head[1])
    shape = tuple(head[2 : 2 + count].tolist())
    offset = 4 * (2 + max(3, count))
    if min(shape) < 1 or file.stat().st_size != offset + kind.itemsize * int(np.prod(shape, dtype=np.int64)):
        raise DataError(f"{file}: has not as many bytes as its beginning says; fetch it again")
    return np.asarray(np.memmap(file, kind, "r", offset, shape))


HEAD = 24  # bytes before the values of an array of four dimensions


def _dsprites(source: OriginalsSource, data_dir: Path) -> Splits:
    """Images of 0 and 1, and the numbers of colour, shape, scale, orientation and place of each."""
    import h5py

    file = archives.check(archives.of("dsprites").archive[0], data_dir)
    column = {"orientation": 3, "x_position": 4}[source.label]
    try:
        opened = h5py.File(file)
        images, labels = opened["imgs"], opened["latents/classes"][:, column]
    except (OSError, KeyError) as error:
        raise DataError(f"{file}: is damaged, or another file ({error}); fetch it again") from None

    def image(position: int) -> np.ndarray:
        return _grey(np.asarray(images[position], dtype=np.uint8))

    return {"train": Rows.all(arrays.stored(image, "train"), np.asarray(labels, dtype=np.int64))}


def _grey(plane: np.ndarray) -> np.ndarray:
    """Return a plane of grey three times: uint8 [h, w] to [h, w, 3]."""
    return np.repeat(np.asarray(plane)[:, :, None], 3, axis=2)


# --- records


def _dmlab(_source: OriginalsSource, data_dir: Path) -> Splits:
    """TFRecord files of Examples with an encoded image, the file's name and the label."""
    splits = {}
    for split in ("train", "validation", "test"):
        held = {file: tfrecord.records(file) for file in sorted((data_dir / "dmlab").glob(f"dmlab-{split}.tfrecord*"))}
        if not held:
            raise DataError(f"{data_dir / 'dmlab'} has no dmlab-{split}.tfrecord; fetch it again")
        splits[split] = shards.rows(held, split, "image", "label", "filename")
    return splits


# --- files


def _kitti(_source: OriginalsSource, data_dir: Path) -> Splits:
    """Images and labels in their zips; the split is drawn by video, whose frames the devkit tells."""
    images, labels, devkit = (
        zipped.opened(archives.check(archive, data_dir)) for archive in archives.of("kitti").archive
    )
    frames = kitti_splits(
        zipped.member(devkit, "mapping/train_rand.txt").decode(),
        zipped.member(devkit, "mapping/train_mapping.txt").decode(),
    )
    splits = {}
    for split, numbers in frames.items():
        names = [f"training/image_2/{number:06d}.png" for number in numbers]
        told = [zipped.member(labels, f"training/label_2/{number:06d}.txt").decode() for number in numbers]
        stored = zipped.stored(images, names, "")
        splits[split] = Rows.all(stored, [vtab_labels.kitti_distance(_vehicles(text)) for text in told])
    return splits


def kitti_splits(rand: str, mapping: str) -> dict[str, list[int]]:
    """Return which images each split has, in order of their numbers.

    Args:
        rand: of each image the line of ``mapping`` it stands on, from 1, separated by commas.
        mapping: lines of date, video and frame.
    """
    lines = mapping.splitlines()
    video_of = [lines[int(number) - 1].split()[1] for number in rand.split(",")]
    videos = sorted(set(video_of))
    share = int(0.1 * len(videos))
    generator = np.random.RandomState(123)
    test = set(generator.choice(videos, share, replace=False).tolist())
    rest = sorted(set(videos) - test)
    validation = set(generator.choice(rest, share, replace=False).tolist())
    of_video = dict.fromkeys(videos, "train")
    of_video |= {**dict.fromkeys(validation, "validation"), **dict.fromkeys(test, "test")}
    splits: dict[str, list[int]] = {split: [] for split in ("train", "validation", "test")}
    for number, video in enumerate(video_of):
        splits[of_video[video]].append(number)
    return splits


def _vehicles(text: str) -> list[float]:
    """Return the depths of the cars, vans and trucks of a label file, metres."""
    rows = [line.split(" ") for line in text.splitlines() if line.strip()]
    return [float(row[13]) for row in rows if row[0] in ("Car", "Van", "Truck")]


def _caltech101(source: OriginalsSource, data_dir: Path) -> Splits:
    """Files in class folders; the split is drawn along their listing."""
    return caltech101.read(data_dir, source.listing)


def _retinopathy(_source: OriginalsSource, data_dir: Path) -> Splits:
    """Files by lists of theirs, scaled and filtered."""
    return retinopathy.read(data_dir)


def _sun397(_source: OriginalsSource, data_dir: Path) -> Splits:
    """Files below class folders, by TFDS's own lists."""
    return sun397.read(data_dir)


READERS: Mapping[str, Callable[[OriginalsSource, Path], Splits]] = {
    "caltech101": _caltech101,
    "cifar100": _cifar100,
    "diabetic_retinopathy": _retinopathy,
    "dmlab": _dmlab,
    "dsprites": _dsprites,
    "kitti": _kitti,
    "smallnorb": _smallnorb,
    "sun397": _sun397,
}
