"""Two models, or two protocols of one, paired by seed and example wherever both have records; corrected over all. Pure.

A row pairs records of one task version, data, subset, limit and metric; two models' of one protocol version and config
as well. A name that stands for several checkpoints, resolutions or precisions is refused, since a mean over them is of
no model.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from mixer_bench.errors import ResultsError, UsageError, unknown
from mixer_bench.results import answers, naming
from mixer_bench.results.answers import Pair
from mixer_bench.results.record import Record, Run
from mixer_bench.results.setting import Setting, Variant
from mixer_bench.results.store import Store
from mixer_bench.stats import paired, ranks
from mixer_bench.stats.paired import Comparison
from mixer_bench.system.grouping import grouped

MIN_TASKS = 2  # of a summary over tasks
DIGITS = 12  # decimals in which accuracies are compared: below is rounding
Place = tuple[Variant, Setting]  # what must be the same in both models


@dataclass(frozen=True)
class Row:
    """One task and setting. Shares in [0, 1], differences A - B."""

    run: Run  # of A, its lowest seed
    setting: str  # for people
    seeds: tuple[int, ...]  # that both have
    unshared: tuple[int, ...]  # that one alone has: not used
    a: float
    b: float
    comparison: Comparison
    p: float  # corrected over all rows (Holm)

    @property
    def verdict(self) -> Literal["better", "worse", "not told apart"]:
        """What is known of A beside B, at the 5 % level after the correction."""
        if self.p > paired.LEVEL:
            return "not told apart"
        return "better" if self.comparison.difference > 0 else "worse"


@dataclass(frozen=True)
class Overall:
    """One setting over the tasks on which both have it."""

    setting: str
    tasks: int
    difference: float  # mean over tasks, A - B
    wins: int  # of A
    ties: int
    losses: int
    p_alone: float  # Wilcoxon's signed-rank test
    p: float  # corrected over all settings (Holm)


@dataclass(frozen=True)
class Outcome:
    """The comparison of two models, or of two protocols of one."""

    a: str
    b: str
    model: str | None  # whose protocols A and B are; None: they are models
    rows: tuple[Row, ...]
    overall: tuple[Overall, ...]
    notes: tuple[str, ...]  # settings of one model alone, seeds left out
    problems: tuple[str, ...]  # what could not be compared though both have it


def compare(records: Sequence[Record], store: Store, a: str, b: str, protocol: str | None = None) -> Outcome:
    """Compare models ``a`` and ``b``, each named as ``choose`` takes it, under all protocols or one of them.

    Raises:
        UsageError: an unknown model or protocol, twice the same, or a name that stands for several variants.
        ResultsError: nothing that both have.
    """
    if a == b:
        raise UsageError(f"{a!r} is named twice: name two models, or two protocols of one (--protocols)")
    _check_protocols(records, [] if protocol is None else [protocol])
    sides = [_by_place(choose(records, name), protocol) for name in (a, b)]
    common = [place for place in sides[0] if place in sides[1]]
    if not common:
        raise ResultsError(f"no task and setting that both {a} and {b} have records of; run both with the same command")
    names = _names(common)
    matches = [_Match(names[place], place, sides[0][place], sides[1][place]) for place in common]
    notes = _alone(a, sides[0], sides[1]) + _alone(b, sides[1], sides[0])
    return _outcome(Outcome(a, b, None, (), (), tuple(notes), ()), matches, store)


def compare_protocols(
    records: Sequence[Record], store: Store, model: str, protocols: Sequence[str], unseeded: Collection[str] = ()
) -> Outcome:
    """Compare two protocols of one model, each setting of one with each of the other on the same task.

    Args:
        records: of the results folder.
        store: where their predictions lie.
        model: its name, as ``compare`` takes it.
        protocols: two.
        unseeded: those that draw nothing: their one run on a task is compared with every seed of the other's.

    Raises:
        UsageError: an unknown model or protocol, or not two of them.
        ResultsError: no task on which the model has records of both.
    """
    if len(set(protocols)) != 2:  # noqa: PLR2004
        raise UsageError(f"--protocols {','.join(protocols)}: name two, such as finetune,linear")
    _check_protocols(records, protocols)
    mine = choose(records, model)
    sides = [_by_place(mine, protocol) for protocol in protocols]
    names = _names([*sides[0], *sides[1]])
    matches = [
        _Match(f"{names[first]} against {names[second]}", first, sides[0][first], sides[1][second])
        for first, second in itertools.product(*sides)
        if first[0] == second[0]
    ]
    if not matches:
        raise ResultsError(f"no task on which {model} has records of both {' and '.join(protocols)}; run both")
    a, b = protocols
    return _outcome(Outcome(a, b, model, (), (), (), ()), matches, store, [name in unseeded for name in protocols])


class _Match(NamedTuple):
    """Records to be paired."""

    name: str  # of the setting, or of both
    place: Place  # of A
    a: Sequence[Record]
    b: Sequence[Record]


def _outcome(
    bare: Outcome, matches: Sequence[_Match], store: Store, unseeded: Sequence[bool] = (False, False)
) -> Outcome:
    """Return the comparison of all that matches."""
    reader = answers.Reader(store.answers)
    pairs = [(match, answers.pair(match.a, match.b, reader, unseeded)) for match in matches]
    what = "protocol" if bare.model else "model"
    notes = [
        f"{match.name} on {_task(match.place)}: seeds {', '.join(map(str, pair.unshared))} are of one {what} alone, "
        "not used"
        for match, pair in pairs
        if pair.unshared
    ]
    notes += [
        f"{match.name} on {_task(match.place)}: every seed drew all there is, so that its seeds are one"
        for match, pair in pairs
        if len(pair.seeds) > 1 and all(record.drawn and record.drawn.whole for record in match.a)
    ]
    rows = _rows([(match.name, pair) for match, pair in pairs if pair.seeds])
    problems = tuple(problem for _, pair in pairs for problem in pair.problems)
    return replace(bare, rows=rows, overall=_overall(rows), notes=(*bare.notes, *notes), problems=problems)


def _check_protocols(records: Sequence[Record], asked: Sequence[str]) -> None:
    known = {record.run.protocol for record in records}
    for protocol in asked:
        if protocol not in known:
            raise unknown("protocol of the records", protocol, known)


def choose(records: Sequence[Record], name: str) -> list[Record]:
    """Return the records of one variant of a model: its name, or ``name (448 px)`` as errors and tables spell it.

    Raises:
        UsageError: there is none of that name, or it stands for several variants.
    """
    groups = grouped(records, lambda record: _resized_alike(record.run).network)
    labels = naming.models({network: _resized_alike(group[0].run) for network, group in groups.items()})
    named = {labels[network]: group for network, group in groups.items()}
    if name in named:
        return named[name]
    if several := sorted(label for label, group in named.items() if group[0].run.model == name):
        raise UsageError(
            f"{name!r} stands for {len(several)} variants in these results; name one, in quotes, or keep them in "
            f"folders of their own: {', '.join(map(repr, several))}"
        )
    raise unknown("model of the records", name, named)


def _resized_alike(run: Run) -> Run:
    """Leave out how images are resized, which is the task's affair."""
    side = run.preprocessing.model_copy(update={"resize": "squash"})
    return run.model_copy(update={"preprocessing": side})


