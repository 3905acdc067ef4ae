"""Images to train on, their order, their random views, and the batches of these: one home for all trainings."""

from __future__ import annotations

import functools
import hashlib
import os
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from mixer_bench.data.decoding import pool
from mixer_bench.data.examples import Examples
from mixer_bench.models.backbone import normalise_
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.training import augment, distributed
from mixer_bench.training.loop import Batch

SHARE = 0.4  # of the free memory that images may take
KEPT = 2  # corpora: what is trained on, and what is judged


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
    """Labelled images by position, resized to squares: all kept on a device, or decoded when asked for."""

    def __init__(
        self, examples: Examples, preprocessing: Preprocessing, device: torch.device, resident: bool | None = None
    ) -> None:
        """Resize all images now if they are to be ``resident``: by default if they take ``SHARE`` of what is free.

        Raises:
            DataError: an image cannot be decoded; of images that are not resident, when they are asked for.
        """
        side = preprocessing.resolution
        self.labels = torch.from_numpy(examples.labels).to(device)  # int64 [N]
        self.fingerprint = examples.fingerprint
        self._examples, self._preprocessing, self._device = examples, preprocessing, device
        self._expected: dict[tuple[int, ...], list[Future[np.ndarray]]] = {}
        self._kept: Tensor | None = None
        if resident or (resident is None and len(examples) * 3 * side**2 <= SHARE * _free(device)):
            squares = np.empty((len(examples), 3, side, side), dtype=np.uint8)
            for position, square in enumerate(pool().map(self._square, range(len(examples)))):
                squares[position] = square.transpose(2, 0, 1)
            self._kept = torch.from_numpy(squares).to(device)

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.labels)

    def images(self, positions: Tensor) -> Tensor:
        """Return uint8 [n, 3, S, S] on the device; ``positions`` int64 [n] on the CPU.

        Raises:
            DataError: an image cannot be decoded.
        """
        if self._kept is not None:
            return self._kept[positions.to(self._device)]
        wanted = tuple(positions.tolist())
        squares = [future.result() for future in self._expected.pop(wanted, None) or self._begun(wanted)]
        return torch.from_numpy(np.stack(squares)).to(self._device, non_blocking=True).permute(0, 3, 1, 2)

    def expect(self, positions: Tensor) -> None:
        """Begin to decode what will be asked for next."""
        if self._kept is None:
            wanted = tuple(positions.tolist())
            self._expected = {wanted: self._begun(wanted)}

    def _begun(self, positions: tuple[int, ...]) -> list[Future[np.ndarray]]:
        return [pool().submit(self._square, position) for position in positions]

    def _square(self, position: int) -> np.ndarray:
        return self._preprocessing.square(self._examples.images[position])


_KEPT: dict[tuple[str, ...], Corpus] = {}


def shelved(examples: Examples, preprocessing: Preprocessing, device: torch.device) -> Corpus:
    """Return the corpus, decoded once for all trainings, and all models that resize images alike.

    The last two are kept; the one not asked for longest goes before another is made, so that there is room.
    """
    # What is done to the numbers comes later, so models that differ by it alone share the images.
    alike = preprocessing.model_copy(update={"mean": (0.0,) * 3, "std": (1.0,) * 3}).model_dump_json()
    identity = (examples.fingerprint, alike, str(device))
    corpus = _KEPT.pop(identity, None)
    while corpus is None and len(_KEPT) >= KEPT:
        _KEPT.pop(next(iter(_KEPT)))
    _KEPT[identity] = Corpus(examples, preprocessing, device) if corpus is None else corpus
    return _KEPT[identity]


def _free(device: torch.device) -> int:
    """Return how many bytes of memory may still be taken."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 4 << 30


@dataclass(frozen=True)
class Batches:
    """The batches of a training: each is random only by the order's key and the step, whatever came before."""

    corpus: Corpus
    order: Order
    preprocessing: Preprocessing  # of the network
    crop: Literal["random", "inception", "none"]
    flip: bool
    smallest_crop: float  # share of the area, of inception crops
    mixup: float = 0.0  # of the Beta distribution; 0 for none
    num_classes: int = 0  # for mixup

    def at(self, step: int) -> Batch:
        """Return this process's part of a step's batch."""
        draws = augment.Draws(generator(*self.order.key, 1, step), self.order.batch_size, self._part)
        positions = self.order.batch(step)[self._part]
        images = self.corpus.images(positions).float()
        self.corpus.expect(self.order.batch(step + 1)[self._part])
        images = normalise_(self._viewed(images, draws), self.preprocessing)
        labels = self.corpus.labels[positions.to(self.corpus.labels.device)]
        return self._blended(images, labels, draws) if self.mixup else (images, labels)

    @property
    def _part(self) -> slice:
        # Blending needs the others of the batch: then each process takes all of it, and its own part at the end.
        return slice(None) if self.mixup else distributed.world().share

    def _viewed(self, images: Tensor, draws: augment.Draws) -> Tensor:
        side = self.preprocessing.resolution
        if self.crop == "random":
            images = augment.random_crop(images, side, draws)
        elif self.crop == "inception":
            images = augment.random_resized_crop(images, (self.smallest_crop, 1.0), draws, side)
        else:
            images = augment.central_crop(images, side)
        return augment.random_flip(images, draws) if self.flip else images.clone()

    def _blended(self, images: Tensor, labels: Tensor, draws: augment.Draws) -> Batch:
        images, other, weight = augment.mixed(images, self.mixup, draws.generator)
        shares = nn.functional.one_hot(labels, self.num_classes).float()
        shares = shares * weight + shares[other.to(shares.device)] * (1 - weight)
        part = distributed.world().share
        return images[part], shares[part]
