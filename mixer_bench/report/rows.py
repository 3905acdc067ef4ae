"""Records to tidy rows: the same for ``load_results`` and ``report --format json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixer_bench.report.models import UNKNOWN, About
from mixer_bench.results.record import Record

COLUMNS = (
    *("task", "model", "family", "pretrain", "protocol", "shots", "resolution", "seed"),
    *("metric", "value", "ci_low", "ci_high", "n_test", "subset", "limit", "converged"),
    *("images_per_second", "key", "folder"),
)


def tidy(records: Sequence[Record], about: About, folders: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return one row a run and metric.

    Args:
        records: in the order of the rows.
        about: what is known of their models; one of which nothing is known has no family and no pre-training.
        folders: the results folder of each record; none: it is not told.
    """
    homes: Sequence[str | None] = folders or [None] * len(records)
    values = [
        (*_values(record, metric, about), home)
        for record, home in zip(records, homes, strict=True)
        for metric in record.metrics
    ]
    return [dict(zip(COLUMNS, row, strict=True)) for row in values]


def _values(record: Record, metric: str, about: About) -> tuple[Any, ...]:
    run, measured, origin = record.run, record.metrics[metric], about.origin(record)
    model = (None, None) if origin is UNKNOWN else (origin.family, origin.pretrain)
    asked = (run.task, run.model, *model, run.protocol, run.setting.shots, run.preprocessing.resolution, run.seed)
    scored = (
        metric,
        measured.value,
        *measured.ci95,
        record.n_test,
        run.variant.shown_subset,
        run.limit,
        record.converged,
    )
    return (*asked, *scored, record.cost.throughput, run.key)
