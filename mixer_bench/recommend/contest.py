"""Candidates in growing rounds: features of a part more, probes, and who goes on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mixer_bench.audit import twins
from mixer_bench.errors import MixerBenchError
from mixer_bench.recommend import costs, decision, folds
from mixer_bench.recommend.costs import Clock, Price, Sizes
from mixer_bench.recommend.decision import Round
from mixer_bench.recommend.features import Parts
from mixer_bench.stats import metrics
from mixer_bench.system.progress import ProgressLog


@dataclass
class Contest:
    """What candidates are compared by, and what came of it."""

    parts: Parts
    prices: Mapping[str, Price]
    latency: Mapping[str, float]  # which of equals goes first
    sizes: Sizes
    metric: str
    device: str
    clock: Clock
    log: Callable[[float], ProgressLog]
    rounds: list[Round] = field(default_factory=list)
    penalties: dict[str, float] = field(default_factory=dict)  # C of each one's last probe

    def held(self, names: Sequence[str], ends: Sequence[int]) -> list[str]:
        """Hold all rounds, which end at these numbers of train's images; return the last one's candidates, best first.

        Raises:
            MixerBenchError: there are features of none; says why.
        """
        for part, end in enumerate(ends):
            label = f"round {part + 1} of {len(ends)}, {len(names)} models"
            self.parts.compute(names, part, self.log, label)
            names = [name for name in names if name not in self.parts.lost]
            if not names:
                told = "; ".join(f"{name}: {reason}" for name, reason in self.parts.lost.items())
                raise MixerBenchError(f"no model could be measured: {told}")
            self.rounds.append(self._round(names, part, label))
            if part < len(ends) - 1:
                names = decision.kept(self.rounds[-1], self.latency, functools.partial(self._fit, end))
        return self.rounds[-1].ranked(self.latency)

    @property
    def labels(self) -> np.ndarray:
        """The labels of train and val, as the last round saw them, int64 [N]."""
        return self.parts.labels(len(self.rounds) - 1)

    def last(self, name: str) -> tuple[np.ndarray, float]:
        """Return a candidate's features in the last round, float32 [N, D], and the penalty C of its probe."""
        return self.parts.features(name, len(self.rounds) - 1), self.penalties[name]

    def test_seconds(self, names: Sequence[str]) -> float:
        """Return what it takes to measure these on test."""
        return costs.to_the_end([self.prices[name] for name in names], self.sizes, self.sizes.train + self.sizes.val)

    def curve_seconds(self, name: str) -> float:
        """Return what it takes to see how a candidate's probe depends on the number of labels: about a round's."""
        return self.prices[name].probe(self.sizes.train + self.sizes.val)

    def audit_seconds(self, name: str) -> float:
        """Return what an audit takes on a candidate's features of all splits: some copies of images, and a probe."""
        price = self.prices[name]
        copies = twins.COPIED * len(twins.ALTERATIONS)
        return costs.images([price], copies) + price.probe(sum(self.sizes)) + costs.OVERHEAD

    def _fit(self, done: int, names: Sequence[str]) -> bool:
        prices = [self.prices[name] for name in names]
        return costs.to_the_end(prices, self.sizes, done) <= self.clock.left

    def _round(self, names: Sequence[str], part: int, label: str) -> Round:
        labels = self.parts.labels(part)
        right: dict[str, np.ndarray] = {}
        with self.log(len(names)) as shown:
            for name in names:
                shown.now(f"{label}: probe on {name}")
                answers, self.penalties[name] = folds.out_of_fold(self.parts.features(name, part), labels, self.device)
                right[name] = answers == labels
                shown.advance()
        return Round(right, metrics.get(self.metric).example_weights(labels))
