"""The folder that keeps records and predictions. Names of its files are for people; what counts is inside.

A record that is there is a run that finished.
"""

from __future__ import annotations

import functools
import json
import os
import re
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from mixer_bench.errors import ResultsError
from mixer_bench.results.record import SCHEMA_VERSION, Record, Run
from mixer_bench.system import arrays
from mixer_bench.system import files as atomic
from mixer_bench.system.schema import read_versioned


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
        """All records, by path, and a line for each file that is none or folder that is closed."""
        records: dict[tuple[str, str], tuple[Path, Record]] = {}
        files, problems = self._files(".json")
        for file in files:
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
        failed, _ = self._files(".failed.json")
        return [file for file in failed if not file.with_name(file.name.replace(".failed.json", ".json")).exists()]

    def _files(self, suffix: str) -> tuple[list[Path], list[str]]:
        """Files of records or of failures, by path, and a line for each folder that cannot be read."""
        failed = suffix == ".failed.json"
        found: list[Path] = []
        unreadable: list[OSError] = []
        for folder, folders, names in os.walk(self.folder / "runs", onerror=unreadable.append):
            folders.sort()
            own = (name for name in names if name.endswith(suffix) and not name.startswith("."))
            found += [Path(folder, name) for name in sorted(own) if name.endswith(".failed.json") == failed]
        # No folder yet, or one that was just removed, holds nothing.
        damaged = [error for error in unreadable if not isinstance(error, FileNotFoundError)]
        return found, [f"{error.filename}: cannot be read: {error.strerror}" for error in damaged]

    def predictions(self, run: Run) -> Predictions:
        """The predictions of a finished run.

        Raises:
            ResultsError: they are missing or damaged.
        """
        return Predictions(*self._arrays(run, "label", "prediction", "score"))

    def answers(self, run: Run) -> tuple[np.ndarray, np.ndarray]:
        """Label and predicted class of each test example, each [N]: half of what is kept, and all that marks need.

        Raises:
            ResultsError: they are missing or damaged.
        """
        label, prediction = self._arrays(run, "label", "prediction")
        return label, prediction

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


def _compact(classes: np.ndarray) -> np.ndarray:
    """As the smallest whole numbers that hold them: less to keep, to read and to unpack."""
    if classes.dtype.kind not in "iu" or classes.min(initial=0) < 0:
        return classes
    return classes.astype(np.min_scalar_type(int(classes.max(initial=0))))


def _text(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _unwritable(place: Path, error: OSError) -> ResultsError:
    return ResultsError(
        f"cannot write {place}: {error.strerror}; what is finished is kept, the same command does the rest"
    )


@functools.lru_cache(maxsize=4096)  # thousands of records have a few models
def _as_folder(model: str) -> str:
    folder = re.sub(r"[^\w.=-]+", "_", model)
    return folder if folder.strip(".") else "_"


def reason(file: Path) -> str:
    """Why a run failed, as its file says."""
    try:
        failure = json.loads(file.read_bytes())
        run = failure["run"]
        what = f"{run['model']} on {run['task']}, {run['protocol']}, seed {run['seed']}"
        return f"{what}: {failure['kind']}: {failure['message']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "the reason cannot be read"
