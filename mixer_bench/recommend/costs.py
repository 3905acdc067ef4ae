"""What comparing candidates takes here, and how much of it fits into a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mixer_bench.data.examples import TaskData
from mixer_bench.protocols import linear
from mixer_bench.protocols.base import Shape
from mixer_bench.recommend import decision, folds
from mixer_bench.runs.plan import Model
from mixer_bench.system.machine import Precision
from mixer_bench.task.task import Task

if TYPE_CHECKING:
    from mixer_bench.runs.speeds import Speeds

RESERVE = 0.8  # of the time left may be planned with: others use the machine, too
OVERHEAD = 5.0  # seconds that go into all else: reading and writing, few-shot probes
CHANNELS = 3


class Clock:
    """The time that may be taken."""

    def __init__(self, budget: float) -> None:
        """Start; ``budget`` is in seconds."""
        self._start, self.budget = time.monotonic(), budget

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    @property
    def left(self) -> float:
        """Seconds that may be planned with."""
        return RESERVE * (self.budget - self.spent)


class Price(NamedTuple):
    """What a candidate takes: seconds of an image, and of a probe's arithmetic for so many labels."""

    network: float
    preparing: float  # which all that see equal squares share
    squares: str
    probe: Callable[[int], float]


def price(model: Model, task: Task, data: TaskData, precision: Precision, speeds: Speeds) -> Price:
    """Return what a model takes on a task's images, as measured here."""
    preprocessing = model.card.preprocessing.for_task(task.resize)
    network = speeds.image(model.card, precision, trains=False).seconds if model.card.network else 0.0
    width = model.card.width or CHANNELS * preprocessing.resolution**2

    def probe(labels: int) -> float:
        fitted = labels * (folds.FOLDS - 1) // folds.FOLDS
        shape = Shape(fitted, 0, labels, width, data.num_classes)
        return folds.FOLDS * speeds.arithmetic * linear.arithmetic(linear.Config(C=folds.GRID), shape)

    return Price(network, speeds.preparing(data.train, preprocessing), str(preprocessing.squares), probe)


def images(prices: Sequence[Price], count: int) -> float:
    """Return the seconds of so many images through all these networks, each image prepared once for equal squares."""
    prepared = {each.squares: each.preparing for each in prices}
    return count * (sum(each.network for each in prices) + sum(prepared.values()))


class Sizes(NamedTuple):
    """Images of a task."""

    train: int
    val: int
    test: int

    @staticmethod
    def of(data: TaskData) -> Sizes:
        """Return how many images a task's splits hold."""
        return Sizes(*map(len, data.splits.values()))

    def limited(self, limit: int | None) -> Sizes:
        """Return what is left of them with at most ``limit`` a split."""
        return self if limit is None else Sizes(*(min(size, limit) for size in self))


def to_the_end(prices: Sequence[Price], sizes: Sizes, done: int) -> float:
    """Return the seconds until these candidates are measured on test; ``done`` images of train have been seen."""
    labels = sizes.train + sizes.val
    # The last round's probes, and those of the records, which are fitted once but as exactly as can be.
    probes = 2 * sum(each.probe(labels) for each in prices)
    return images(prices, labels + sizes.test - done) + probes + OVERHEAD


def planned(prices: Mapping[str, Price], sizes: Sizes, classes: int, seconds: float) -> tuple[list[str], int | None]:
    """Return who can take part, and at most how many images a split are looked at, so that all ends in time.

    The first round is everybody's, and the slowest must be able to go on to the end. Where not even the fewest images
    leave time for that, it does not take part; one does in any case.

    Args:
        prices: by candidate.
        sizes: of the whole task.
        classes: of the task.
        seconds: that there are.

    Returns:
        Names, and None where all images are looked at.
    """
    names = sorted(prices, key=lambda name: prices[name].network)
    while True:
        able = [prices[name] for name in names]
        most: int | None = None
        while True:
            some = sizes.limited(most)
            first = decision.sizes(some.train, classes)[0]
            rest = to_the_end(able[-1:], some, first)
            if images(able, first) + sum(each.probe(first) for each in able) + rest <= seconds:
                return names, most
            if (half := (most or max(sizes)) // 2) < decision.SMALLEST:
                break
            most = half
        if len(names) == 1:
            return names, most
        names.pop()
