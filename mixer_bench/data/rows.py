"""What a source gives, before a task cuts it: encoded images by position, their labels, names and fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mixer_bench.data.decoding import decode
from mixer_bench.errors import DataError

Field = Callable[[np.ndarray], Sequence[object]]  # positions to values
LARGEST = (1 << 31) - 1  # that a label may be
UNKNOWN = -1  # the label of an image whose class its source does not tell
# What pandas reads as a missing value (the default of its ``na_values``); a class must not be called so.
BLANKS = frozenset(
    ("", "#N/A", "#NA", "-NaN", "-nan", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null")
)


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
    # Content, name and whether it is to be turned upright to uint8 [height, width, 3].
    decode: Callable[[bytes, str, bool], np.ndarray] = decode
    keeps_decoded: bool = False  # whether all of them, decoded, fit into memory


@dataclass(frozen=True)
class Rows:
    """Some of a source's images in order, with their labels."""

    stored: Stored
    positions: np.ndarray  # int64 [N], in ``stored``
    labels: np.ndarray  # int64 [N], below 0 where the class is not told

    @staticmethod
    def all(stored: Stored, labels: Sequence[object] | np.ndarray) -> Rows:
        """Return every image, in the source's order; a missing label (None, NaN) is ``UNKNOWN``."""
        if not (isinstance(labels, np.ndarray) and labels.dtype.kind in "iub"):
            told: list[Any] = [UNKNOWN if is_blank(label) else label for label in labels]
            labels = np.array([min(label, LARGEST + 1) for label in told], dtype=np.float64)
            if len(odd := np.flatnonzero(labels % 1)):
                raise DataError(f"{stored.name(int(odd[0]))}: label {labels[odd[0]]} is no class but a measure")
        if len(large := np.flatnonzero(labels > LARGEST)):
            raise DataError(f"{stored.name(int(large[0]))}: its label is larger than {LARGEST}: that is no class")
        return Rows(stored, np.arange(len(labels)), labels.astype(np.int64))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.positions)

    def take(self, indices: np.ndarray) -> Rows:
        """Return the rows at ``indices``, in that order."""
        return Rows(self.stored, self.positions[indices], self.labels[indices])

    def check_told(self, what: str) -> None:
        """Refuse images whose class is not told: a score on them would mean nothing, and left out they would be missed.

        Raises:
            DataError: begins with ``what``, the split in words, and says how many there are.
        """
        if len(blank := np.flatnonzero(self.labels < 0)):
            raise DataError(
                f"{what}: {len(blank):,} of {len(self):,} labels are hidden or missing (-1, None, empty, NaN), the "
                f"first that of {self.name(int(blank[0]))}; fill them in, take these images out, or name splits "
                "that have labels in a task file; a class that is called so needs another name"
            )

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


def is_blank(label: object) -> bool:
    """Return whether a label, a number or a class's name, stands for a hidden or missing one."""
    if isinstance(label, str):
        text = label.strip()
        return text in BLANKS or re.fullmatch(r"-\d+(\.0*)?", text) is not None
    return label is None or bool(label != label or label < 0)  # type: ignore[operator]  # noqa: PLR0124  NaN


@dataclass(frozen=True)
class Read:
    """A source as read: its own splits."""

    splits: Mapping[str, Rows]
    class_names: tuple[str, ...] | None  # in the order of the labels; None where the source does not name them
    description: str  # for the record: what was read, at which revision; no path of this machine
    drawn: bool = False  # whether splits were drawn here that the source does not give
    # Labels of the task's splits, int64 [N] each, as another source has them: the order is right only if they agree.
    proof: Mapping[str, np.ndarray] | None = None
