"""Records to tidy rows: the same for ``load_results`` and ``report --format json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixer_bench.record import Record
from mixer_bench.zoo import Card

COLUMNS = (
    *("task", "model", "family", "pretrain", "protocol", "shots", "resolution", "seed"),
    *("metric", "value", "ci_low", "ci_high", "n_test", "subset", "limit", "converged"),
    *("images_per_second", "key"),
)


def tidy(records: Sequence[Record], cards: Mapping[str, Card]) -> list[dict[str, Any]]:
    """One row a run and metric.

    Args:
        records: in the order of the rows.
        cards: of those models that have one, by name; a model without has no family and no pre-training.
    """
    return [
        {
            "task": record.run.task,
            "model": record.run.model,
            "family": cards[record.run.model].family if record.run.model in cards else None,
            "pretrain": cards[record.run.model].pretrain if record.run.model in cards else None,
            "protocol": record.run.protocol,
            "shots": record.run.config.get("shots"),
            "resolution": record.run.preprocessing.resolution,
            "seed": record.run.seed,
            "metric": name,
            "value": measured.value,
            "ci_low": measured.ci95[0],
            "ci_high": measured.ci95[1],
            "n_test": record.n_test,
            "subset": record.run.subset,
            "limit": record.run.limit,
            "converged": record.converged,
            "images_per_second": record.cost.throughput,
            "key": record.run.key,
        }
        for record in records
        for name, measured in record.metrics.items()
    ]
