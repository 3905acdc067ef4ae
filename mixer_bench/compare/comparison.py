"""Two models, paired by seed and example, on every task and setting that both have; corrected over all. Pure.

A row pairs records of one task version, data, subset, limit, metric, protocol version and config. A name that stands
for several checkpoints, resolutions or precisions is refused, since a mean over them is of no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mixer_bench.errors import ResultsError, UsageError, unknown
from mixer_bench.results import answers
from mixer_bench.results.answers import Answers
from mixer_bench.results.record import Record, Run
from mixer_bench.results.setting import Setting, Variant
from mixer_bench.results.store import Store
from mixer_bench.stats import metrics, paired, ranks
from mixer_bench.stats.paired import Comparison

MIN_TASKS = 2  # of a summary over tasks
DIGITS = 12  # decimals in which accuracies are compared: below is rounding
Place = tuple[Variant, Setting]  # must be the same in both: all of a run but its model and seed


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
class Found:
    """The comparison of two models."""

    a: str
    b: str
    rows: tuple[Row, ...]
    overall: tuple[Overall, ...]
    notes: tuple[str, ...]  # settings of one model alone, seeds left out
    problems: tuple[str, ...]  # what could not be compared though both have it


def compare(records: Sequence[Record], store: Store, a: str, b: str, protocol: str | None = None) -> Found:
    """Compare models ``a`` and ``b``, each a name or a name with its variant as ``choose`` spells it.

    Args:
        records: of the results folder.
        store: where their predictions lie.
        a: one model.
        b: the other.
        protocol: only this one; all if None.

    Raises:
        UsageError: an unknown model or protocol, twice the same, or a name that stands for several variants.
        ResultsError: nothing that both have.
    """
    if a == b:
        raise UsageError(f"{a!r} is named twice: name two models")
    known = {record.run.protocol for record in records}
    if protocol not in (None, *known):
        raise unknown("protocol of the records", str(protocol), known)
    sides = [_by_place(choose(records, name), protocol) for name in (a, b)]
    common = [place for place in sides[0] if place in sides[1]]
    if not common:
        raise ResultsError(f"no task and setting that both {a} and {b} have records of; run both with the same command")
    names = _settings([sides[0][place][0].run for place in common])
    found: list[tuple[Place, _Pair]] = []
    problems: list[str] = []
    notes = _alone(a, sides[0], sides[1]) + _alone(b, sides[1], sides[0])
    for place in common:
        pair = _read(sides[0][place], sides[1][place], store)
        problems += pair.problems
        notes += [f"{names[place]} on {_task_of(place)}: {line}" for line in pair.lines]
        if pair.seeds:
            found.append((place, pair))
    results = [pair.compared() for _, pair in found]
    adjusted = paired.holm([result.p for result in results])
    rows = tuple(
        Row(pair.a[0].run, names[place], pair.seeds, pair.unshared, *pair.means(), result, p)
        for (place, pair), result, p in zip(found, results, adjusted, strict=True)
    )
    return Found(a, b, rows, _overall(rows), tuple(notes), tuple(problems))


def choose(records: Sequence[Record], name: str) -> list[Record]:
    """The records of one variant of a model: its name, or ``name (448 px)`` as the error for an ambiguous one lists.

    Raises:
        UsageError: there is none of that name, or it stands for several variants.
    """
    named = {record.run.model for record in records}
    labels: dict[str, list[Record]] = {}
    for model in named:
        labels.update(_variants([record for record in records if record.run.model == model]))
    if name in labels:
        return labels[name]
    if name in named:
        several = sorted(label for label, group in labels.items() if group[0].run.model == name)
        raise UsageError(
            f"{name!r} stands for {len(several)} variants in these results; name one, in quotes, or keep them in "
            f"folders of their own: {', '.join(map(repr, several))}"
        )
    raise unknown("model of the records", name, labels)


def _variants(records: Sequence[Record]) -> dict[str, list[Record]]:
    """One model's records by what tells its variants apart; how images are resized is the task's affair."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        run = record.run
        shown = run.preprocessing.model_dump(mode="json", exclude={"resize", "resolution"})
        kind = (run.weights, run.preprocessing.resolution, run.precision, json.dumps(shown, sort_keys=True))
        groups.setdefault(kind, []).append(record)
    words = [(f"weights {kind[0][:8]}", f"{kind[1]} px", kind[2], f"preprocessing {kind[3]}") for kind in groups]
    telling = [part for part in range(4) if len({word[part] for word in words}) > 1]
    name = records[0].run.model
    return {
        name + (f" ({', '.join(word[part] for part in telling)})" if telling else ""): group
        for word, group in zip(words, groups.values(), strict=True)
    }


