"""The folder that keeps records, predictions, failures and profiles. Names of its files are for people.

A record that is there is a run that finished.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from mixer_bench.errors import ResultsError
from mixer_bench.results.profiles import Profile
from mixer_bench.results.record import Record, Run
from mixer_bench.system import arrays, files
from mixer_bench.system.schema import Sealed, read_file, sealed_text

AGAIN = "what is finished is kept, the same command does the rest"
Value = TypeVar("Value", bound=Sealed)
LONGEST, DIGITS = 180, 16  # bytes of a name, and of the hash of one cut off: file systems take 255 in all
PER_EXAMPLE = 4 * 8  # bytes: four arrays of numbers
MOST = 1 << 30  # bytes of predictions, whatever a record says of its examples
DEVICE = re.compile(r"(?i)^(?=(con|prn|aux|nul|com\d|lpt\d)(\.|$))")  # no name of a folder on Windows
CONFIDENCE = "confidence"  # the array that not every record has
KEPT = ("label", "prediction", "score", CONFIDENCE)  # what ``Predictions`` are read from


@dataclass(frozen=True)
class Predictions:
    """Per test example, in the split's order: label, predicted class, that class's score and probability; each [N]."""

    label: np.ndarray
    prediction: np.ndarray
    score: np.ndarray
    confidence: np.ndarray | None = None  # None where scores are no probabilities


class Failure(Sealed):
    """Why a run failed. A failure is never a score."""

    schema_version: Literal[1] = 1
    run: Run
    kind: str
    message: str
    traceback: str = ""


class Store:
    """``runs/<task>/<model>/<protocol>-<key>.json``, with .npz and .safetensors beside it, and ``profiles``."""

    def __init__(self, folder: Path) -> None:
        """Open the results folder ``folder``, which need not exist yet."""
        self.folder = folder

    @property
    def missing(self) -> str:
        """What is said of a folder that holds no results; else nothing."""
        rooms = ("runs", "profiles")
        there = any((self.folder / room).is_dir() for room in rooms)
        return "" if there else f"{self.folder}: no results folder: it has neither {' nor '.join(rooms)}"

    def place(self, run: Run, suffix: str) -> Path:
        """Return where a run's file lies. The path is for people; what counts is inside.

        Names of models that give one folder (``a.B`` and ``a.b`` where a disk does not tell them apart) have it
        together: keys tell the files apart, but for the same measurement under two names, which is kept once.
        """
        name = f"{_shortened(run.protocol)}-{run.key}{suffix}"
        return Path(self.folder, "runs", _shortened(run.task), as_folder(run.model), name)

    def profile_place(self, profile: Profile) -> Path:
        """Return where a profile lies. The path is for people; what counts is inside."""
        return Path(self.folder, "profiles", as_folder(profile.model), f"{profile.resolution}px-{profile.key}.json")

    def has(self, run: Run) -> bool:
        """Return whether the run finished."""
        return self.place(run, ".json").is_file()

    def has_failed(self, run: Run) -> bool:
        """Return whether the last attempt at the run failed."""
        return self.place(run, ".failed.json").is_file()

    def check_writable(self) -> None:
        """Write and remove a file, so that a bad folder is met before the work and not after.

        Raises:
            ResultsError: the folder cannot be written.
        """
        probe = self.folder / "runs" / ".writable"
        with files.reported(f"results to {self.folder}", "name another folder"):
            files.write(probe, "")
            probe.unlink(missing_ok=True)

    def save(self, record: Record, predictions: Predictions, learned: bytes | Path | None = None) -> Path:
        """Keep a record and its predictions; the record comes last, so that it is never without them.
        ``learned``, whose digest the record has, is what the run learned: a file's content, or a file to copy.

        Raises:
            ResultsError: the disk is full or the folder not writable.
        """
        place = self.place(record.run, ".json")
        label, prediction = _compact(predictions.label), _compact(predictions.prediction)
        values = {"label": label, "prediction": prediction, "score": predictions.score}
        values |= {} if predictions.confidence is None else {CONFIDENCE: predictions.confidence}
        with files.reported(place, AGAIN):
            if learned is not None:
                content = learned if isinstance(learned, bytes) else functools.partial(files.copy, learned)
                files.write(place.with_suffix(".safetensors"), content)
            arrays.save(place.with_suffix(".npz"), **values)
        _write(place, record)
        self.place(record.run, ".failed.json").unlink(missing_ok=True)
        return place

    def save_failure(self, run: Run, error: BaseException) -> Path:
        """Keep the reason why a run failed."""
        trace = "".join(traceback.format_exception(error, limit=-8))
        folders = re.compile(r"(?:[A-Za-z]:)?[/\\\\](?:[^/\\\\'\"\n:]+[/\\\\])+")  # records carry no machine's paths
        message, trace = folders.sub("", str(error)), folders.sub("", trace)
        failure = Failure(run=run, kind=type(error).__name__, message=message, traceback=trace)
        return _write(self.place(run, ".failed.json"), failure)

    def save_profile(self, profile: Profile) -> Path:
        """Keep a profile; an earlier one of the same key is replaced.

        Raises:
            ResultsError: the disk is full or the folder not writable.
        """
        return _write(self.profile_place(profile), profile)

    def records(self) -> tuple[list[Record], list[str]]:
        """Return all records, by path, and a line for each file that is none or folder that is closed."""
        records, problems = self.records_by_file()
        return list(records.values()), problems

    def records_by_file(self) -> tuple[dict[Path, Record], list[str]]:
        """Return all records with their files, and a line for each file that is none or folder that is closed."""
        places, problems = self._files("runs", ".json")
        records: dict[Path, Record] = {}
        known: dict[tuple[str, str], Path] = {}
        for file, record in _read(places, read_record, problems):
            other = known.setdefault((record.run.model, record.run.key), file)
            if other != file:  # a copy in another place is not another measurement: what is where it belongs counts
                belongs = file == self.place(record.run, ".json")
                kept, copy = (file, other) if belongs else (other, file)
                same = record.model_dump() == records[other].model_dump()
                differs = "" if same else ", with other content"
                problems.append(f"{copy}: the run of {kept} once more{differs}; not used: delete it")
                if not belongs:
                    continue
                known[record.run.model, record.run.key] = file
                del records[other]
            records[file] = record
        return records, problems

    def failures(self) -> list[Path]:
        """Return the files of runs that failed and never succeeded."""
        failed, _ = self._files("runs", ".failed.json")
        return [file for file in failed if not file.with_name(file.name.replace(".failed.json", ".json")).exists()]

    def profiles(self) -> tuple[list[Profile], list[str]]:
        """Return all profiles, by path, and a line for each file that is none or folder that is closed.

        Of two with the same key, measured under different names, only the newer one is given.
        """
        places, problems = self._files("profiles", ".json")
        newest: dict[str, Profile] = {}
        for _, profile in _read(places, _read_profile, problems):
            if profile.key not in newest or newest[profile.key].created < profile.created:
                newest[profile.key] = profile
        return list(newest.values()), problems

    def _files(self, room: str, suffix: str) -> tuple[list[Path], list[str]]:
        """Return files of records, failures or profiles, by path, and a line for each folder that cannot be read."""
        failed, places = suffix == ".failed.json", list[Path]()
        unreadable: list[OSError] = []
        for folder, folders, names in os.walk(self.folder / room, onerror=unreadable.append):
            folders.sort()
            visible = [name for name in sorted(names) if name.endswith(suffix) and not name.startswith(".")]
            places += [Path(folder, name) for name in visible if name.endswith(".failed.json") == failed]
        # No folder yet, or one that was just removed, holds nothing.
        damaged = [error for error in unreadable if not isinstance(error, FileNotFoundError)]
        return places, [f"{error.filename}: cannot be read: {error.strerror}" for error in damaged]

    def predictions(self, record: Record) -> Predictions:
        """Return the predictions of a finished run.

        Raises:
            ResultsError: they are missing or damaged.
        """
        return Predictions(*predicted(self.place(record.run, ".npz"), record, *KEPT))

    def answers(self, record: Record) -> tuple[np.ndarray, np.ndarray]:
        """Return label and prediction of each test example, [N]: all that marks need; errors as ``predictions``."""
        label, prediction = predicted(self.place(record.run, ".npz"), record, "label", "prediction")
        return label, prediction


def predicted(file: Path, record: Record, *names: str) -> list[np.ndarray]:
    """Return arrays of a record's predictions, which lie in ``file``; errors as of ``Store.predictions``."""
    try:
        kept = arrays.load(file, *names, most=min(PER_EXAMPLE * record.n_test, MOST), optional=CONFIDENCE)
    except arrays.DamagedFile as error:
        raise ResultsError(f"{file}: no predictions ({error}); delete the record beside it and run again") from None
    return [array.astype(np.int64) if array.dtype.kind in "iu" else array for array in kept]


