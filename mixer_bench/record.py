"""Run, Record, Store: what was asked, what came out, and the folder that keeps it.

A run is identified by a hash of values, never by a file name; a record that exists is a run that finished.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import re
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from mixer_bench import arrays, atomic
from mixer_bench.card import Origin
from mixer_bench.errors import ResultsError
from mixer_bench.preprocessing import Preprocessing
from mixer_bench.source import Subset

SCHEMA_VERSION: Literal[1] = 1
Precision = Literal["fp32", "bf16", "fp16"]  # the lower two by autocast
KEY_DIGITS = 16  # 64 bits: a collision among a million records has a chance below 1 in 10^7


# Made once: for each of thousands of records that would take as long as their use.
_AS_JSON = json.JSONEncoder(sort_keys=True)
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Run(_Frozen):
    """Identity of one number: everything that can move it."""

    model: str  # for people; the weights hash is what counts
    weights: str  # SHA-256 of architecture and checkpoint
    preprocessing: Preprocessing
    task: str
    task_version: int
    data: str  # fingerprint of every picture, label and split
    subset: Subset
    limit: int | None  # at most so many examples a split
    metric: str  # the task's own: what selections go by
    protocol: str
    protocol_version: int
    config: dict[str, Any]
    seed: int
    precision: Precision

    @field_validator("task", "protocol")
    @classmethod
    def _names_a_place(cls, name: str) -> str:
        """Records of strangers are read, too: a name must not lead out of the results folder."""
        if not _is_name(name):
            raise ValueError(f"{name!r} is no name")
        return name

    @property
    def identity(self) -> dict[str, Any]:
        """All fields but the model's name, which may be an alias, as plain values."""
        return self.model_dump(mode="json", exclude={"model"})

    @functools.cached_property
    def key(self) -> str:
        """Hash of the canonical JSON of the identity, hexadecimal."""
        return _hash(self.identity)

    @functools.cached_property
    def setting(self) -> str:
        """The protocol with all its settings, as JSON."""
        return _AS_JSON.encode([self.protocol, self.protocol_version, self.config])

    @functools.cached_property
    def network(self) -> str:
        """The model with its checkpoint, preprocessing and precision, as text."""
        return f"{self.model} {self.weights} {self.preprocessing.model_dump_json()} {self.precision}"

    def __copy__(self) -> Run:
        """Without what was derived: after ``model_copy`` it may be another."""
        copied = super().__copy__()
        for derived in ("key", "setting", "network"):
            copied.__dict__.pop(derived, None)
        return copied


@functools.lru_cache(maxsize=4096)  # thousands of records have a few names
def _is_name(text: str) -> bool:
    return text.isprintable() and all(part.strip(". ") for part in re.split(r"[/\\]", text))


@functools.lru_cache(maxsize=4096)  # as above
def _as_folder(model: str) -> str:
    folder = re.sub(r"[^\w.=-]+", "_", model)
    return folder if folder.strip(".") else "_"


def _hash(values: dict[str, Any]) -> str:
    return hashlib.sha256(_CANONICAL.encode(values).encode()).hexdigest()[:KEY_DIGITS]


class Measured(_Frozen):
    """A metric's value in [0, 1] and the 95 % interval due to the size of the test split."""

    value: float
    ci95: tuple[float, float]

    @field_validator("value")
    @classmethod
    def _is_a_share(cls, value: float) -> float:
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise ValueError(f"{value} is no share between 0 and 1")
        return value


class Selection(_Frozen):
    """What was chosen, from which grid, by which score on which split."""

    parameter: str
    grid: tuple[float, ...]
    scores: tuple[float | None, ...]  # on `split`, in the grid's order; None where the training diverged
    chosen: float
    split: str
    examples: int
    at_edge: bool  # chosen is the grid's smallest or largest value: a better one may lie beyond

    @staticmethod
    def best(parameter: str, grid: Sequence[float], scores: Sequence[float | None], examples: int) -> Selection:
        """Choose the grid's value with the highest score on val, the first of equals; one without a score never."""
        chosen = grid[int(np.argmax([-math.inf if score is None else score for score in scores]))]
        return Selection(
            parameter=parameter,
            grid=tuple(grid),
            scores=tuple(scores),
            chosen=chosen,
            split="val",
            examples=examples,
            at_edge=len(grid) > 1 and chosen in (min(grid), max(grid)),
        )


