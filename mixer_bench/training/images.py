"""Images to train on, their order, their random views, and the batches of these: one home for all trainings."""

from __future__ import annotations

import functools
import hashlib
import math
import os
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mixer_bench.data.decoding import pool
from mixer_bench.data.examples import Examples
from mixer_bench.models.backbone import normalise_
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.training import augment, distributed
from mixer_bench.training.augment import Images
from mixer_bench.training.framing import Frame
from mixer_bench.training.loop import Batch

SHARE = 0.4  # of the free memory that images may take
KEPT = 3  # corpora: what is trained on, val and test
AHEAD = 256  # images of unknown sizes that are decoded before it is asked how many bytes all will take


def generator(*key: object) -> torch.Generator:
    """Return a random generator for each key, so that no draw depends on how many came before."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


@functools.lru_cache(maxsize=8)
def _permutation(count: int, key: tuple[object, ...]) -> Tensor:
    return torch.randperm(count, generator=generator(*key))


@dataclass(frozen=True)
class Order:
    """Which images make each batch: all of them in random order, again and again, cut into batches."""

    count: int
    batch_size: int
    key: tuple[object, ...]  # the order is random by this and the epoch
    drops_rest: bool = False  # of an epoch: its last, smaller batch is left out; otherwise the next epoch fills it

    def batch(self, step: int) -> Tensor:
        """Return the positions of the images of a step, int64 [batch_size]."""
        size = self.batch_size
        epoch_images = self.count // size * size if self.drops_rest else self.count
        epochs = range(step * size // epoch_images, ((step + 1) * size - 1) // epoch_images + 1)
        orders = torch.cat([_permutation(self.count, (*self.key, 0, epoch))[:epoch_images] for epoch in epochs])
        start = step * size - epochs.start * epoch_images
        return orders[start : start + size]


class Corpus:
    """Labelled images by position, each resized to its frame: all kept on a device, or decoded when asked for."""

    def __init__(self, examples: Examples, frame: Frame, device: torch.device, resident: bool | None = None) -> None:
        """Prepare all images now if they are to be ``resident``: by default if they take ``SHARE`` of what is free.

        Raises:
            DataError: an image cannot be decoded; of images that are not resident, when they are asked for.
        """
        self.labels = torch.from_numpy(examples.labels).to(device)  # int64 [N]
        self.fingerprint = examples.fingerprint
        self._examples, self._frame, self._device = examples, frame, device
        self._expected: dict[tuple[int, ...], list[Future[np.ndarray]]] = {}
        room = SHARE * _free(device) if resident is None else (math.inf if resident else 0.0)
        self._kept = self._squares(frame.square, room) if frame.square else self._shapes(room)

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.labels)

    def images(self, positions: Tensor) -> Images:
        """Return frames on the device, those of one size in memory of their own; ``positions`` int64 [n] on the CPU.

        Raises:
            DataError: an image cannot be decoded.
        """
        if isinstance(self._kept, Tensor):
            return self._kept[positions.to(self._device)]
        wanted = tuple(positions.tolist())
        if self._kept is not None:
            return _together([self._kept[position] for position in wanted], self._device)
        frames = [future.result() for future in self._expected.pop(wanted, None) or self._begun(wanted)]
        return _together([torch.from_numpy(frame) for frame in frames], self._device)

    def squares(self, positions: Tensor) -> Tensor:
        """Return frames that are squares of one size, [n, 3, S, S], in memory of their own."""
        images = self.images(positions)
        assert isinstance(images, Tensor), "the frame is no square"
        return images

    def expect(self, positions: Tensor) -> None:
        """Begin to decode what will be asked for next."""
        if self._kept is None:
            wanted = tuple(positions.tolist())
            self._expected = {wanted: self._begun(wanted)}

    def _squares(self, side: int, room: float) -> Tensor | None:
        """Return all images as one array [N, 3, S, S], or None if they take more bytes than there is room for."""
        if len(self) * 3 * side**2 * np.dtype(self._frame.dtype).itemsize > room:
            return None
        squares = np.empty((len(self), 3, side, side), self._frame.dtype)
        for position, square in enumerate(pool().map(self._framed, range(len(self)))):
            squares[position] = square
        return torch.from_numpy(squares).to(self._device)

    def _shapes(self, room: float) -> Images | None:
        """Return all images, whose sizes only decoding tells; None as soon as they would take more than ``room``."""
        kept: list[Tensor] = []
        taken = 0
        for start in range(0, len(self), AHEAD):
            some = [*pool().map(self._framed, range(start, min(start + AHEAD, len(self))))]
            kept += [torch.from_numpy(frame).to(self._device) for frame in some]
            taken += sum(frame.nbytes for frame in some)
            if taken / len(kept) * len(self) > room:
                return None
        return _together(kept, self._device)

    def _begun(self, positions: tuple[int, ...]) -> list[Future[np.ndarray]]:
        return [pool().submit(self._framed, position) for position in positions]

    def _framed(self, position: int) -> np.ndarray:
        return self._frame.of(self._examples.images[position])


def _together(frames: list[Tensor], device: torch.device) -> Images:
    """Return frames as one tensor where they are of one size: a batch is then made in a few large steps."""
    if len({frame.shape for frame in frames}) == 1:
        return torch.stack(frames).to(device)
    return [frame.to(device) for frame in frames]


_KEPT: dict[tuple[str, Frame, str], Corpus] = {}


def shelved(examples: Examples, frame: Frame, device: torch.device) -> Corpus:
    """Return the corpus, decoded once for all trainings, and all models that frame images alike.

    The last ones are kept; the one not asked for longest goes before another is made, so that there is room.
    """
    identity = (examples.fingerprint, frame, str(device))
    corpus = _KEPT.pop(identity, None)
    while corpus is None and len(_KEPT) >= KEPT:
        _KEPT.pop(next(iter(_KEPT)))
    _KEPT[identity] = Corpus(examples, frame, device) if corpus is None else corpus
    return _KEPT[identity]


def _free(device: torch.device) -> int:
    """Return how many bytes of memory this process may still take."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = 4 << 30
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return free // distributed.world().size


