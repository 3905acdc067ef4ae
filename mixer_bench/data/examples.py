"""What the rest of the package sees of data: images in order, their labels, and a fingerprint of both."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from mixer_bench.data.decoding import pool
from mixer_bench.data.rows import Rows
from mixer_bench.errors import DataError
from mixer_bench.models import imagenet_classes
from mixer_bench.models.preprocessing import Resize
from mixer_bench.system import arrays, paths
from mixer_bench.task.sources import Subset

Decode = Callable[[bytes, str, bool], np.ndarray]  # content, name, whether to turn it upright, to uint8 [h, w, 3]
CHUNK = 256  # images a thread hashes at a time


class Images(Protocol):
    """Images by position: uint8 [height, width, 3], read when asked for; an array [N, H, W, 3] is one."""

    def __len__(self) -> int: ...  # noqa: D105
    def __getitem__(self, index: int, /) -> np.ndarray: ...  # noqa: D105


class _Verified:
    """A source's rows, decoded when asked for; each is compared with its digest first.

    Features must never be kept under another image's name, and a run may last for days.
    """

    def __init__(self, rows: Rows, digests: tuple[str, ...], upright: bool) -> None:
        self._rows, self._digests, self._upright = rows, digests, upright
        self.keeps_decoded = rows.stored.keeps_decoded
        self._decoded: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def otherwise(self, upright: bool | None, decode: Decode | None) -> _Verified:
        """Return the same images, turned or decoded otherwise."""
        stored = self._rows.stored
        rows = replace(self._rows, stored=replace(stored, decode=decode or stored.decode, keeps_decoded=False))
        return _Verified(rows, self._digests, self._upright if upright is None else upright)

    def __getitem__(self, index: int, /) -> np.ndarray:
        if index in self._decoded:
            return self._decoded[index]
        content = self._rows.content(index)
        if hashlib.sha256(content).hexdigest() != self._digests[index]:
            raise DataError(f"{self._rows.place(index)} has changed since this run began; run again")
        image = self._rows.stored.decode(content, self._rows.place(index), self._upright)
        if self.keeps_decoded:
            self._decoded[index] = image
        return image


@dataclass(frozen=True)
class _Gathered:
    """Images of other sequences: ``where`` holds the sequence and the position in it of each, int64 [N, 2]."""

    parts: tuple[Images, ...]
    where: np.ndarray

    def __len__(self) -> int:
        return len(self.where)

    def __getitem__(self, index: int, /) -> np.ndarray:
        part, position = self.where[index]
        return self.parts[int(part)][int(position)]

    @property
    def keeps_decoded(self) -> bool:
        return all(getattr(part, "keeps_decoded", False) for part in self.parts)


def _gathered(choices: Sequence[tuple[Images, np.ndarray]]) -> _Gathered:
    """Return the images at the chosen positions, one sequence after the other."""
    where = [np.stack([np.full(len(chosen), part), chosen], 1) for part, (_, chosen) in enumerate(choices)]
    return _Gathered(tuple(images for images, _ in choices), np.concatenate(where).astype(np.int64))


def _read_otherwise(images: Images, upright: bool | None, decode: Decode | None) -> Images:
    if isinstance(images, _Gathered):
        return replace(images, parts=tuple(_read_otherwise(part, upright, decode) for part in images.parts))
    return images.otherwise(upright, decode) if isinstance(images, _Verified) else images


@dataclass(frozen=True)
class Examples:
    """One split. ``digests[i]`` is the SHA-256 of image i's stored bytes, so content is identity, not place."""

    images: Images
    labels: np.ndarray  # int64 [N]
    names: tuple[str, ...]  # for people: the image's name within its source
    digests: tuple[str, ...]
    upright: bool = False  # whether images are turned as their EXIF orientation says; ``Task.orientation`` decides
    resize: Resize | None = None  # how its task has models see images; None: as the checkpoint's own evaluation does

    def __len__(self) -> int:
        """Return how many examples there are."""
        return len(self.labels)

    @staticmethod
    def of(rows: Rows, upright: bool, anew: bool = False, resize: Resize | None = None) -> Examples:
        """Return a source's rows as examples, hashed (``anew``: even if noted as unchanged) but not decoded.

        Raises:
            DataError: an image cannot be read.
        """
        digests = _digests(rows, anew)
        names = tuple(rows.name(index) for index in range(len(rows)))
        return Examples(_Verified(rows, digests, upright), rows.labels, names, digests, upright, resize)

    def read_otherwise(self, upright: bool | None = None, decode: Decode | None = None) -> Examples:
        """Return the same images, turned or decoded otherwise; what is an array in memory stays as it is."""
        images = _read_otherwise(self.images, upright, decode)
        return replace(self, images=images, upright=self.upright if upright is None else upright)

    def take(self, indices: np.ndarray) -> Examples:
        """Return the examples at ``indices``, in that order."""
        return replace(
            self,
            images=_gathered([(self.images, indices)]),
            labels=self.labels[indices],
            names=tuple(self.names[i] for i in indices),
            digests=tuple(self.digests[i] for i in indices),
        )

    @staticmethod
    def joined(parts: Sequence[Examples]) -> Examples:
        """Return the examples of ``parts``, one part after the other."""
        if len(parts) == 1:
            return parts[0]
        return replace(
            parts[0],
            images=_gathered([(part.images, np.arange(len(part))) for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            names=tuple(name for part in parts for name in part.names),
            digests=tuple(digest for part in parts for digest in part.digests),
        )

    @functools.cached_property
    def fingerprint(self) -> str:
        """Return the hash of every image's content and label, in order, and of which way up they are taken."""
        digest = hashlib.sha256(b"upright\n" if self.upright else b"")
        for image, label in zip(self.digests, self.labels, strict=True):
            digest.update(f"{image} {label}\n".encode())
        return digest.hexdigest()


def _digests(rows: Rows, anew: bool) -> tuple[str, ...]:
    """Return the SHA-256 of each row's stored bytes: what was noted before, where the source's stamp is the same."""
    if not rows.stored.stamp:
        return _hashed(rows)
    identity = hashlib.sha256(rows.stored.stamp.encode() + rows.positions.astype("<i8").tobytes()).hexdigest()
    file = paths.cache_dir() / "digests" / f"{identity[:32]}.npz"
    if not anew:
        with contextlib.suppress(arrays.DamagedFile):  # not there yet, or damaged: the images are what counts
            (noted,) = arrays.load(file, "digests", most=64 * len(rows))
            if noted.shape == (len(rows),) and noted.dtype == np.dtype("S64"):
                return tuple(noted.astype(str).tolist())
    digests = _hashed(rows)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        arrays.save(file, digests=np.array(digests, dtype="S64"))
    return digests


def _hashed(rows: Rows) -> tuple[str, ...]:
    def hashed(start: int) -> list[str]:
        some = range(start, min(start + CHUNK, len(rows)))
        return [hashlib.sha256(rows.content(index)).hexdigest() for index in some]

    return tuple(itertools.chain.from_iterable(pool().map(hashed, range(0, len(rows), CHUNK))))


@dataclass(frozen=True)
class Development:
    """What a protocol may see: it holds no test examples, so nothing in it can be chosen by them."""

    train: Examples
    val: Examples
    num_classes: int
    metric: str
    order: np.ndarray | None = None  # as ``TaskData`` has it
    class_names: tuple[str, ...] = ()

    @property
    def pool(self) -> np.ndarray:
        """Return train and val together in the source's own order: positions in train followed by val, int64 [N]."""
        return np.arange(len(self.train) + len(self.val)) if self.order is None else self.order

    def of_pool(self, in_train: np.ndarray, in_val: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return what train's array, or beyond its end val's, has at ``positions``; neither is copied whole."""
        of_val = positions >= len(self.train)
        values = np.empty((len(positions), *in_train.shape[1:]), in_train.dtype)
        values[~of_val] = in_train[positions[~of_val]]
        values[of_val] = in_val[positions[of_val] - len(self.train)]
        return values


@dataclass(frozen=True)
class TaskData:
    """A task's images and labels, ready to use."""

    train: Examples
    val: Examples
    test: Examples
    class_names: tuple[str, ...]
    metric: str
    source: str  # which source they came from, in words
    subset: Subset
    accepted: tuple[tuple[int, ...], ...] | None = None  # of each test image, the classes that ReaL calls right
    order: np.ndarray | None = None  # of train and val in their source, int64 [N]; None: all of train comes first

    @property
    def num_classes(self) -> int:
        """Return the number that the task declares, whatever a sample of it contains."""
        return len(self.class_names)

    @property
    def splits(self) -> dict[str, Examples]:
        """Return the three splits by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def given(self) -> dict[str, Examples]:
        """Return the splits that hold examples: of a task to judge on, test alone."""
        return {name: examples for name, examples in self.splits.items() if len(examples)}

    @property
    def development(self) -> Development:
        """Return everything but the test split."""
        return Development(self.train, self.val, self.num_classes, self.metric, self.order, self.class_names)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Return the identity of the data: content, labels, order and split of every example."""
        parts = [f"{name} {examples.fingerprint}" for name, examples in self.splits.items()]
        parts += (
            [] if self.order is None else [f"order {hashlib.sha256(self.order.astype('<i8').tobytes()).hexdigest()}"]
        )
        # A checkpoint's classifier is asked for these very classes, whose folders could be renamed.
        parts += self.class_names if imagenet_classes.are_synsets(self.class_names) else ()
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def limited(self, limit: int | None) -> TaskData:
        """Return at most ``limit`` examples a split, drawn without regard to class by a fixed seed; order is kept."""
        if limit is None:
            return self
        return self.taken(
            {
                name: np.sort(np.random.default_rng(0).permutation(len(examples))[:limit])
                for name, examples in self.splits.items()
            }
        )

    def taken(self, chosen: Mapping[str, np.ndarray]) -> TaskData:
        """Return the examples at ``chosen`` places of each split, ascending, int64; all three are named."""
        train, val, test = (examples.take(chosen[name]) for name, examples in self.splits.items())
        accepted = self.accepted and tuple(self.accepted[index] for index in chosen["test"])
        order = None
        if self.order is not None:
            place = np.argsort(self.order)[np.concatenate([chosen["train"], chosen["val"] + len(self.train)])]
            order = np.argsort(place)
        return replace(self, train=train, val=val, test=test, accepted=accepted, order=order)
