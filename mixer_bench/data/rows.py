"""What a source gives, before a task cuts it: encoded images by position, their labels, names and fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mixer_bench.data.decoding import decode

Field = Callable[[np.ndarray], Sequence[object]]  # positions to values


@dataclass(frozen=True)
class Stored:
    """Images as a source keeps them, by position; nothing is read before it is asked for.

    ``content`` gives an image's stored bytes, which identify it; where they cannot be read it raises ``DataError``.
    """

    name: Callable[[int], str]  # what people find an image by within its source: a file, or split and row
    content: Callable[[int], bytes]
    stamp: str = ""  # changes whenever a content may have; empty where that takes as long as reading them all
    place: Callable[[int], str] | None = None  # the path on this machine, for errors, where there is one
    fields: Mapping[str, Field] = field(default_factory=dict)  # of which keys are made
    decode: Callable[[bytes, str], np.ndarray] = decode  # content and name to uint8 [height, width, 3]
    keeps_decoded: bool = False  # whether all of them, decoded, fit into memory


@dataclass(frozen=True)
class Rows:
    """Some of a source's images in order, with their labels."""

    stored: Stored
    positions: np.ndarray  # int64 [N], in ``stored``
    labels: np.ndarray  # int64 [N]

    @staticmethod
    def all(stored: Stored, labels: Sequence[int] | np.ndarray) -> Rows:
        """Return every image, in the source's order."""
        return Rows(stored, np.arange(len(labels)), np.asarray(labels, dtype=np.int64))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.positions)

    def take(self, indices: np.ndarray) -> Rows:
        """Return the rows at ``indices``, in that order."""
        return Rows(self.stored, self.positions[indices], self.labels[indices])

    def name(self, index: int) -> str:
        """Return what people find row ``index`` by."""
        return self.stored.name(int(self.positions[index]))

    def place(self, index: int) -> str:
        """Return where row ``index`` is, for errors; unlike its name this may be a path of this machine."""
        return (self.stored.place or self.stored.name)(int(self.positions[index]))

    def content(self, index: int) -> bytes:
        """Return the stored bytes of row ``index``.

        Raises:
            DataError: they cannot be read.
        """
        return self.stored.content(int(self.positions[index]))


@dataclass(frozen=True)
class Read:
    """A source as read: its own splits."""

    splits: Mapping[str, Rows]
    class_names: tuple[str, ...] | None  # in the order of the labels; None where the source does not name them
    description: str  # for the record: what was read, at which revision; no path of this machine
    drawn: bool = False  # whether splits were drawn here that the source does not give
