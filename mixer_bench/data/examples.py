"""What the rest of the package sees of data: images in order, their labels, and a fingerprint of both."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from mixer_bench.data import digests
from mixer_bench.data.rows import Rows
from mixer_bench.errors import DataError
from mixer_bench.task.sources import Subset


class Images(Protocol):
    """Images by position: uint8 [height, width, 3], read when asked for; an array [N, H, W, 3] is one."""

    def __len__(self) -> int: ...  # noqa: D105
    def __getitem__(self, index: int, /) -> np.ndarray: ...  # noqa: D105


class Verified:
    """A source's rows, decoded when asked for; each is compared with its digest first.

    Features must never be kept under another image's name, and a run may last for days.
    """

    def __init__(self, rows: Rows, digests: tuple[str, ...]) -> None:
        """Take the rows and the SHA-256 of each one's content."""
        self._rows, self._digests = rows, digests
        self.keeps_decoded = rows.stored.keeps_decoded
        self._kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._rows)

    def __getitem__(self, index: int, /) -> np.ndarray:
        """Image ``index`` as uint8 [height, width, 3].

        Raises:
            DataError: it is no image, or not the one it was.
        """
        if index in self._kept:
            return self._kept[index]
        stored, position = self._rows.stored, int(self._rows.positions[index])
        content = stored.content(position)
        if hashlib.sha256(content).hexdigest() != self._digests[index]:
            raise DataError(f"{stored.place(position)} has changed since this run began; run again")
        image = stored.decode(content, position)
        if self.keeps_decoded:
            self._kept[index] = image
        return image


@dataclass(frozen=True)
class Chosen:
    """Some of ``images``, in the order of ``indices``."""

    images: Images
    indices: np.ndarray

    def __len__(self) -> int:
        """How many were chosen."""
        return len(self.indices)

    def __getitem__(self, index: int, /) -> np.ndarray:
        """The image at a position of the choice."""
        return self.images[int(self.indices[index])]


@dataclass(frozen=True)
class Joined:
    """Several sequences of images, one after the other."""

    parts: tuple[Images, ...]

    def __len__(self) -> int:
        """How many there are in all."""
        return sum(len(part) for part in self.parts)

    def __getitem__(self, index: int, /) -> np.ndarray:
        """The image at a position counted through all parts."""
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)


@dataclass(frozen=True)
class Examples:
    """One split. ``digests[i]`` is the SHA-256 of image i's stored bytes, so content is identity, not place."""

    images: Images
    labels: np.ndarray  # int64 [N]
    names: tuple[str, ...]  # for people: the image's name within its source
    digests: tuple[str, ...]

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.labels)

    @staticmethod
    def of(rows: Rows, anew: bool = False) -> Examples:
        """A source's rows as examples: each image's content is hashed (``anew``: in any case), none is decoded yet.

        Raises:
            DataError: an image cannot be read.
        """
        found = digests.of(rows, anew)
        names = tuple(rows.name(index) for index in range(len(rows)))
        return Examples(Verified(rows, found), rows.labels, names, found)

    def take(self, indices: np.ndarray) -> Examples:
        """The examples at ``indices``, in that order."""
        return Examples(
            Chosen(self.images, indices),
            self.labels[indices],
            tuple(self.names[i] for i in indices),
            tuple(self.digests[i] for i in indices),
        )

    @staticmethod
    def joined(parts: Sequence[Examples]) -> Examples:
        """The examples of ``parts``, one part after the other."""
        if len(parts) == 1:
            return parts[0]
        return Examples(
            Joined(tuple(part.images for part in parts)),
            np.concatenate([part.labels for part in parts]),
            tuple(name for part in parts for name in part.names),
            tuple(digest for part in parts for digest in part.digests),
        )

    def decode_ahead(self) -> None:
        """Decode now what is kept in memory once decoded, so that no single model's speed pays for all of them."""
        if keeps_decoded(self.images):
            for index in range(len(self)):
                self.images[index]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of every image's content and label, in order."""
        digest = hashlib.sha256()
        for image, label in zip(self.digests, self.labels, strict=True):
            digest.update(f"{image} {label}\n".encode())
        return digest.hexdigest()


def keeps_decoded(images: Images) -> bool:
    """Whether an image is decoded once and then kept: so with embedded sets, not with folders of any size."""
    if isinstance(images, Chosen):
        return keeps_decoded(images.images)
    if isinstance(images, Joined):
        return all(map(keeps_decoded, images.parts))
    return bool(getattr(images, "keeps_decoded", False))


@dataclass(frozen=True)
class Development:
    """What a protocol may see: it holds no test examples, so nothing in it can be chosen by them."""

    train: Examples
    val: Examples
    num_classes: int
    metric: str


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

    @property
    def num_classes(self) -> int:
        """As the task declares it, whatever a sample of it contains."""
        return len(self.class_names)

    @property
    def splits(self) -> dict[str, Examples]:
        """The three splits by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def development(self) -> Development:
        """Everything but the test split."""
        return Development(self.train, self.val, self.num_classes, self.metric)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Identity of the data: content, labels, order and split of every example."""
        joined = "\n".join(f"{name} {examples.fingerprint}" for name, examples in self.splits.items())
        return hashlib.sha256(joined.encode()).hexdigest()

    def limited(self, limit: int | None) -> TaskData:
        """At most ``limit`` examples a split, drawn without regard to class by a fixed seed; order is kept."""
        if limit is None:
            return self
        some = {name: _some(len(examples), limit) for name, examples in self.splits.items()}
        drawn = {name: examples.take(some[name]) for name, examples in self.splits.items()}
        accepted = self.accepted and tuple(self.accepted[index] for index in some["test"])
        return replace(self, train=drawn["train"], val=drawn["val"], test=drawn["test"], accepted=accepted)


def _some(count: int, limit: int) -> np.ndarray:
    return np.sort(np.random.default_rng(0).permutation(count)[:limit])


def sha256_of_each(contents: Sequence[bytes]) -> tuple[str, ...]:
    """The SHA-256 of each content, hexadecimal."""
    return tuple(hashlib.sha256(content).hexdigest() for content in contents)
