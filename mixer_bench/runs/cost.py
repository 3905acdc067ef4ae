"""What runs cost, before anything of them is done: FLOPs of a network, counted without running it, times images."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from typing import NamedTuple

from pydantic import PositiveInt

from mixer_bench.data.examples import TaskData
from mixer_bench.errors import UsageError
from mixer_bench.models.card import Card
from mixer_bench.runs.plan import TRAINING_STEP
from mixer_bench.runs.request import Request
from mixer_bench.runs.variants import Variant, trained_by, variants_of
from mixer_bench.system import paths
from mixer_bench.system.network import first_line
from mixer_bench.system.schema import Sealed, note, noted
from mixer_bench.task.task import Task

Sizes = tuple[int, int, int]  # how many images train, val and test hold
UNKNOWN_SIZES = (1000, 1000, 1000)  # of images of one's own, before anybody has looked at them


class Counted(Sealed):
    """What is known of a network that was not run."""

    flops: int  # of one image's forward pass; a multiply-add is two
    parameters: PositiveInt  # without the classifier


class Work(NamedTuple):
    """Images that go through one model's networks, each counted every time it does."""

    extracted: int = 0  # once, for all protocols that leave the weights as they are
    trained: int = 0  # forward and backward
    judged: int = 0  # through networks that were trained

    @property
    def passes(self) -> int:
        """How many forward passes take as long."""
        return self.extracted + self.judged + TRAINING_STEP * self.trained


def work(variants: Iterable[Variant], sizes: Sizes) -> Work:
    """Return what runs of one model on a task of so many images take, with no features kept."""
    every = list(variants)
    training = sum(variant.protocol.trains for variant in every)
    extracted = sum(sizes) if training < len(every) else 0
    return Work(extracted, trained_by(every), training * sizes[2])


def flops(request: Request) -> float:
    """Return the FLOPs of all that is asked for, from declared sizes: no image is read and nothing is fetched.

    Images of one's own are taken for ``UNKNOWN_SIZES``, and a network that cannot be built weighs nothing. Of a part of
    a request, one task or model, it is that part's: what costs more can be started first.
    """
    cards = [card for card in request.cards if card.architecture is not None]
    total = 0.0
    for task in request.tasks:
        sizes = declared(task, request.options.limit)
        images = work(variants_of(request, task, sizes[0] + sizes[1]), sizes)
        for card in cards:
            with contextlib.suppress(UsageError):  # of this resolution, or of a name timm does not know
                total += images.passes * counted(card.at(request.options.resolution)).flops
    return total


def sizes_of(images: TaskData) -> Sizes:
    """Return how many images there are."""
    return len(images.train), len(images.val), len(images.test)


def declared(task: Task, limit: int | None) -> Sizes:
    """Return how many images a task's file says that train, val and test hold, as far as ``limit`` lets them."""
    sizes = (task.sizes.train, task.sizes.val, task.sizes.test) if task.sizes else UNKNOWN_SIZES
    train, val, test = (min(size, limit or size) for size in sizes)
    return train, val, test


_COUNTED: dict[str, Counted] = {}


def counted(card: Card) -> Counted:
    """Return what a card's network holds and takes at its resolution; kept on disk, since it takes as long as an image.

    Raises:
        UsageError: the card has no network, or cannot be built or counted.
    """
    architecture, side = card.network, card.preprocessing.resolution
    if architecture is None:
        raise UsageError(f"{card.name} has no network")
    identity = json.dumps([architecture.digest, side, version("timm")])
    if identity not in _COUNTED:
        name = hashlib.sha256(identity.encode()).hexdigest()[:32]
        file = paths.cache_dir() / "flops" / f"{name}.json"
        if (known := noted(file, Counted)) is None:
            # Imported here: with all counts at hand, a thousand runs are weighed without torch.
            from mixer_bench.profile import profile

            try:
                counts = profile.count(profile.Job(card.name, architecture, "native", side))
            except RuntimeError as error:  # of one whose way depends on the values of an image
                raise UsageError(f"{card.name}: its FLOPs cannot be counted ({first_line(error)})") from None
            known = Counted(flops=counts.flops, parameters=counts.parameters)
            note(file, known)
        _COUNTED[identity] = known
    return _COUNTED[identity]
