"""The gate on accuracy: runs against a baseline, pass or fail. Prints nothing.

It fails where a run is missing, measures another thing than it did, or was made by other code than is installed, of
which it says nothing; and where accuracy dropped: by more than
``min_drop`` and by more than reruns explain, at a level that a whole folder of reruns without any drop passes in 99 %.
Groups of runs that differ by seed alone are judged singly, and all groups of a protocol together: what each loses may
be too little to be seen.

Of 1,000 simulated reruns of the embedded tasks (24 groups of three seeds) none failed where one answer in a thousand
flips, more than was ever seen; 0.3 and 0.6 % did where 5 and 10 % of the answers flip either way, as in training on
GPUs. Three points lost in one group are found in 100, 97 and 73 % of cases; lost in all three settings of a model on a
task, in 100, 100 and 95 %. Where whole runs end better or worse by half a point besides, 1.1 % fail, by a point 2.9 %:
three seeds cannot tell that from a drop. Other seeds are no rerun: 6 % would fail (``tests/stats/test_change.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from mixer_bench.gate.evidence import Evidence, Side
from mixer_bench.results.answers import Answers, Pair, mean_value
from mixer_bench.results.naming import changes
from mixer_bench.results.record import Run
from mixer_bench.stats import change as reruns
from mixer_bench.stats import metrics, paired, together
from mixer_bench.stats.change import Change
from mixer_bench.system.grouping import grouped

ALPHA = 0.01  # false alarms of a whole results folder
# Share of it that is for the groups of a protocol together, which are few tests: k-NN without val as neighbours, 0.9
# points in the mean of 8 groups, has p = 0.0003. More costs single groups: with a half of it 69 % are found of
# 3 points lost where 10 % of the answers flip, with a fifth 73, without any 75.
OF_POOLED = 0.2
# What other hardware or another library version may move without harm. With 642 examples and three seeds a drop is
# significant from about 0.6 points up whatever is tolerated; this counts for larger test sets.
MIN_DROP = 0.005
Verdict = Literal["drop", "missing", "changed", "unpaired examples", "ok", "better", "new"]
FAILING: tuple[Verdict, ...] = ("drop", "missing", "changed", "unpaired examples")
PAIRED, UNPAIRED = "paired by seed and example", "unpaired: values and sampling noise alone"


@dataclass(frozen=True)
class Row:
    """Runs that differ by seed alone, or one run that has no partner. Shares in [0, 1]."""

    run: Run  # of the lowest seed
    seeds: tuple[int, ...]
    verdict: Verdict
    before: float | None = None
    now: float | None = None
    change: Change | None = None
    p: float | None = None  # of no drop, one-sided, corrected over all groups
    method: str = ""
    reason: str = ""  # what is missing or changed, or cannot be paired

    @property
    def fails(self) -> bool:
        """Whether the gate fails by it."""
        return self.verdict in FAILING


@dataclass(frozen=True)
class Together:
    """All groups of one protocol that were compared answer by answer, judged as one. Shares in [0, 1]."""

    protocol: str
    groups: int
    verdict: Verdict
    before: float  # mean over groups
    now: float
    change: Change
    p: float  # as a row's

    @property
    def fails(self) -> bool:
        """Whether the gate fails by it."""
        return self.verdict in FAILING


@dataclass(frozen=True)
class Outcome:
    """All rows, failing ones first. Files that could not be read and evidence of other code fail, too."""

    rows: tuple[Row, ...]
    together: tuple[Together, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)

    @property
    def judged(self) -> tuple[Row | Together, ...]:
        """All that has a verdict."""
        return (*self.rows, *self.together)

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not (self.problems or self.evidence.stale or any(each.fails for each in self.judged))


def check(before: Sequence[Answers], now: Sequence[Answers], min_drop: float = MIN_DROP) -> Outcome:
    """Compare the runs of a results folder with those of a baseline; ``min_drop`` in [0, 1]."""
    matched, lost, new = _matched(before, now)
    matched.sort(key=lambda both: both[1].run.seed)
    groups = grouped(matched, lambda both: both[1].run.but_seed).values()
    pairs = [Pair(*zip(*group, strict=True)) for group in groups]
    compared, pools = _compared(pairs, min_drop)
    rows = [*_unmatched(lost, new), *compared]
    order = {verdict: place for place, verdict in enumerate((*FAILING, "better", "ok", "new"))}
    rows.sort(key=lambda row: (order[row.verdict], *_request(row.run)[:-1]))
    return Outcome(tuple(rows), tuple(pools), evidence=Evidence(Side.of(before), Side.of(now)))


def _matched(
    before: Sequence[Answers], now: Sequence[Answers]
) -> tuple[list[tuple[Answers, Answers]], list[Answers], list[Answers]]:
    """Pair runs of one key, under the same name if there is one; and return those of either side without a partner.

    A run of the results is the partner of one run alone: two names of the same weights are two runs.
    """
    left = {_named(answers.run): answers for answers in now}
    partners = {_named(answers.run): left.pop(_named(answers.run), None) for answers in before}
    renamed = grouped(left.values(), lambda answers: answers.run.key)
    pairs, lost = [], []
    for answers in before:
        partner = partners[_named(answers.run)]
        if partner is None and renamed.get(answers.run.key):
            partner = renamed[answers.run.key].pop(0)
            del left[_named(partner.run)]
        if partner is None:
            lost.append(answers)
        else:
            pairs.append((answers, partner))
    return pairs, lost, list(left.values())


def _named(run: Run) -> tuple[str, str]:
    return run.model, run.key


def _unmatched(lost: Sequence[Answers], new: Sequence[Answers]) -> list[Row]:
    """Return the rows of runs without a partner: changed where a new run asks for the same, missing, or new."""
    left = {_named(answers.run): answers for answers in new}
    requests = grouped(new, lambda answers: _request(answers.run))
    verdicts: list[tuple[Verdict, str, Answers]] = []
    for answers in lost:
        twins = [twin.run for twin in requests.get(_request(answers.run), []) if _named(twin.run) in left]
        if twins:
            twin = min(twins, key=lambda run: (len(changes(answers.run, run)), run.key))
            del left[_named(twin)]
            verdicts.append(("changed", "; ".join(changes(answers.run, twin)), answers))
        else:
            verdicts.append(("missing", "not in the results", answers))
    verdicts += [("new", "not in the baseline", answers) for answers in left.values()]
    rows = []
    for (verdict, reason, _), group in grouped(verdicts, lambda v: (v[0], v[1], v[2].run.but_seed)).items():
        members = sorted((answers for _, _, answers in group), key=lambda answers: answers.run.seed)
        value, seeds = mean_value(members), tuple(answers.run.seed for answers in members)
        before, now = (None, value) if verdict == "new" else (value, None)
        rows.append(Row(members[0].run, seeds, verdict, before, now, reason=reason))
    return rows


def _request(run: Run) -> tuple[Any, ...]:
    """Return what a user asks for; the rest of a run's identity follows from code, data and weights."""
    return (run.task, run.model, run.protocol, run.setting.shots or 0, run.seed)