class Cost(_Frozen):
    """What the run took here. ``images`` went through the network for this very run: 0 where features were shared."""

    images: int
    extract_s: float
    fit_s: float
    throughput: float | None  # images a second when the features were extracted, wherever that was; None: none were
    throughput_on: str  # device, threads and batch size of that
    trained_images: int = 0  # that this very run trained on; the search for a rate counts with the run that made it
    peak_memory: int | None  # bytes the process held at most; None where the system does not tell


class Record(_Frozen):
    """A run and what came out. Written once, never changed."""

    schema_version: Literal[1] = SCHEMA_VERSION
    run: Run
    metrics: dict[str, Measured]  # the task's own metric and the others
    num_classes: int
    n_train: int
    n_val: int
    n_test: int
    selection: Selection | None = None
    converged: bool | None = None  # None for closed forms
    notes: tuple[str, ...] = ()
    curve: tuple[tuple[int, float], ...] = ()  # of a training: step, mean loss since the last entry
    source: str
    origin: Origin | None = None  # of the model; None in records of the first versions
    extraction_notes: tuple[str, ...] = ()  # on loading the weights and computing the features
    deviation: float | None = None  # of the features from fp32's: norm of the difference / norm; None in fp32
    cost: Cost
    environment: dict[str, str]
    extraction_environment: dict[str, str] | None = None  # where the features come from, if from elsewhere
    created: str  # ISO 8601, UTC

    @model_validator(mode="after")
    def _has_its_metric(self) -> Record:
        if self.run.metric not in self.metrics:
            raise ValueError(f"no value of its metric, {self.run.metric}")
        return self


@dataclass(frozen=True)
class Predictions:
    """Per test example, in the split's order: label, predicted class, and the score of that class; each [N]."""

    label: np.ndarray
    prediction: np.ndarray
    score: np.ndarray


class Store:
    """The folder of records: ``runs/<task>/<model>/<protocol>-<key>.json`` with predictions (.npz) beside each."""

    def __init__(self, folder: Path) -> None:
        """Open the results folder ``folder``, which need not exist yet."""
        self.folder = folder

    def place(self, run: Run, suffix: str) -> Path:
        """Where a run's file lies. The path is for people; what counts is inside."""
        return Path(self.folder, "runs", run.task, _as_folder(run.model), f"{run.protocol}-{run.key}{suffix}")

    def has(self, run: Run) -> bool:
        """Whether the run finished."""
        return self.place(run, ".json").is_file()

    def has_failed(self, run: Run) -> bool:
        """Whether the last attempt at the run failed."""
        return self.place(run, ".failed.json").is_file()

    def check_writable(self) -> None:
        """Write and remove a file, so that a bad folder is found before the work and not after.

        Raises:
            ResultsError: the folder cannot be written.
        """
        probe = self.folder / "runs" / ".writable"
        try:
            atomic.write(probe, "")
            probe.unlink(missing_ok=True)
        except OSError as error:
            raise ResultsError(
                f"cannot write results to {self.folder}: {error.strerror}; name another folder"
            ) from None

    def save(self, record: Record, predictions: Predictions) -> Path:
        """Keep a record and its predictions; the record comes last, so that it is never without them.

        Raises:
            ResultsError: the disk is full or the folder not writable.
        """
        place = self.place(record.run, ".json")
        try:
            label, prediction = _compact(predictions.label), _compact(predictions.prediction)
            arrays.save(place.with_suffix(".npz"), label=label, prediction=prediction, score=predictions.score)
            atomic.write(place, _text(record.model_dump(mode="json")))
            self.place(record.run, ".failed.json").unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(place, error) from None
        return place

    def save_failure(self, run: Run, error: BaseException) -> Path:
        """Keep the reason why a run failed. A failure is never a score."""
        place = self.place(run, ".failed.json")
        trace = "".join(traceback.format_exception(error, limit=-8))
        folders = re.compile(r"(?:[A-Za-z]:)?[/\\\\](?:[^/\\\\'\"\n:]+[/\\\\])+")  # records carry no machine's paths
        failure = {
            "schema_version": SCHEMA_VERSION,
            "run": run.model_dump(mode="json"),
            "kind": type(error).__name__,
            "message": folders.sub("", str(error)),
            "traceback": folders.sub("", trace),
        }
        try:
            atomic.write(place, _text(failure))
        except OSError as full:
            raise _unwritable(place, full) from None
        return place

    def records(self) -> tuple[list[Record], list[str]]:
        """All records, by path, and a line for each file that is none: damaged, or of a newer version."""
        records: dict[tuple[str, str], tuple[Path, Record]] = {}
        problems = []
        for file in self._files(".json"):
            try:
                record = read_record(file)
            except ResultsError as error:
                problems.append(str(error))
                continue
            name = (record.run.model, record.run.key)
            if name not in records:
                records[name] = (file, record)
                continue
            # A copy in another place is not another measurement: what is where it belongs counts.
            first, second = records[name], (file, record)
            own, copy = (second, first) if file == self.place(record.run, ".json") else (first, second)
            records[name] = own
            differs = "" if own[1] == copy[1] else ", with other content"
            problems.append(f"{copy[0]}: the run of {own[0]} once more{differs}; not used: delete it")
        return [record for _, record in records.values()], problems

    def failures(self) -> list[Path]:
        """The files of runs that failed and never succeeded."""
        failed = self._files(".failed.json")
        return [file for file in failed if not file.with_name(file.name.replace(".failed.json", ".json")).exists()]

    def _files(self, suffix: str) -> Iterator[Path]:
        failed = suffix == ".failed.json"
        for folder, folders, names in os.walk(self.folder / "runs", onerror=_unreadable):
            folders.sort()
            for name in sorted(names):
                if name.endswith(suffix) and not name.startswith(".") and name.endswith(".failed.json") == failed:
                    yield Path(folder, name)

    def predictions(self, run: Run) -> Predictions:
        """The predictions of a finished run.

        Raises:
            ResultsError: they are missing or damaged.
        """
        return Predictions(*self._arrays(run, "label", "prediction", "score"))

    def array(self, run: Run, name: Literal["label", "prediction", "score"]) -> np.ndarray:
        """One of the arrays of a finished run's predictions, [N]: faster than all of them.

        Raises:
            ResultsError: it is missing or damaged.
        """
        return self._arrays(run, name)[0]

    def _arrays(self, run: Run, *names: str) -> list[np.ndarray]:
        file = self.place(run, ".npz")
        try:
            found = arrays.load(file, *names)
            return [array.astype(np.int64) if array.dtype.kind in "iu" else array for array in found]
        except arrays.DamagedFile as error:
            raise ResultsError(f"{file}: no predictions ({error}); delete the record beside it and run again") from None


