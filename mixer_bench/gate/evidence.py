"""What the runs of either side were made with, and which results say nothing of the code that is installed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from mixer_bench.results import made
from mixer_bench.results.answers import Answers
from mixer_bench.results.made import Made


@dataclass(frozen=True)
class Side:
    """What the runs of a baseline or a results folder were made with."""

    made: tuple[Made, ...] = ()  # of each run
    # Runs by concern in which other code than is installed made them.
    other_code: Counter[str] = field(default_factory=Counter)
    stale: int = 0  # runs made by other code in any concern

    @staticmethod
    def of(answers: Sequence[Answers]) -> Side:
        """Return what runs were made with."""
        others = [made.other_code(each.made, each.run.protocol) for each in answers]
        concerns = Counter(concern for several in others for concern in several)
        return Side(tuple(each.made for each in answers), concerns, sum(map(bool, others)))


@dataclass(frozen=True)
class Evidence:
    """Both sides of the gate."""

    baseline: Side = field(default_factory=Side)
    results: Side = field(default_factory=Side)

    @property
    def stale(self) -> list[str]:
        """Say how many runs of the results are no evidence of the code that is installed; empty where all are."""
        side = self.results
        if not side.stale:
            return []
        where = ", ".join(sorted(side.other_code))
        what = f"{side.stale} of {len(side.made)} runs of the results were made by other code than is installed"
        return [f"{what} ({where}): do them again, mixer-bench run ... --fresh, and check again"]

    @property
    def lines(self) -> list[str]:
        """Say what either side was made with, and in what else the two differ."""
        lines = [f"{name}: {_words(side)}" for name, side in (("baseline", self.baseline), ("results", self.results))]
        before, now = made.values(self.baseline.made), made.values(self.results.made)
        besides = made.differing(before, now)
        return [*lines, f"made with, besides: {'; '.join(besides)}"] if besides else lines


def _words(side: Side) -> str:
    return made.words(side.made, sorted(side.other_code)) if side.made else "no runs"