def _compared(pairs: Sequence[Pair], min_drop: float) -> tuple[list[Row], list[Together]]:
    """Return the rows of runs with a partner, before and now, and each protocol's groups together; A is before."""
    foreign = grouped(pairs, _of_other_examples)
    reason = "other labels, or in another order, than in the baseline"
    rows = [
        Row(pair.b[0].run, pair.seeds, "unpaired examples", *pair.means, reason=reason)
        for pair in foreign.get(True, [])
    ]
    by_example = grouped(foreign.get(False, []), _has_answers)
    whole, bare = by_example.get(True, []), by_example.get(False, [])
    # Scatter among seeds is judged from all groups of one protocol and config.
    tested = reruns.changes([(_difference(pair), pair.b[0].weights, pair.b[0].run.setting.text) for pair in whole])
    tested += map(_unpaired, bare)
    methods = [PAIRED] * len(whole) + [UNPAIRED] * len(bare)
    pools = _pools(whole)
    pooled = [together.together([_group(pair) for pair in pool]) for pool in pools]
    judged = judge(tested, pooled, min_drop)
    rows += [
        Row(pair.b[0].run, pair.seeds, verdict, *pair.means, change, p, method)
        for pair, change, method, (verdict, p) in zip([*whole, *bare], tested, methods, judged, strict=False)
    ]
    return rows, [
        Together(pool[0].b[0].run.protocol, len(pool), verdict, *_means(pool), change, p)
        for pool, change, (verdict, p) in zip(pools, pooled, judged[len(tested) :], strict=True)
    ]