def _by_place(records: Sequence[Record], protocol: str | None) -> dict[Place, list[Record]]:
    """Records by what must be the same in both models, each place's by seed.

    Raises:
        UsageError: one place has several records of a seed.
    """
    places: dict[Place, dict[int, Record]] = {}
    order = sorted(records, key=lambda r: (r.run.task, r.run.protocol, r.run.config.get("shots") or 0, r.run.seed))
    for record in order:
        run = record.run
        if protocol not in (None, run.protocol):
            continue
        place = _place(run)
        if run.seed in places.setdefault(place, {}):
            raise UsageError(
                f"{run.model} on {run.task}, {run.protocol}, seed {run.seed} is there twice, with images resized in "
                "two ways; keep them in folders of their own"
            )
        places[place][run.seed] = record
    return {place: [by_seed[seed] for seed in sorted(by_seed)] for place, by_seed in places.items()}


def _place(run: Run) -> Place:
    return run.variant, run.setting


def _task_of(place: Place) -> str:
    """The task of a place, with its version and limit."""
    variant, _ = place
    limit = f", limit {variant.limit}" if variant.limit else ""
    return f"{variant.task} (version {variant.task_version}{limit})"


def _settings(runs: Sequence[Run]) -> dict[Place, str]:
    """A name for each place: protocol and shots, and the settings in which places of one task differ besides."""
    places = {_place(run): run for run in runs}
    short = {place: _short(run) for place, run in places.items()}
    names = {}
    for place, run in places.items():
        twins = [other for key, other in places.items() if short[key] == short[place] and key[0] == place[0]]
        values = [{**twin.config, "version": twin.protocol_version} for twin in twins]
        own = {**run.config, "version": run.protocol_version}
        telling = [key for key in own if len({json.dumps(value.get(key)) for value in values}) > 1]
        names[place] = " ".join([short[place], *(f"{key}={json.dumps(own[key])}" for key in telling)])
    return names


def _short(run: Run) -> str:
    shots = run.config.get("shots")
    return f"{run.protocol} {shots}-shot" if shots else run.protocol


def _alone(name: str, own: Mapping[Place, list[Record]], other: Mapping[Place, list[Record]]) -> list[str]:
    return [
        f"only {name} has {_short(group[0].run)} on {_task_of(place)}"
        for place, group in own.items()
        if place not in other
    ]


@dataclass(frozen=True)
class _Pair:
    """Answers of both models by the seeds that both have."""

    a: tuple[Answers, ...]
    b: tuple[Answers, ...]
    unshared: tuple[int, ...]
    problems: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(one.run.seed for one in self.a)

    def means(self) -> tuple[float, float]:
        return float(np.mean([one.value for one in self.a])), float(np.mean([one.value for one in self.b]))

    def compared(self) -> Comparison:
        a, b = (np.array([one.right for one in side], dtype=np.float64) for side in (self.a, self.b))
        label = self.a[0].label
        assert label is not None
        return paired.compare(a, b, metrics.of_record(self.a[0].run.metric).example_weights(label))


def _read(a: Sequence[Record], b: Sequence[Record], store: Store) -> _Pair:
    """Answers of the seeds that both have; those without predictions, or on other examples, are problems."""
    seeds = [{record.run.seed for record in side} for side in (a, b)]
    read = [
        [answers.answers(record, store) for record in side if record.run.seed in seeds[0] & seeds[1]] for side in (a, b)
    ]
    problems = [line for side in read for _, line in side if line is not None]
    kept: list[tuple[Answers, Answers]] = []
    for (one, _), (other, _) in zip(*read, strict=True):
        if one.labels is None or other.labels is None:
            continue
        # Over seeds as well: all rows of the matrix must be of the same examples.
        if one.labels != other.labels or (kept and kept[0][0].labels != one.labels) or one.n_test < 2:  # noqa: PLR2004
            problems.append(
                f"{one.run.model} and {other.run.model} on {one.run.task}, seed {one.run.seed}: not the same examples "
                "in the same order; run both again"
            )
            continue
        kept.append((one, other))
    unshared = tuple(sorted(seeds[0] ^ seeds[1]))
    lines = [f"seeds {', '.join(map(str, unshared))} are of one model alone and left out"] if unshared else []
    return _Pair(tuple(p[0] for p in kept), tuple(p[1] for p in kept), unshared, tuple(problems), tuple(lines))


def _overall(rows: Sequence[Row]) -> tuple[Overall, ...]:
    found = []
    for setting in dict.fromkeys(row.setting for row in rows):
        members = [row for row in rows if row.setting == setting]
        if len({row.run.task for row in members}) < max(MIN_TASKS, len(members)):
            continue  # too few, or a task in two versions, which would count twice
        differences = np.round([row.comparison.difference for row in members], DIGITS)
        found.append(
            Overall(
                setting,
                len(members),
                float(differences.mean()),
                int((differences > 0).sum()),
                int((differences == 0).sum()),
                int((differences < 0).sum()),
                p := ranks.wilcoxon(differences, np.zeros(len(members))),
                p,
            )
        )
    adjusted = paired.holm([one.p_alone for one in found])
    return tuple(replace(one, p=p) for one, p in zip(found, adjusted, strict=True))
