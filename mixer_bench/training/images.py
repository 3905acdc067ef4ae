"""Images to train on: resized once and kept on the device where they fit, else decoded when their turn comes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mixer_bench.data.decoding import pool
from mixer_bench.data.examples import Examples
from mixer_bench.models.preprocessing import Preprocessing

SHARE = 0.4  # of the free memory that images may take


class Corpus(Protocol):
    """Labelled squares by position."""

    labels: Tensor  # int64 [N], on the device
    fingerprint: str

    def images(self, indices: Tensor) -> Tensor:
        """Uint8 [n, 3, S, S] on the device; ``indices`` int64 [n] on the CPU."""
        ...

    def expect(self, indices: Tensor) -> None:
        """Told what will be asked for next."""
        ...


class Resident:
    """All images on the device, as bytes."""

    def __init__(self, examples: Examples, preprocessing: Preprocessing, device: torch.device) -> None:
        """Prepare every image of ``examples`` now.

        Raises:
            DataError: an image cannot be decoded.
        """
        side = preprocessing.resolution
        squares = np.empty((len(examples), 3, side, side), dtype=np.uint8)

        def prepare(place: int) -> None:
            squares[place] = preprocessing.square(examples.images[place]).transpose(2, 0, 1)

        for _ in pool().map(prepare, range(len(examples))):
            pass
        self._images = torch.from_numpy(squares).to(device)
        self.labels = torch.from_numpy(examples.labels).to(device)
        self.fingerprint = examples.fingerprint

    def images(self, indices: Tensor) -> Tensor:
        """Uint8 [n, 3, S, S] at ``indices``."""
        return self._images[indices.to(self._images.device)]

    def expect(self, indices: Tensor) -> None:
        """They are here already."""


class Streamed:
    """Images decoded and resized when asked for, or a step before if they were expected."""

    def __init__(self, examples: Examples, preprocessing: Preprocessing, device: torch.device) -> None:
        """Keep ``examples`` undecoded."""
        self._examples, self._preprocessing, self._device = examples, preprocessing, device
        self._expected: tuple[tuple[int, ...], list[Future[np.ndarray]]] | None = None
        self.labels = torch.from_numpy(examples.labels).to(device)
        self.fingerprint = examples.fingerprint

    def images(self, indices: Tensor) -> Tensor:
        """Uint8 [n, 3, S, S] at ``indices``.

        Raises:
            DataError: an image cannot be decoded.
        """
        wanted = tuple(indices.tolist())
        if self._expected is None or self._expected[0] != wanted:
            self._expected = (wanted, self._begun(wanted))
        squares = np.stack([future.result() for future in self._expected[1]])
        self._expected = None
        return torch.from_numpy(squares).to(self._device, non_blocking=True).permute(0, 3, 1, 2)

    def expect(self, indices: Tensor) -> None:
        """Begin with them."""
        wanted = tuple(indices.tolist())
        self._expected = (wanted, self._begun(wanted))

    def _begun(self, wanted: Sequence[int]) -> list[Future[np.ndarray]]:
        return [pool().submit(self._square, place) for place in wanted]

    def _square(self, place: int) -> np.ndarray:
        return self._preprocessing.square(self._examples.images[place])


def corpus(examples: Examples, preprocessing: Preprocessing, device: torch.device) -> Corpus:
    """The examples resized by ``preprocessing``, on ``device`` if they take no more than ``SHARE`` of what is free."""
    needed = len(examples) * 3 * preprocessing.resolution**2
    kind = Resident if needed <= SHARE * _free(device) else Streamed
    return kind(examples, preprocessing, device)


class Shelf:
    """The last few corpora, by what they are."""

    def __init__(self, places: int) -> None:
        """Keep so many; the one not asked for longest goes first."""
        self._places = places
        self._kept: dict[tuple[str, ...], Corpus] = {}

    def get(self, identity: tuple[str, ...], make: Callable[[], Corpus]) -> Corpus:
        """The corpus of that identity, made if it is not here; room is made before."""
        if identity in self._kept:
            self._kept[identity] = self._kept.pop(identity)
        else:
            while len(self._kept) >= self._places:
                self._kept.pop(next(iter(self._kept)))
            self._kept[identity] = make()
        return self._kept[identity]


def _free(device: torch.device) -> int:
    """Bytes of memory that may still be taken."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 4 << 30