def read_record(file: Path) -> Record:
    """The record in ``file``.

    Raises:
        ResultsError: it is damaged, of a newer version, or not where its key belongs.
    """
    try:
        # Parsed and checked in one go, half the time of one after the other: reports read thousands.
        record = Record.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ResultsError(f"{file}: not a whole record ({error}); delete it and run again") from None
    except ValidationError as error:
        read_versioned(file, "record", SCHEMA_VERSION, "run again")  # says what is worse than wrong keys
        raise ResultsError(
            f"{file}: not a whole record ({error.error_count()} wrong keys); delete it and run again"
        ) from None
    if not file.stem.endswith(record.run.key):
        raise ResultsError(f"{file}: was changed or renamed: its run has the key {record.run.key}")
    return record


def read_versioned(file: Path, what: str, version: int, way_out: str) -> dict[str, Any]:
    """The values of a JSON file of schema ``version``.

    Raises:
        ResultsError: it is no such file, or of another version; names it and the way out.
    """
    try:
        values = json.loads(file.read_bytes())
        found = values["schema_version"] if isinstance(values, dict) else None
    except (ValueError, KeyError, OSError) as error:
        raise ResultsError(f"{file}: not a whole {what} ({error}); delete it and {way_out}") from None
    if not isinstance(values, dict) or found != version:
        raise ResultsError(f"{file}: {what} of schema version {found}; this program reads {version}")
    return values


def _compact(classes: np.ndarray) -> np.ndarray:
    """As the smallest whole numbers that hold them: less to keep, to read and to unpack."""
    lowest, highest = int(classes.min(initial=0)), int(classes.max(initial=0))
    return classes.astype(np.min_scalar_type(highest)) if lowest >= 0 else classes


def _text(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # no folder yet, or one that was just removed
        raise ResultsError(f"cannot read {error.filename}: {error.strerror}")


def _unwritable(place: Path, error: OSError) -> ResultsError:
    return ResultsError(
        f"cannot write {place}: {error.strerror}; what is finished is kept, the same command does the rest"
    )
