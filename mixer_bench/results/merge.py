"""Results of several machines in one folder: what is new is copied, what is there stays unless older code made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mixer_bench.errors import ResultsError, UsageError
from mixer_bench.results import answers, hub
from mixer_bench.results import kept as kept_module
from mixer_bench.results.record import Record
from mixer_bench.results.several import of_answers
from mixer_bench.results.store import Store, read_failure, read_record
from mixer_bench.system import claims, code, files
from mixer_bench.system.console import tell
from mixer_bench.system.paths import real


@dataclass
class Merged:
    """What was done: counts, and a line for each file that was not taken up though it should have been."""

    copied: int = 0  # records
    present: int = 0  # records that are there already with the same outcome
    failures: int = 0
    profiles: int = 0
    fetched: list[str] = field(default_factory=list)  # sources of the hub, at the very commit
    problems: list[str] = field(default_factory=list)

    def summary(self, into: Path) -> str:
        """Return it for people: a line, and one for each source of the hub."""
        told = f"{self.copied} records, {self.failures} failures and {self.profiles} profiles copied to {into}"
        told += f"; {self.present} records were there already; {len(self.problems)} problems"
        return "\n".join([told, *(f"fetched: {address}" for address in self.fetched)])


def merge(into: Path, sources: Sequence[Path | str]) -> Merged:
    """Copy records with all that is beside them, failures of runs that never succeeded, and profiles into one folder.

    Two records of one run whose metrics or predictions differ are both named and the one that is there is kept: which
    is right is for people to say. A profile replaces an older one of the same network, place and precision.

    Of several at once into one folder each waits for the one before.

    Args:
        into: results folder; made if it is not there.
        sources: results folders; texts are addresses of the hub's, which ``hub.fetched`` takes.

    Raises:
        UsageError: a source is no results folder, or is ``into``.
        ResultsError: ``into`` cannot be written.
        DataError: a source of the hub cannot be had.
    """
    addresses = {}
    for source in sources:
        folder, address = hub.fetched(source) if isinstance(source, str) else (source, "")
        addresses[folder] = address
        if missing := Store(folder).missing:
            raise UsageError(missing)
        if real(folder) == real(into):
            raise UsageError(f"{folder}: is named as source and as target")
    store = Store(into)
    store.check_writable()
    with claims.awaited(into / "runs" / "merged", lambda: tell(f"waiting for another process that merges into {into}")):
        done = _merged(store, list(map(Store, addresses)))
    done.fetched = [address for address in addresses.values() if address]
    for folder, address in addresses.items():
        if address:  # where the hub's library keeps its files tells nobody anything
            done.problems = [line.replace(str(folder), address) for line in done.problems]
    return done


def _merged(store: Store, sources: Sequence[Store]) -> Merged:
    done = Merged()
    records, done.problems = store.records_by_file()
    present = {(record.run.model, record.run.key): file for file, record in records.items()}
    for source in sources:
        records, problems = source.records_by_file()
        done.problems += problems
        for file, record in records.items():
            try:
                _record(store, source, file, record, present, done)
            except ResultsError as error:
                done.problems.append(str(error))
        _failures(store, source, done)
        _profiles(store, source, done)
    return done


def _record(
    into: Store, source: Store, file: Path, record: Record, present: dict[tuple[str, str], Path], done: Merged
) -> None:
    """Copy one record if its run is not there. Measured twice with one outcome is no conflict: time and place differ.

    Of such two the one that the installed code made is kept: it alone is evidence of it. Of equals it is the one that
    kept what it learned.

    Raises:
        ResultsError: it has no whole predictions, or others than give its score, contradicts the one that is there, or
            cannot be written.
    """
    run, name = record.run, (record.run.model, record.run.key)
    predictions = source.predictions(record)
    try:
        answers.check(record, predictions.label, predictions.prediction)
    except ResultsError as error:
        raise ResultsError(f"{file}: {error}") from None
    if name not in present and into.has(run):
        place = into.place(run, ".json")
        try:
            read_record(place)
        except ResultsError:  # damaged, named already: replacing it is for people to decide
            raise ResultsError(f"{file}: {place} is in its place") from None
        present[name] = place  # a run that has ended since it was looked for
    if name not in present:
        present[name] = into.save(record, predictions, _beside(source, record))
        done.copied += 1
        return
    kept = into.predictions(record)
    same = np.array_equal(predictions.label, kept.label) and np.array_equal(predictions.prediction, kept.prediction)
    there = read_record(present[name])
    if not same or of_answers(there, record) != of_answers(record, there):
        raise ResultsError(f"{file}: not what {present[name]} says of the same run; the latter is kept")
    in_place = present[name] == into.place(run, ".json")
    if in_place and _worth(record) > _worth(there):
        into.save(record, predictions, _beside(source, record))
    done.present += 1


def _worth(record: Record) -> tuple[bool, bool]:
    return not code.differing(record.code, record.run.protocol), record.kept is not None


def _beside(source: Store, record: Record) -> Path | None:
    """Return the file of what a run learned, if the record says that there is one and it is that.

    Raises:
        ResultsError: it is missing or another.
    """
    if record.kept is None:
        return None
    file = source.place(record.run, kept_module.SUFFIX)
    kept_module.check(file, record.kept)
    return file


def _failures(into: Store, source: Store, done: Merged) -> None:
    for file in source.failures():
        try:
            run = read_failure(file).run
            if into.has(run) or into.has_failed(run):
                continue
            files.write(into.place(run, ".failed.json"), file.read_bytes())
            done.failures += 1
        except ResultsError as error:
            done.problems.append(str(error))
        except OSError as error:
            done.problems.append(f"cannot copy {file}: {error.strerror}; what was copied before is kept")


def _profiles(into: Store, source: Store, done: Merged) -> None:
    there, spoiled = into.profiles()
    profiles, problems = source.profiles()
    done.problems += [line for line in (*spoiled, *problems) if line not in done.problems]
    newest = {profile.key: profile.created for profile in there}
    for profile in profiles:
        if newest.get(profile.key, "") < profile.created:
            try:
                into.save_profile(profile)
                done.profiles += 1
            except ResultsError as error:
                done.problems.append(str(error))
