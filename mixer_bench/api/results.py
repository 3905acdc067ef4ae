"""Functions on results that are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mixer_bench.errors import ResultsError
from mixer_bench.report import rows
from mixer_bench.report.models import About
from mixer_bench.results.record import Record
from mixer_bench.results.store import Store

if TYPE_CHECKING:
    import pandas


def load_results(folder: str | Path = "results") -> pandas.DataFrame:
    """Return all records of a results folder as a tidy table: one row a run and metric, values in [0, 1].

    Raises:
        ResultsError: no such folder, or a file there is no whole record.
    """
    store = Store(Path(folder))
    if not (store.folder / "runs").is_dir():
        raise ResultsError(f"{store.folder}: there are no results here")
    records, problems = store.records()
    if problems:
        raise ResultsError("; ".join(problems))
    return as_rows(records)


def as_rows(records: Sequence[Record]) -> pandas.DataFrame:
    """Return records as ``load_results`` does."""
    import pandas

    return pandas.DataFrame(rows.tidy(records, About.of(records)), columns=list(rows.COLUMNS))
