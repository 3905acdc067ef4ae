"""Several results folders read as one: a run that more than one of them has counts once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mixer_bench.errors import ResultsError
from mixer_bench.results.profiles import Profile
from mixer_bench.results.record import Measured, Record, Run
from mixer_bench.results.store import Store, read_failure
from mixer_bench.stats import metrics


def of_answers(record: Record, other: Record) -> dict[str, Measured]:
    """Return the metrics that both have, of predicted classes alone: scores differ in their last digits, by device."""
    shared = [name for name in record.metrics if name in other.metrics and metrics.of_classes(name)]
    return {name: record.metrics[name] for name in shared}


class Several:
    """Results folders, in the order of ``folders``: what two of them have is taken from the first of these."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Open the folders, which need not exist."""
        self.folders = tuple(folders)
        self._stores = [Store(folder) for folder in folders]
        self._homes: dict[tuple[str, str], Store] = {}

    def records(self) -> tuple[list[Record], list[str]]:
        """Return all records, each run once, and a line for each file or folder that is of no or of doubtful use."""
        kept: dict[tuple[str, str], Record] = {}
        problems = [store.missing for store in self._stores if store.missing and len(self._stores) > 1]
        for store in self._stores:
            read, spoiled = store.records_by_file()
            problems += spoiled
            for file, record in read.items():
                name = _name(record.run)
                first, home = kept.setdefault(name, record), self._homes.setdefault(name, store)
                if first is not record and of_answers(first, record) != of_answers(record, first):
                    there = home.place(first.run, ".json")
                    problems.append(f"{file}: not what {there} says of the same run; the latter is used")
        return list(kept.values()), problems

    def profiles(self) -> tuple[list[Profile], list[str]]:
        """Return the newest profile of each key, and a line for each file that is none."""
        newest: dict[str, Profile] = {}
        problems: list[str] = []
        for store in self._stores:
            read, spoiled = store.profiles()
            problems += spoiled
            for profile in read:
                if profile.key not in newest or newest[profile.key].created < profile.created:
                    newest[profile.key] = profile
        return list(newest.values()), problems

    def failures(self) -> list[Path]:
        """Return the files of runs that failed and have succeeded in none of the folders; ``records`` comes first."""
        return [file for store in self._stores for file in store.failures() if not self._succeeded(file)]

    def _succeeded(self, failure: Path) -> bool:
        try:
            return _name(read_failure(failure).run) in self._homes
        except ResultsError:  # it is told with the others
            return False

    def store(self, record: Record) -> Store:
        """Return the folder that a record was read from."""
        return self._homes[_name(record.run)]

    def names(self, records: Sequence[Record]) -> list[str]:
        """Return the folder of each record, as it was named."""
        return [str(self.store(record).folder) for record in records]

    def answers(self, record: Record) -> tuple[np.ndarray, np.ndarray]:
        """Return label and prediction of each test example, [N]; errors as ``Store.predictions``."""
        return self.store(record).answers(record)


def _name(run: Run) -> tuple[str, str]:
    return run.model, run.key
