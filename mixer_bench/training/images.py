"""Images to train on, their order, their random views, and the batches of these: one home for all trainings."""

from __future__ import annotations

import functools
import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mixer_bench.data.decoding import pool
from mixer_bench.data.examples import Examples
from mixer_bench.models.backbone import normalise_
from mixer_bench.models.device import beside, free_memory, host_memory, on_device
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.training import augment, distributed
from mixer_bench.training.augment import Images
from mixer_bench.training.framing import Frame
from mixer_bench.training.loop import Batch

SHARE = 0.4  # of the free memory that images may take
KEPT = 3  # corpora: what is trained on, val and test
TOGETHER = 256  # images that are decoded before they go to the device, and it is asked how many bytes all will take


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
        self.labels = on_device(torch.from_numpy(examples.labels), device)  # int64 [N]
        self.fingerprint = examples.fingerprint
        self._examples, self._frame, self._device = examples, frame, device
        self._expected: dict[int, Future[np.ndarray]] = {}
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
            return self._kept[on_device(positions, self._device)]
        if self._kept is not None:
            return _stacked([self._kept[position] for position in positions.tolist()])
        waiting = self._expected
        begun = [waiting.pop(i) if i in waiting else self._begun(i) for i in positions.tolist()]
        return _brought([future.result() for future in begun], self._device)

    def squares(self, positions: Tensor) -> Tensor:
        """Return frames that are squares of one size, [n, 3, S, S], in memory of their own."""
        images = self.images(positions)
        assert isinstance(images, Tensor), "the frame is no square"
        return images

    def expect(self, positions: Tensor) -> None:
        """Begin to decode what will be asked for next."""
        if self._kept is None:
            self._expected = {position: self._begun(position) for position in positions.tolist()}

    def _squares(self, side: int, room: float) -> Tensor | None:
        """Return all images as one array [N, 3, S, S], or None if they take more bytes than there is room for."""
        shape, dtype = (len(self), 3, side, side), torch.from_numpy(np.empty(0, self._frame.dtype)).dtype
        if math.prod(shape) * dtype.itemsize > room:
            return None
        squares, done = torch.empty(shape, dtype=dtype, device=self._device), 0
        for frames in self._decoded():  # part by part, so that the host never holds all that is for a GPU
            some = _brought(frames, self._device)
            assert isinstance(some, Tensor), "squares are of one size"
            squares[done : done + len(some)] = some
            done += len(some)
        return squares

    def _shapes(self, room: float) -> Images | None:
        """Return all images, whose sizes only decoding tells; None as soon as they would take more than ``room``."""
        kept: list[Tensor] = []
        taken = 0
        for frames in self._decoded():
            kept += [on_device(torch.from_numpy(frame), self._device) for frame in frames]
            taken += sum(frame.nbytes for frame in frames)
            if taken / len(kept) * len(self) > room:
                return None
        return _stacked(kept)

    def _decoded(self) -> Iterator[list[np.ndarray]]:
        """Give the frames of all images, so many at a time; the next ones are decoded meanwhile."""
        waiting: deque[list[Future[np.ndarray]]] = deque()
        for start in range(0, len(self), TOGETHER):
            waiting.append([self._begun(position) for position in range(start, min(start + TOGETHER, len(self)))])
            if len(waiting) > 1:
                yield [future.result() for future in waiting.popleft()]
        for begun in waiting:
            yield [future.result() for future in begun]

    def _begun(self, position: int) -> Future[np.ndarray]:
        return pool().submit(self._framed, position)

    def _framed(self, position: int) -> np.ndarray:
        return self._frame.of(self._examples.images[position])


def _brought(frames: Sequence[np.ndarray], device: torch.device) -> Images:
    """Bring frames to the device, those of one size together: a batch is then made in a few large steps."""
    tensors = [torch.from_numpy(frame) for frame in frames]
    if len({frame.shape for frame in frames}) > 1:
        return [on_device(tensor, device) for tensor in tensors]
    stacked = host_memory((len(frames), *frames[0].shape), tensors[0].dtype, device)
    return beside(torch.stack(tensors, out=stacked), device)


def _stacked(frames: list[Tensor]) -> Images:
    return torch.stack(frames) if len({frame.shape for frame in frames}) == 1 else frames


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


def let_go() -> None:
    """Keep no images any longer: their memory is the caller's again."""
    _KEPT.clear()
    _permutation.cache_clear()


def _free(device: torch.device) -> int:
    """Return how many bytes of memory this process may still take; processes on CPUs share what is there."""
    return free_memory(device) // (distributed.world().size if device.type == "cpu" else 1)


@dataclass(frozen=True)
class Batches:
    """The batches of a training: each is random only by the order's key and the step, whatever came before."""

    corpus: Corpus
    order: Order
    preprocessing: Preprocessing  # of the network
    view: Callable[[Images, augment.Draws], Tensor]  # frames to float32 [n, 3, R, R] in memory of their own
    mixup: float = 0.0  # of the Beta distribution; 0 for none
    num_classes: int = 0  # for mixup

    def at(self, step: int, part: int = 0, parts: int = 1) -> Batch:
        """Return one of so many parts of this process's share of a step's batch.

        With the first one, what the network itself draws in that step is seeded.
        """
        if part == 0:
            torch.manual_seed(generator(*self.order.key, 2, step).initial_seed())
        asked = self._places(part, parts)
        # Blending needs the others of the batch: then all of it is made, and what was asked for is kept at the end.
        made = slice(None) if self.mixup else asked
        draws = augment.Draws(generator(*self.order.key, 1, step), self.order.batch_size, made)
        positions = self.order.batch(step)[made]
        frames = self.corpus.images(positions)
        if part == parts - 1:
            self.corpus.expect(self.order.batch(step + 1)[slice(None) if self.mixup else self._places(0, 1)])
        images = normalise_(self.view(frames, draws), self.preprocessing)
        labels = self.corpus.labels[on_device(positions, self.corpus.labels.device)]
        if not self.mixup:
            return images, labels
        images, shares = self._blended(images, labels, draws)
        return images[asked], shares[asked]

    def _places(self, part: int, parts: int) -> slice:
        """Return which images of a batch are in a part of this process's share."""
        share = range(self.order.batch_size)[distributed.world().share]
        start, end = (len(share) * number // parts for number in (part, part + 1))
        places = share[start:end]
        return slice(places.start, places.stop, places.step)

    def _blended(self, images: Tensor, labels: Tensor, draws: augment.Draws) -> Batch:
        images, other, weight = augment.mixed(images, self.mixup, draws.generator)
        shares = nn.functional.one_hot(labels, self.num_classes).float()
        return images, shares * weight + shares[on_device(other, shares.device)] * (1 - weight)
