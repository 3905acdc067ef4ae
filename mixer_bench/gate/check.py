"""The gate on accuracy: runs against a baseline, pass or fail. Pure; prints nothing.

It fails where a run is missing, measures another thing than it did, or where accuracy dropped: by more than
``min_drop`` and by more than reruns explain, at a level that a whole folder of reruns without any drop passes in 99 %.

Of 1,000 simulated reruns of the embedded tasks (24 groups of three seeds) none failed where one answer in a thousand
flips, more than was ever seen; 0.4 and 0.7 % did where 5 and 10 % of the answers flip either way, as in training on
GPUs. Three points lost in one group are found in 100, 98 and 75 % of cases; lost in all three settings of a model on a
task, in 100, 100 and 95 %. Where whole runs end better or worse by half a point besides, 1.3 % fail, by a point 3.5 %:
three seeds cannot tell that from a drop. Other seeds are no rerun: 7 % would fail (``tests/test_reruns.py``).
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from mixer_bench.results.answers import Answers
from mixer_bench.results.naming import changes, setting
from mixer_bench.results.record import Run
from mixer_bench.stats import change as reruns
from mixer_bench.stats import metrics, paired
from mixer_bench.stats.change import Change

ALPHA = 0.01  # false alarms of a whole results folder
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
class Outcome:
    """All rows, failing ones first, and lines on files that could not be read, which fail, too."""

    rows: tuple[Row, ...]
    problems: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.problems and not any(row.fails for row in self.rows)


@dataclass(frozen=True)
class _Pair:
    before: Answers
    now: Answers


def check(before: Sequence[Answers], now: Sequence[Answers], min_drop: float = MIN_DROP) -> Outcome:
    """Compare the runs of a results folder with those of a baseline.

    Args:
        before: of the baseline.
        now: of the results folder.
        min_drop: smallest drop that fails, in [0, 1].
    """
    pairs, lost, new = _matched(before, now)
    groups = _grouped(pairs, lambda pair: setting(pair.now.run))
    rows = [*_unmatched(lost, new), *_compared(list(groups.values()), min_drop)]
    order = {verdict: place for place, verdict in enumerate((*FAILING, "better", "ok", "new"))}
    rows.sort(key=lambda row: (order[row.verdict], row.run.task, row.run.model, row.run.protocol, _shots(row.run)))
    return Outcome(tuple(rows))


def _matched(before: Sequence[Answers], now: Sequence[Answers]) -> tuple[list[_Pair], list[Answers], list[Answers]]:
    """Runs of one key, under the same name if there is one; and those of either side that have no partner.

    A run of the results is the partner of one run alone: two names of the same weights are two runs.
    """
    left = {_named(one.run): one for one in now}
    partners = {_named(one.run): left.pop(_named(one.run), None) for one in before}
    renamed = _grouped(left.values(), lambda one: one.run.key)
    pairs, lost = [], []
    for one in before:
        partner = partners[_named(one.run)]
        if partner is None and renamed.get(one.run.key):
            partner = renamed[one.run.key].pop(0)
            del left[_named(partner.run)]
        if partner is None:
            lost.append(one)
        else:
            pairs.append(_Pair(one, partner))
    return pairs, lost, list(left.values())


def _named(run: Run) -> tuple[str, str]:
    return run.model, run.key


def _unmatched(lost: Sequence[Answers], new: Sequence[Answers]) -> list[Row]:
    """Runs of the baseline that are not there: changed where a new run asks for the same, else missing."""
    left = {_named(one.run): one for one in new}
    requests = _grouped(new, lambda one: _request(one.run))
    found: list[tuple[Verdict, str, Answers]] = []
    for one in lost:
        twins = [other for other in requests.get(_request(one.run), []) if _named(other.run) in left]
        if twins:
            twin = min(twins, key=lambda other: (len(changes(one.run, other.run)), other.run.key))
            del left[_named(twin.run)]
            found.append(("changed", "; ".join(changes(one.run, twin.run)), one))
        else:
            found.append(("missing", "not in the results", one))
    found += [("new", "not in the baseline", one) for one in left.values()]
    rows = []
    for (verdict, reason, _), members in _grouped(found, lambda it: (it[0], it[1], setting(it[2].run))).items():
        ordered = sorted((it[2] for it in members), key=lambda one: one.run.seed)
        mean = float(np.mean([one.value for one in ordered]))
        before, now = (None, mean) if verdict == "new" else (mean, None)
        rows.append(Row(ordered[0].run, _seeds(ordered), verdict, before, now, reason=reason))
    return rows


def _request(run: Run) -> tuple[Any, ...]:
    """What a user asks for; the rest of a run's identity follows from code, data and weights."""
    return (run.task, run.model, run.protocol, _shots(run), run.seed)