def read_record(file: Path) -> Record:
    """Return the record in ``file``.

    Raises:
        ResultsError: it is damaged, of a newer version, or not where its key belongs.
    """
    record = read_file(file, Record, "record", "run again")
    return _in_place(file, record, record.run.key)


def _read_profile(file: Path) -> Profile:
    profile = read_file(file, Profile, "profile", "profile again")
    return _in_place(file, profile, profile.key)


def _in_place(file: Path, value: Value, key: str) -> Value:
    if not file.stem.endswith(key):
        raise ResultsError(f"{file}: was changed or renamed: its content has the key {key}")
    return value


def read_failure(file: Path) -> Failure:
    """Return the failure in ``file``.

    Raises:
        ResultsError: it is damaged or of a newer version.
    """
    return read_file(file, Failure, "failure", "run again")


def reason(file: Path) -> str:
    """Return why a run failed, as its file says."""
    try:
        failure = read_failure(file)
    except ResultsError:
        return "the reason cannot be read"
    run = failure.run
    return f"{run.model} on {run.task}, {run.protocol}, seed {run.seed}: {failure.kind}: {failure.message}"


def _read(places: list[Path], read: Callable[[Path], Value], problems: list[str]) -> Iterator[tuple[Path, Value]]:
    for file in places:
        try:
            yield file, read(file)
        except ResultsError as error:
            problems.append(str(error))


def _compact(classes: np.ndarray) -> np.ndarray:
    """Narrow classes to the smallest whole numbers that hold them: less to keep, to read and to unpack."""
    if classes.dtype.kind not in "iu" or classes.min(initial=0) < 0:
        return classes
    return classes.astype(np.min_scalar_type(int(classes.max(initial=0))))


def _write(place: Path, value: Sealed) -> Path:
    with files.reported(place, AGAIN):
        files.write(place, sealed_text(value))
    return place


@functools.lru_cache(maxsize=4096)  # thousands of records have a few models
def as_folder(model: str) -> str:
    """Return a name that every disk takes for a folder; names that differ in odd signs alone may share it."""
    folder = DEVICE.sub("_", re.sub(r"[^\w.=-]+", "_", model))
    return _shortened(folder) if folder.strip(".") else "_"


def _shortened(name: str) -> str:
    """Return a name that disks take: of a longer one the beginning, and a hash that tells it from others like it."""
    content = name.encode()
    if len(content) <= LONGEST:
        return name
    return f"{content[:LONGEST].decode(errors='ignore')}-{hashlib.sha256(content).hexdigest()[:DIGITS]}"
