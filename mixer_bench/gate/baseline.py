"""A baseline: the runs of a results folder and which answers were right, in one file small enough for git.

Indented and sorted, one entry for the runs that differ by seed alone and in it one a seed. An answer is a bit: 642
examples take 108 characters of base64.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from mixer_bench.errors import ResultsError
from mixer_bench.results.answers import Answers
from mixer_bench.results.record import Run
from mixer_bench.stats import metrics
from mixer_bench.system import files
from mixer_bench.system.schema import first_problem, read_versioned

SCHEMA_VERSION = 1
WAY_OUT = "write it again with: mixer-bench check BASELINE --update"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Seed(_Frozen):
    seed: int
    key: str
    value: float
    right: str  # which answers were right, in the split's order: bits, zlib, base64


class _Entry(_Frozen):
    run: dict[str, Any]  # a run's fields without the seed
    n_test: PositiveInt
    labels: str
    seeds: tuple[_Seed, ...]


class _File(_Frozen):
    schema_version: int = SCHEMA_VERSION
    groups: tuple[_Entry, ...]


def read(file: Path) -> list[Answers]:
    """The runs of a baseline, in the file's order.

    Raises:
        ResultsError: there is no such file, it is damaged or of another version; names it.
    """
    if not file.is_file():
        raise ResultsError(f"{file}: no such baseline; {WAY_OUT.replace('again ', '')}")
    try:
        values = _File.model_validate(read_versioned(file, "baseline", SCHEMA_VERSION, WAY_OUT))
        found = [_unpacked(entry, one) for entry in values.groups for one in entry.seeds]
    except ValidationError as error:
        raise ResultsError(f"{file}: not a whole baseline ({first_problem(error)}); {WAY_OUT}") from None
    except (ValueError, binascii.Error, zlib.error) as error:
        raise ResultsError(f"{file}: not a whole baseline ({error}); {WAY_OUT}") from None
    if not found:
        raise ResultsError(f"{file}: holds no runs; {WAY_OUT}")
    if len({(one.run.model, one.run.key) for one in found}) < len(found):
        raise ResultsError(f"{file}: holds a run twice; {WAY_OUT}")
    return found


def _unpacked(entry: _Entry, one: _Seed) -> Answers:
    run = Run.model_validate({**entry.run, "seed": one.seed})
    if run.key != one.key:
        raise ValueError(f"the run of key {one.key} was changed")
    packed = zlib.decompress(base64.b64decode(one.right, validate=True))
    if len(packed) != -(-entry.n_test // 8):
        raise ValueError(f"the run of key {one.key} has not {entry.n_test} answers")
    right = np.unpackbits(np.frombuffer(packed, np.uint8), count=entry.n_test).astype(bool)
    if not 0 <= one.value <= 1:
        raise ValueError(f"the run of key {one.key} has the value {one.value}, no share between 0 and 1")
    # The mean per class needs the labels, which a baseline does not hold.
    if run.metric == "top1" and not metrics.gives(one.value, right, None):
        raise ValueError(f"the run of key {one.key} has the value {one.value}, not what its answers give")
    return Answers(run, one.value, entry.n_test, entry.labels, right)


def write(file: Path, runs: Sequence[Answers]) -> None:
    """Write a baseline: a file whole or not at all, a pipe or device as it is.

    Raises:
        ResultsError: the file cannot be written, or a run is without answers: a baseline is never incomplete.
    """
    entries = defaultdict(list)
    for one in runs:
        if one.right is None or one.labels is None:
            raise ResultsError(f"no answers of {one.run.model} on {one.run.task}; the baseline is left as it was")
        shared = one.run.model_dump(mode="json", exclude={"seed"})
        entries[json.dumps(shared, sort_keys=True), one.n_test, one.labels].append(one)
    groups = [
        _Entry(run=json.loads(shared), n_test=count, labels=labels, seeds=tuple(map(_packed, _by_seed(members))))
        for (shared, count, labels), members in sorted(entries.items(), key=_place)
    ]
    values = _File(groups=tuple(groups)).model_dump(mode="json")
    try:
        files.deliver(file, json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    except OSError as error:
        raise ResultsError(f"cannot write {file}: {error.strerror}; the baseline is left as it was") from None


def _place(item: tuple[tuple[str, int, str], list[Answers]]) -> tuple[str, ...]:
    run = item[1][0].run
    return (run.task, run.model, run.protocol, *item[0][0:1], item[0][2])


def _by_seed(members: Sequence[Answers]) -> list[Answers]:
    return sorted(members, key=lambda one: one.run.seed)


def _packed(one: Answers) -> _Seed:
    assert one.right is not None
    bits = zlib.compress(np.packbits(one.right).tobytes(), 9)
    return _Seed(seed=one.run.seed, key=one.run.key, value=one.value, right=base64.b64encode(bits).decode())
