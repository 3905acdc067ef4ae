"""What a source gives, before a task cuts it: encoded images by position, their labels, names and fields."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mixer_bench.data.decoding import decode


class Stored(ABC):
    """Images as a source keeps them: nothing is read before it is asked for."""

    keeps_decoded: ClassVar[bool] = False  # whether all of them, decoded, fit into memory
    stamp: str = ""  # changes whenever a content may have; empty where that takes as long as reading them all

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def name(self, position: int) -> str:
        """What people find the image by within its source: a file, or split and row."""

    def place(self, position: int) -> str:
        """Where the image is, for errors; unlike its name this may be a path of this machine."""
        return self.name(position)

    @abstractmethod
    def content(self, position: int) -> bytes:
        """The stored bytes: what identifies the image.

        Raises:
            DataError: it cannot be read.
        """

    def decode(self, content: bytes, position: int) -> np.ndarray:
        """The image in ``content`` as uint8 [height, width, 3].

        Raises:
            DataError: it is none.
        """
        return decode(content, self.place(position))

    def field(self, name: str, positions: np.ndarray) -> Sequence[object]:  # noqa: ARG002
        """A field of the rows at ``positions``, for keys.

        Raises:
            KeyError: these rows have no such field; names those they have.
        """
        raise KeyError(f"no field {name!r}; there are none")


@dataclass(frozen=True)
class Rows:
    """Some of a source's images in order, with their labels."""

    stored: Stored
    positions: np.ndarray  # int64 [N], in ``stored``
    labels: np.ndarray  # int64 [N]

    @staticmethod
    def all(stored: Stored, labels: Sequence[int] | np.ndarray) -> Rows:
        """Every image, in the source's order."""
        return Rows(stored, np.arange(len(stored)), np.asarray(labels, dtype=np.int64))

    def __len__(self) -> int:
        """How many there are."""
        return len(self.positions)

    def take(self, indices: np.ndarray) -> Rows:
        """The rows at ``indices``, in that order."""
        return Rows(self.stored, self.positions[indices], self.labels[indices])

    def name(self, index: int) -> str:
        """What people find row ``index`` by."""
        return self.stored.name(int(self.positions[index]))


@dataclass(frozen=True)
class Read:
    """A source as read: its own splits."""

    splits: Mapping[str, Rows]
    class_names: tuple[str, ...] | None  # in the order of the labels; None where the source does not name them
    description: str  # for the record: what was read, at which revision; no path of this machine
    drawn: bool = False  # whether splits were drawn here that the source does not give