def _by_place(records: Sequence[Record], protocol: str | None) -> dict[Place, list[Record]]:
    """Return the records of each task and setting, by seed.

    Raises:
        UsageError: one place has several records of a seed.
    """
    order = sorted(records, key=lambda r: (r.run.task, r.run.protocol, r.run.setting.shots or 0, r.run.seed))
    wanted = [record for record in order if protocol in (None, record.run.protocol)]
    places = grouped(wanted, lambda record: (record.run.variant, record.run.setting))
    for group in places.values():
        for record, following in itertools.pairwise(group):
            run = record.run
            if run.seed == following.run.seed:
                raise UsageError(
                    f"{run.model} on {run.task}, {run.protocol}, seed {run.seed} is there twice, with images resized "
                    "in two ways; keep them in folders of their own"
                )
    return places


def _names(places: Sequence[Place]) -> dict[Place, str]:
    """Name each place by its setting, with what tells it from others of the same task and protocol."""
    names: dict[Place, str] = {}
    for (variant, _), alike in grouped(places, lambda place: (place[0], place[1].protocol)).items():
        words = naming.settings([setting for _, setting in alike])
        names.update({(variant, setting): words[setting] for setting in words})
    return names


def _task(place: Place) -> str:
    variant = place[0]
    limit = f", limit {variant.limit}" if variant.limit else ""
    return f"{variant.task} (version {variant.task_version}{limit})"


def _alone(name: str, places: Collection[Place], others: Collection[Place]) -> list[str]:
    names = _names([*places, *(place for place in others if place not in places)])
    return [f"only {name} has {names[place]} on {_task(place)}" for place in places if place not in others]


def _rows(pairs: Sequence[tuple[str, Pair]]) -> tuple[Row, ...]:
    results = [pair.compared() for _, pair in pairs]
    adjusted = paired.holm([result.p for result in results])
    return tuple(
        Row(pair.a[0].run, name, pair.seeds, pair.unshared, *pair.means, result, p)
        for (name, pair), result, p in zip(pairs, results, adjusted, strict=True)
    )


def _overall(rows: Sequence[Row]) -> tuple[Overall, ...]:
    summaries = []
    for setting, members in grouped(rows, lambda row: row.setting).items():
        if len({row.run.task for row in members}) < max(MIN_TASKS, len(members)):
            continue  # too few, or a task in two versions, which would count twice
        differences = np.round([row.comparison.difference for row in members], DIGITS)
        wins, ties, losses = (int((np.sign(differences) == sign).sum()) for sign in (1, 0, -1))
        p = ranks.wilcoxon(differences, np.zeros(len(members)))
        summaries.append(Overall(setting, len(members), float(differences.mean()), wins, ties, losses, p, p))
    adjusted = paired.holm([summary.p_alone for summary in summaries])
    return tuple(replace(summary, p=p) for summary, p in zip(summaries, adjusted, strict=True))
