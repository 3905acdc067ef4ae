"""Records to tidy rows: the same for ``load_results`` and ``report --format json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixer_bench.models.card import Origin
from mixer_bench.report.models import About
from mixer_bench.results.record import Record

COLUMNS = (
    *("task", "model", "family", "pretrain", "protocol", "shots", "resolution", "seed"),
    *("metric", "value", "ci_low", "ci_high", "n_test", "subset", "limit", "converged"),
    *("images_per_second", "key"),
)


def tidy(records: Sequence[Record], about: About) -> list[dict[str, Any]]:
    """One row a run and metric.

    Args:
        records: in the order of the rows.
        about: what is known of their models; one of which nothing is known has no family and no pre-training.
    """
    return [row for record in records for row in _rows(record, about.origin(record))]


def _rows(record: Record, origin: Origin | None) -> list[dict[str, Any]]:
    run = record.run
    return [
        {
            "task": run.task,
            "model": run.model,
            "family": origin.family if origin else None,
            "pretrain": origin.pretrain if origin else None,
            "protocol": run.protocol,
            "shots": run.config.get("shots"),
            "resolution": run.preprocessing.resolution,
            "seed": run.seed,
            "metric": name,
            "value": measured.value,
            "ci_low": measured.ci95[0],
            "ci_high": measured.ci95[1],
            "n_test": record.n_test,
            "subset": run.subset,
            "limit": run.limit,
            "converged": record.converged,
            "images_per_second": record.cost.throughput,
            "key": run.key,
        }
        for name, measured in record.metrics.items()
    ]
