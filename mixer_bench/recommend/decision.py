"""Who stays in a comparison that grows round by round, who wins, and who cannot be told from the winner. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mixer_bench.stats import paired
from mixer_bench.stats.paired import LEVEL, Comparison

SMALLEST = 100  # images of a round before the last
LABELS = 5  # a class, that a round before the last has at least on average
FASTEST = 0.35  # exponent of a learning curve, as measured of images and text (Hestness et al. 2017, section 1)
GROWTH = 3  # a round has so many times the images of the one before


@dataclass(frozen=True)
class Round:
    """What one round saw: which answers were right, of the same images in the same order."""

    right: Mapping[str, np.ndarray]  # by candidate, bool [N], each by a probe that had not seen the image
    weights: np.ndarray | None = None  # what each image counts for, [N]; None: the same

    @property
    def images(self) -> int:
        """How many images it saw."""
        return len(next(iter(self.right.values())))

    def score(self, candidate: str) -> float:
        """Return the weighted share of right answers."""
        return float(np.average(self.right[candidate], weights=self.weights))

    def ranked(self, seconds: Mapping[str, float]) -> list[str]:
        """Return the candidates, best first; of equals the one that takes fewer ``seconds`` an image."""
        return sorted(self.right, key=lambda name: (-self.score(name), seconds.get(name, 0.0), name))

    def against(self, winner: str, other: str) -> Comparison:
        """Compare the winner with another, paired by image."""
        return paired.compare(self.right[winner][None], self.right[other][None], self.weights)


class Standing(NamedTuple):
    """How a candidate stands to the winner, in the last round that it was in."""

    candidate: str
    round: int
    score: float
    against: Comparison  # winner - candidate
    p: float  # corrected over all candidates (Holm)
    catches_up: bool  # it was left out before the last round, and may have caught up in it

    @property
    def behind(self) -> bool:
        """Whether the winner is better by more than chance."""
        return self.p < LEVEL and not self.catches_up


def sizes(images: int, classes: int) -> list[int]:
    """Return how many images each round has, ascending, the last all of them."""
    growing = [images]
    while growing[0] // GROWTH >= max(SMALLEST, LABELS * classes):
        growing.insert(0, growing[0] // GROWTH)
    return growing


def kept(seen: Round, seconds: Mapping[str, float], fits: Callable[[Sequence[str]], bool]) -> list[str]:
    """Return who goes on, best first: the better half, and of the others those that chance may have put there.

    Of these as many as fit into the time; one goes on in any case.

    Args:
        seen: a round's answers.
        seconds: of an image, by candidate: decides between equals.
        fits: tells whether there is time for candidates to be done to the end.
    """
    order = seen.ranked(seconds)
    better = {*order[: (len(order) + 1) // 2]}
    ps = dict(zip(order[1:], paired.holm([seen.against(order[0], name).p for name in order[1:]]), strict=True))
    staying = [name for name in order if name in better or ps[name] >= LEVEL]
    while len(staying) > 1 and not fits(staying):
        staying.pop()
    return staying


def standings(rounds: Sequence[Round], winner: str) -> list[Standing]:
    """Return how all others stand to the winner, who was in every round; best first of those that came farthest."""
    last = {name: place for place, seen in enumerate(rounds) for name in seen.right if name != winner}
    order = sorted(last, key=lambda name: (-last[name], -rounds[last[name]].score(name), name))
    compared = [rounds[last[name]].against(winner, name) for name in order]
    ps = paired.holm([each.p for each in compared])
    return [
        Standing(
            name, last[name], rounds[last[name]].score(name), each, p, _catches_up(name, last[name], winner, rounds)
        )
        for name, each, p in zip(order, compared, ps, strict=True)
    ]


def _catches_up(name: str, place: int, winner: str, rounds: Sequence[Round]) -> bool:
    """Return whether a candidate left out before would be better than the winner, had its error fallen fast."""
    then, at_last = rounds[place], rounds[-1]
    error = (1 - then.score(name)) * (then.images / at_last.images) ** FASTEST
    return then is not at_last and error < 1 - at_last.score(winner)
