"""Cells as formats of others list them: a result each, by model, with all that a reader needs who has nothing else."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mixer_bench.data.readers import hub
from mixer_bench.data.readers.hub import Repository
from mixer_bench.report.cells import LEGEND, ROUNDING, Cell, real_cells
from mixer_bench.report.columns import of_task
from mixer_bench.report.index import Index
from mixer_bench.report.tables.table import by_model
from mixer_bench.results.record import Record
from mixer_bench.results.store import as_folder
from mixer_bench.stats import metrics
from mixer_bench.system.grouping import grouped
from mixer_bench.task.task import tasks

TYPES = {"top1": "accuracy"}  # https://hf.co/metrics and EEE's metric ids; other metrics have their own names there
DIGITS = 6  # of shares, as in CSV


@dataclass(frozen=True)
class Result:
    """A number of one model on one task, in one setting."""

    model: str  # as tables name it
    on: str  # the task, with what sets the variant of its data apart: "vtab/pets (resampled)"
    name: str  # of its setting in tables, which say "5-shot" of few-shot
    cell: Cell

    @property
    def record(self) -> Record:
        """Any of its records."""
        return self.cell.record

    @property
    def setting(self) -> str:
        """The protocol with what sets its settings apart, in short."""
        protocol = self.record.run.protocol
        return self.name if protocol in self.name else f"{protocol} {self.name}"

    @property
    def value(self) -> float:
        """The score, a share in [0, 1]."""
        return round(self.cell.mean, DIGITS)

    @property
    def metric(self) -> tuple[str, str]:
        """The metric's id, as others have it, and its words."""
        return TYPES.get(self.cell.metric, self.cell.metric), metrics.words(self.cell.metric)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval; None where nothing varied from which it could be told."""
        cell = self.cell
        if not cell.over_seeds:
            low, high = self.record.metrics[cell.metric].ci95
        elif cell.half > ROUNDING:
            low, high = max(0.0, cell.mean - cell.half), min(1.0, cell.mean + cell.half)
        else:
            return None
        return round(low, DIGITS), round(high, DIGITS)

    @property
    def over(self) -> str:
        """What the interval is over, in words."""
        return f"{self.cell.seeds} seeds" if self.cell.over_seeds else "test sample"

    @property
    def remarks(self) -> list[str]:
        """What marks of its cell mean."""
        marks = [mark for mark in self.cell.marks if mark != "*"]  # said by ``over``
        return [LEGEND[mark] for mark in marks if mark in LEGEND]

    @property
    def repository(self) -> Repository | None:
        """Where on the Hugging Face hub its images are from; None: from elsewhere, or not all from one place."""
        places = {hub.repository(record.source) for record in self.cell.records}
        return places.pop() if len(places) == 1 else None

    @property
    def split(self) -> str | None:
        """The split it was measured on, the hub's where images are from there; None: a part of one, or not known."""
        run = self.record.run
        known = tasks().get(run.task) if run.subset != "resampled" else None
        return "test" if self.repository is None or (known and known.splits.test == "test") else None

    @property
    def published(self) -> bool:
        """Whether it is a score on a published split, on all its images, which the model has not seen."""
        run = self.record.run
        return run.variant.shown_subset == "official" and run.limit is None and not self.cell.in_domain

    @property
    def newest(self) -> str:
        """When the last of its runs ended, ISO 8601."""
        return max(record.created for record in self.cell.records)

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """All that it was measured with, as plain values: what one who would repeat it must set."""
        run, interval = self.record.run, self.interval
        asked = {"protocol": run.protocol, "protocol_version": run.protocol_version, "config": run.config}
        shown = {"resize": run.preprocessing.resize, "resolution": run.preprocessing.resolution}
        seen = {**shown, "precision": run.precision, "weights": run.weights}
        data = {
            "task_version": run.task_version,
            "data": run.data,
            "subset": run.variant.shown_subset,
            "limit": run.limit,
        }
        seeds = sorted(record.run.seed for record in self.cell.records)
        certain = {"ci95": interval and list(interval), "interval_over": self.over, "test_images": self.record.n_test}
        told = {**asked, "seeds": seeds, **seen, **data, **certain, "remarks": self.remarks or None}
        return {name: value for name, value in told.items() if value is not None}


def by_label(index: Index) -> dict[str, list[Result]]:
    """Return the results of each model, in the order of tables: by its task's metric, and by ReaL labels."""
    models = by_model(index.cells, index.about)
    labels = {cells[0].run.network: label for label, cells in models.items()}
    results: dict[str, list[Result]] = {label: [] for label in models}
    for variant, cells in index.variants.items():
        by_setting = grouped(cells, lambda cell: cell.run.setting)
        for setting, name in of_task(cells).items():
            for cell in by_setting[setting]:
                label = labels[cell.run.network]
                for each in (cell, *real_cells([cell])):
                    results[label].append(Result(label, index.names[variant], name, each))
    return results


def folders(labels: Iterable[str]) -> dict[str, str]:
    """Return a folder's name for each model, no two alike on any disk, whatever signs the names have."""
    places: dict[str, str] = {}
    taken = set[str]()
    for label in labels:
        name = as_folder(label).rstrip(".")
        while name.casefold() in taken:
            name += "_"
        taken.add(name.casefold())
        places[label] = name
    return places