def _shots(run: Run) -> int:
    return int(run.config.get("shots") or 0)


def _seeds(members: Iterable[Answers]) -> tuple[int, ...]:
    return tuple(one.run.seed for one in members)


def _compared(groups: Sequence[Sequence[_Pair]], min_drop: float) -> list[Row]:
    ordered = [sorted(group, key=lambda pair: pair.now.run.seed) for group in groups]
    sorted_out = _grouped(ordered, lambda group: any(map(_other_examples, group)))
    foreign, fitting = sorted_out.get(True, []), sorted_out.get(False, [])
    rows = [
        _row(
            group, "unpaired examples", None, None, "", reason="other labels, or in another order, than in the baseline"
        )
        for group in foreign
    ]
    tested = _tested(fitting)
    judged = judge([change for change, _ in tested], min_drop)
    return rows + [
        _row(group, verdict, change, p, method)
        for group, (change, method), (verdict, p) in zip(fitting, tested, judged, strict=True)
    ]


def judge(changes: Sequence[Change], min_drop: float = MIN_DROP) -> list[tuple[Verdict, float]]:
    """Of each group of a results folder the verdict, and p of no drop corrected over all of them (Holm)."""
    drops = paired.holm([change.p_drop for change in changes])
    rises = paired.holm([change.p_rise for change in changes])
    judged: list[tuple[Verdict, float]] = []
    for change, drop, rise in zip(changes, drops, rises, strict=True):
        if drop <= ALPHA and -change.difference > min_drop:
            judged.append(("drop", drop))
        elif rise <= ALPHA and change.difference > min_drop:
            judged.append(("better", drop))
        else:
            judged.append(("ok", drop))
    return judged


def _other_examples(pair: _Pair) -> bool:
    lacking = pair.before.labels is None or pair.now.labels is None
    return pair.before.n_test != pair.now.n_test or (not lacking and pair.before.labels != pair.now.labels)


def _row(
    group: Sequence[_Pair], verdict: Verdict, change: Change | None, p: float | None, method: str, reason: str = ""
) -> Row:
    before, now = (float(np.mean([one.value for one in side])) for side in _sides(group))
    return Row(group[0].now.run, _seeds(_sides(group)[1]), verdict, before, now, change, p, method, reason)


def _sides(group: Sequence[_Pair]) -> tuple[list[Answers], list[Answers]]:
    return [pair.before for pair in group], [pair.now for pair in group]


def _tested(groups: Sequence[Sequence[_Pair]]) -> list[tuple[Change, str]]:
    """The change of each group; scatter among seeds is judged from all groups of one protocol and config."""
    differences = [_difference(group) for group in groups]
    columns = [json.dumps([group[0].now.run.protocol, group[0].now.run.config], sort_keys=True) for group in groups]
    known = [
        (difference, _weights(group), column)
        for group, difference, column in zip(groups, differences, columns, strict=True)
        if difference is not None
    ]
    changes = iter(reruns.changes(known))
    return [
        (_unpaired(group), UNPAIRED) if difference is None else (next(changes), PAIRED)
        for group, difference in zip(groups, differences, strict=True)
    ]


def _weights(group: Sequence[_Pair]) -> np.ndarray | None:
    label = group[0].now.label
    return None if label is None else metrics.of_record(group[0].now.run.metric).example_weights(label)


def _difference(group: Sequence[_Pair]) -> np.ndarray | None:
    """Correctness now less before, [S, N]; None where a run has no predictions."""
    before, now = ([one.right for one in side] for side in _sides(group))
    if any(right is None or len(right) < 2 for right in (*before, *now)):  # noqa: PLR2004  variance needs two
        return None
    return np.array(now, dtype=np.float64) - np.array(before, dtype=np.float64)


def _unpaired(group: Sequence[_Pair]) -> Change:
    """Two proportions by the normal approximation: the test sample's noise, which seeds do not shrink, and seeds'."""
    before, now = (np.array([one.value for one in side]) for side in _sides(group))
    sampling = [float(side.mean() * (1 - side.mean())) / group[0].now.n_test for side in (before, now)]
    spread = float((now - before).var(ddof=1)) / len(group) if len(group) > 1 else 0.0
    difference, error = float((now - before).mean()), math.sqrt(sum(sampling) + spread)
    normal = NormalDist()
    low = normal.cdf(difference / error) if error else (0.5 if difference == 0 else float(difference > 0))
    half = normal.inv_cdf(0.975) * error
    return Change(difference, (max(-1.0, difference - half), min(1.0, difference + half)), low, 1 - low, None)


def _grouped(items: Iterable[Any], key: Any) -> dict[Any, list[Any]]:
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return dict(groups)