@dataclass(frozen=True)
class Batches:
    """The batches of a training: each is random only by the order's key and the step, whatever came before."""

    corpus: Corpus
    order: Order
    preprocessing: Preprocessing  # of the network
    view: Callable[[Images, augment.Draws], Tensor]  # frames to float32 [n, 3, R, R] in memory of their own
    mixup: float = 0.0  # of the Beta distribution; 0 for none
    num_classes: int = 0  # for mixup

    def at(self, step: int) -> Batch:
        """Return this process's part of a step's batch, and seed what the network itself draws in that step."""
        torch.manual_seed(generator(*self.order.key, 2, step).initial_seed())
        draws = augment.Draws(generator(*self.order.key, 1, step), self.order.batch_size, self._part)
        positions = self.order.batch(step)[self._part]
        frames = self.corpus.images(positions)
        self.corpus.expect(self.order.batch(step + 1)[self._part])
        images = normalise_(self.view(frames, draws), self.preprocessing)
        labels = self.corpus.labels[positions.to(self.corpus.labels.device)]
        return self._blended(images, labels, draws) if self.mixup else (images, labels)

    @property
    def _part(self) -> slice:
        # Blending needs the others of the batch: then each process takes all of it, and its own part at the end.
        return slice(None) if self.mixup else distributed.world().share

    def _blended(self, images: Tensor, labels: Tensor, draws: augment.Draws) -> Batch:
        images, other, weight = augment.mixed(images, self.mixup, draws.generator)
        shares = nn.functional.one_hot(labels, self.num_classes).float()
        shares = shares * weight + shares[other.to(shares.device)] * (1 - weight)
        part = distributed.world().share
        return images[part], shares[part]
