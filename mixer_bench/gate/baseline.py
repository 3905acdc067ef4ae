"""A baseline: the runs of a results folder and which answers were right, in one file small enough for git.

Indented and sorted, one entry for the runs that differ by seed alone and in it one a seed. An answer is a bit: 642
examples take 108 characters of base64.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError

from mixer_bench.errors import ResultsError
from mixer_bench.results.answers import Answers
from mixer_bench.results.made import Made
from mixer_bench.results.record import Run
from mixer_bench.stats import metrics
from mixer_bench.system import files
from mixer_bench.system.grouping import grouped
from mixer_bench.system.schema import Frozen, Sealed, first_problem, read_file, sealed_text

WAY_OUT = "write it again with: mixer-bench check BASELINE --update"


class _Seed(Frozen):
    seed: int
    key: str
    value: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    right: str  # which answers were right, in the split's order: bits, zlib, base64


class _Entry(Frozen):
    run: dict[str, Any]  # a run's fields without the seed
    n_test: PositiveInt
    labels: str
    made: NonNegativeInt  # place in the file's list
    seeds: tuple[_Seed, ...]


class _File(Sealed):
    schema_version: Literal[1] = 1
    made: tuple[Made, ...]  # what the runs were made with
    groups: tuple[_Entry, ...]


def read(file: Path) -> list[Answers]:
    """Return the runs of a baseline, in the file's order.

    Raises:
        ResultsError: there is no such file, it is damaged or of another version; names it.
    """
    if not file.is_file():
        raise ResultsError(f"{file}: no such baseline; {WAY_OUT.replace('again ', '')}")
    content = read_file(file, _File, "baseline", WAY_OUT)
    try:
        runs = [_unpacked(entry, seed, content.made) for entry in content.groups for seed in entry.seeds]
    except (ValueError, IndexError, zlib.error) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else error
        raise ResultsError(f"{file}: not a whole baseline ({reason}); delete it and {WAY_OUT}") from None
    if not runs:
        raise ResultsError(f"{file}: holds no runs; {WAY_OUT}")
    if len({(answers.run.model, answers.run.key) for answers in runs}) < len(runs):
        raise ResultsError(f"{file}: holds a run twice; {WAY_OUT}")
    return runs


def _unpacked(entry: _Entry, seed: _Seed, known: Sequence[Made]) -> Answers:
    run = Run.model_validate({**entry.run, "seed": seed.seed})
    if run.key != seed.key:
        raise ValueError(f"the run of key {seed.key} was changed")
    packed = zlib.decompress(base64.b64decode(seed.right))
    if len(packed) != -(-entry.n_test // 8):
        raise ValueError(f"the run of key {seed.key} has not {entry.n_test} answers")
    right = np.unpackbits(np.frombuffer(packed, np.uint8), count=entry.n_test).astype(bool)
    # Others than the plain share need the labels, which a baseline does not hold.
    plain = metrics.pairs(run.metric) and metrics.get(run.metric).weights is None
    if plain and abs(float(right.mean()) - seed.value) > metrics.ROUNDING:
        raise ValueError(f"the run of key {seed.key} has the value {seed.value}, not what its answers give")
    return Answers(run, seed.value, entry.n_test, entry.labels, right, known[entry.made])


def write(file: Path, runs: Sequence[Answers]) -> None:
    """Write a baseline: a file whole or not at all, a pipe or device as it is.

    Raises:
        ResultsError: the file cannot be written, or a run is without answers: a baseline is never incomplete.
    """
    if lacking := [answers.run for answers in runs if answers.right is None]:
        raise ResultsError(f"no answers of {lacking[0].model} on {lacking[0].task}; the baseline is left as it was")
    made = {_of_made(answers): answers.made for answers in runs}
    places = {text: place for place, text in enumerate(sorted(made))}
    groups = grouped(runs, lambda a: (a.run.but_seed, a.n_test, a.labels, places[_of_made(a)])).items()
    entries = [_packed(group, place) for (*_, place), group in groups]
    entries.sort(key=lambda entry: (*(entry.run[name] for name in ("task", "model", "protocol")), _text(entry.run)))
    content = _File(made=tuple(made[text] for text in places), groups=tuple(entries))
    files.deliver(file, sealed_text(content, indent=1), "the baseline is left as it was")


def _of_made(answers: Answers) -> str:
    return _text(answers.made.model_dump(mode="json"))


def _packed(group: Sequence[Answers], made: int) -> _Entry:
    first, seeds = group[0], []
    for answers in sorted(group, key=lambda answers: answers.run.seed):
        bits = zlib.compress(np.packbits(np.asarray(answers.right)).tobytes(), 9)
        right = base64.b64encode(bits).decode()
        seeds.append(_Seed(seed=answers.run.seed, key=answers.run.key, value=answers.value, right=right))
    shared = first.run.model_dump(mode="json", exclude={"seed"})
    return _Entry(run=shared, n_test=first.n_test, labels=str(first.labels), made=made, seeds=tuple(seeds))


def _text(values: Any) -> str:
    return json.dumps(values, sort_keys=True, ensure_ascii=False)
