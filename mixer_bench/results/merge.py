"""Results of several machines in one folder: what is there stays as it is, what is new is copied as it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from mixer_bench.errors import ResultsError, UsageError
from mixer_bench.results import profiles as profile_record
from mixer_bench.results.profiles import Profile
from mixer_bench.results.record import KEY_DIGITS, SCHEMA_VERSION, Record, Run
from mixer_bench.results.store import Store, read_record
from mixer_bench.system import files
from mixer_bench.system.schema import read_versioned

ASTRAY = "damaged: its names lead out of the results folder; delete it"


@dataclass
class Merged:
    """What was done: counts, and a line for each file that was not taken up though it should have been."""

    copied: int = 0  # records
    present: int = 0  # records that are there already with the same outcome
    failures: int = 0
    profiles: int = 0
    problems: list[str] = field(default_factory=list)

    def summary(self, into: Path) -> str:
        """For people, one line."""
        told = f"{self.copied} records, {self.failures} failures and {self.profiles} profiles copied to {into}"
        return f"{told}; {self.present} records were there already; {len(self.problems)} problems"


def merge(into: Path, sources: Sequence[Path]) -> Merged:
    """Copy records with their predictions, failures of runs that never succeeded, and profiles into one folder.

    Two records of one run whose metrics or predictions differ are both named and the one that is there is kept: which
    is right is for people to say. A profile replaces an older one of the same network, place and precision. Networks
    that ``run --save-model`` kept stay where they are.

    Args:
        into: results folder; made if it is not there.
        sources: results folders.

    Raises:
        UsageError: a source is no results folder, or is ``into``.
        ResultsError: ``into`` cannot be written.
    """
    for source in sources:
        if not ((source / "runs").is_dir() or (source / "profiles").is_dir()):
            raise UsageError(f"{source}: no results folder: it has neither runs nor profiles")
        if source.resolve() == into.resolve():
            raise UsageError(f"{source}: is named as source and as target")
    store = Store(into)
    store.check_writable()
    done = Merged()
    done.problems += store.records()[1]
    for source in sources:
        _records(store, Store(source), done)
        _failures(store, Store(source), done)
        _profiles(into, source, done)
    return done


class _Folder:
    """A store, and where its files lie, which is for people to choose."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._files: dict[str, list[Path]] = {}
        for file in sorted((store.folder / "runs").rglob("*.json")):
            self._files.setdefault(file.stem[-KEY_DIGITS:], []).append(file)

    def file_of(self, run: Run) -> Path:
        """The file that a run's record was read from: the first that holds it."""
        for file in self._files.get(run.key, []):
            try:
                found = read_record(file).run
            except ResultsError:
                continue
            if (found.model, found.key) == (run.model, run.key):
                return file
        return self.store.folder


def _records(into: Store, source: Store, done: Merged) -> None:
    here = {(record.run.model, record.run.key): record for record in into.records()[0]}
    records, problems = source.records()
    done.problems += problems
    folders = _Folder(into), _Folder(source)
    for record in records:
        try:
            _record(*folders, record, here, done)
        except ResultsError as error:
            done.problems.append(str(error))


def _record(into: _Folder, source: _Folder, record: Record, here: dict[tuple[str, str], Record], done: Merged) -> None:
    """Copy one record if its run is not there. Measured twice with one outcome is no conflict: time and place differ.

    Raises:
        ResultsError: its names lead elsewhere, it has no whole predictions, contradicts the one that is there, or
            cannot be written.
    """
    run = record.run
    if _leaves(into.store, run) or _leaves(source.store, run):
        raise ResultsError(f"{source.file_of(run)}: {ASTRAY}")
    predictions = source.store.predictions(run)
    there = here.get((run.model, run.key))
    if there is None:
        if into.store.has(run):  # a damaged file, named already: replacing it is for people to decide
            raise ResultsError(f"{source.file_of(run)}: {into.store.place(run, '.json')} is in its place")
        into.store.save(record, predictions)
        here[run.model, run.key] = record
        done.copied += 1
        return
    kept = into.store.predictions(there.run)
    same = np.array_equal(predictions.label, kept.label) and np.array_equal(predictions.prediction, kept.prediction)
    if there.metrics != record.metrics or not same:
        raise ResultsError(
            f"{source.file_of(run)}: not what {into.file_of(run)} says of the same run; the latter is kept"
        )
    done.present += 1


def _failures(into: Store, source: Store, done: Merged) -> None:
    for file in source.failures():
        try:
            failure = read_versioned(file, "failure", SCHEMA_VERSION, "run again")
            run = Run.model_validate(failure.get("run"))
            if _leaves(into, run):
                raise ResultsError(f"{file}: {ASTRAY}")
            if not (into.has(run) or into.has_failed(run)):
                _copy(file, into.place(run, ".failed.json"))
                done.failures += 1
        except ValidationError:
            done.problems.append(f"{file}: not a whole failure; delete it and run again")
        except ResultsError as error:
            done.problems.append(str(error))


def _profiles(into: Path, source: Path, done: Merged) -> None:
    here, spoiled = profile_record.read_profiles(into)
    profiles, problems = profile_record.read_profiles(source)
    done.problems += [line for line in (*spoiled, *problems) if line not in done.problems]
    newest: dict[str, Profile] = {profile.key: profile for profile in here}
    for profile in profiles:
        if not _lies_in(profile_record.place(profile, into), into / "profiles"):
            done.problems.append(f"{profile_record.place(profile, source)}: {ASTRAY}")
            continue
        there = newest.get(profile.key)
        if there is None or there.created < profile.created:
            try:
                profile_record.save(profile, into)
            except ResultsError as error:
                done.problems.append(str(error))
                continue
            newest[profile.key] = profile
            done.profiles += 1


def _leaves(store: Store, run: Run) -> bool:
    """Whether the names in a run, which are others' words, lead out of where a store keeps its runs."""
    return not _lies_in(store.place(run, ".json"), store.folder / "runs")


def _lies_in(place: Path, folder: Path) -> bool:
    """By the path alone: links inside of a folder are its owner's."""
    below = place.parts[len(folder.parts) :]
    return place.is_relative_to(folder) and not any(part == ".." or "\0" in part for part in below)


def _copy(file: Path, place: Path) -> None:
    try:
        values: Any = json.loads(file.read_bytes())
        files.write(place, json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    except OSError as error:
        raise ResultsError(f"cannot write {place}: {error.strerror}; what was copied before is kept") from None
