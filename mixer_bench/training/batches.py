"""Training batches: images in their order, each in a random view, normalised, with its label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from mixer_bench.models.backbone import normalise_
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.training import augment, distributed
from mixer_bench.training.images import Corpus, Order, generator
from mixer_bench.training.loop import Batch


@dataclass(frozen=True)
class Views:
    """What is done to training images at random."""

    crop: Literal["random", "inception", "none"]
    flip: bool
    smallest_crop: float  # share of the area, of inception crops
    mixup: float = 0.0  # of the Beta distribution; 0 for none


@dataclass(frozen=True)
class Batches:
    """The batches of a training: each is random only by the order's key and the step, whatever came before."""

    corpus: Corpus
    order: Order
    views: Views
    preprocessing: Preprocessing  # of the network
    num_classes: int = 0  # for mixup

    def at(self, step: int) -> Batch:
        """Return this process's part of a step's batch."""
        draws = augment.Draws(generator(*self.order.key, 1, step), self.order.batch_size, self._part)
        positions = self.order.batch(step)[self._part]
        images = self.corpus.images(positions).float()
        self.corpus.expect(self.order.batch(step + 1)[self._part])
        images = normalise_(self._viewed(images, draws), self.preprocessing)
        labels = self.corpus.labels[positions.to(self.corpus.labels.device)]
        return self._blended(images, labels, draws) if self.views.mixup else (images, labels)

    @property
    def _part(self) -> slice:
        # Blending needs the others of the batch: then each process takes all of it, and its own part at the end.
        return slice(None) if self.views.mixup else distributed.world().share

    def _viewed(self, images: Tensor, draws: augment.Draws) -> Tensor:
        views, side = self.views, self.preprocessing.resolution
        if views.crop == "random":
            images = augment.random_crop(images, side, draws)
        elif views.crop == "inception":
            images = augment.random_resized_crop(images, (views.smallest_crop, 1.0), draws, side)
        else:
            images = augment.central_crop(images, side)
        return augment.random_flip(images, draws) if views.flip else images.clone()

    def _blended(self, images: Tensor, labels: Tensor, draws: augment.Draws) -> Batch:
        images, other, weight = augment.mixed(images, self.views.mixup, draws.generator)
        shares = nn.functional.one_hot(labels, self.num_classes).float()
        shares = shares * weight + shares[other.to(shares.device)] * (1 - weight)
        part = distributed.world().share
        return images[part], shares[part]