def _pools(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Return the groups of each protocol that has several, to be judged together."""
    return [pool for pool in grouped(pairs, lambda pair: pair.b[0].run.protocol).values() if len(pool) > 1]


def _means(pool: Sequence[Pair]) -> tuple[float, float]:
    before, now = zip(*(pair.means for pair in pool), strict=True)
    return float(np.mean(before)), float(np.mean(now))


def judge(
    single: Sequence[Change], pooled: Sequence[Change] = (), min_drop: float = MIN_DROP
) -> list[tuple[Verdict, float]]:
    """Return the verdict and p of no drop of each group of a results folder, then of each protocol's groups together.

    Either kind has its share of the level, corrected over all that share it (Holm).
    """
    judged: list[tuple[Verdict, float]] = []
    of_pooled = OF_POOLED if pooled else 0.0
    for tested, share in ((single, 1 - of_pooled), (pooled, of_pooled)):
        drops = [min(1.0, p / share) for p in paired.holm([change.p_drop for change in tested])]
        rises = [min(1.0, p / share) for p in paired.holm([change.p_rise for change in tested])]
        for change, drop, rise in zip(tested, drops, rises, strict=True):
            if drop <= ALPHA and -change.difference > min_drop:
                judged.append(("drop", drop))
            elif rise <= ALPHA and change.difference > min_drop:
                judged.append(("better", drop))
            else:
                judged.append(("ok", drop))
    return judged


def _of_other_examples(pair: Pair) -> bool:
    both = list(zip(pair.a, pair.b, strict=True))
    return any(a.n_test != b.n_test or (a.labels and b.labels and a.labels != b.labels) for a, b in both)


def _has_answers(pair: Pair) -> bool:
    by_example = metrics.pairs(pair.b[0].run.metric)
    return by_example and all(side.right is not None and side.n_test > 1 for side in (*pair.a, *pair.b))


def _group(pair: Pair) -> together.Group:
    now = pair.b[0]
    return together.Group(_difference(pair), now.weights, f"{now.run.task} {now.n_test}")


def _difference(pair: Pair) -> np.ndarray:
    """Return correctness now less before, int8 [S, N]: those of all groups are held at once."""
    before, now = pair.right
    return np.asarray(now.astype(np.int8) - before)


def _unpaired(pair: Pair) -> Change:
    """Compare two proportions by the normal approximation.

    The noise is the test sample's, which seeds do not shrink, and the seeds'.
    """
    before, now = (np.array([answers.value for answers in side]) for side in (pair.a, pair.b))
    sampling = [float(side.mean() * (1 - side.mean())) / pair.b[0].n_test for side in (before, now)]
    among = float((now - before).var(ddof=1)) / len(now) if len(now) > 1 else 0.0
    difference, error = float((now - before).mean()), math.sqrt(sum(sampling) + among)
    normal = NormalDist()
    low = normal.cdf(difference / error) if error else (0.5 if difference == 0 else float(difference > 0))
    half = normal.inv_cdf(0.975) * error
    return Change(difference, (max(-1.0, difference - half), min(1.0, difference + half)), low, 1 - low, None)
