"""Records to what the HTML page says of each: plain values for JSON, every text and every record once.

Runs that differ by seed alone are a group, which is what a cell of a table stands on; a mean stands on several. What
many groups share (an environment, a task's data) lies in one pool and is named by its place there.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixer_bench.report.cells import Cell
from mixer_bench.results.record import Record, Run, Selection
from mixer_bench.system.grouping import grouped
from mixer_bench.task import task

DECIMALS = 6


@dataclass(frozen=True)
class Details:
    """What the page's script reads, and where in it each record is."""

    values: Mapping[str, Any]
    _places: Mapping[tuple[str, str], int]  # of a run's group, by model and key

    def places(self, cell: Cell) -> list[int]:
        """Return the groups that a cell stands on."""
        runs = [(record.run.model, record.run.key) for record in cell.records]
        return sorted({self._places[run] for run in runs})


class _Pool:
    """Values that are kept once."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[int, Any]] = {}

    def place(self, value: Any) -> int:
        """Return where the value is kept."""
        return self._kept.setdefault(json.dumps(value, sort_keys=True), (len(self._kept), value))[0]

    @property
    def values(self) -> list[Any]:
        """All of them, by place."""
        return [value for _, value in self._kept.values()]


def of(records: Sequence[Record]) -> Details:
    """Return the details of ``records``, in the order met."""
    pool = _Pool()
    groups = list(grouped(records, lambda record: record.run.but_seed).values())
    places = {(record.run.model, record.run.key): place for place, group in enumerate(groups) for record in group}
    details = [_group(sorted(group, key=lambda record: record.run.seed), pool) for group in groups]
    return Details({"groups": details, "pool": pool.values}, places)


def command(run: Run, seeds: int) -> str:
    """Return the command line that makes the seeds 0 to ``seeds - 1`` of a run again, for a POSIX shell.

    Nothing that counts is left to a default: defaults differ from task to task (presets), from device to device
    (precision) and, one day, from what they are now.
    """
    words = ["mixer-bench", "run", "--task", run.task, "--model", run.model, "--protocol", run.protocol]
    for key, value in run.config.items():
        if value is not None and value != []:  # no text stands for nothing; these are only ever defaults
            words += ["--set", f"{key}={_setting(value)}"]
    words += ["--seeds", str(seeds)]
    words += [] if run.limit is None else ["--limit", str(run.limit)]
    words += ["--resolution", str(run.preprocessing.resolution), "--precision", run.precision]
    return shlex.join(words)


def _setting(value: Any) -> str:
    """Write a value as ``--set`` takes it."""
    if isinstance(value, list):
        return ",".join(map(_setting, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def incomplete(run: Run) -> str:
    """Say what the command line needs besides, because a record does not hold it; empty where it is whole."""
    lacking = []
    if run.task not in task.tasks():
        lacking.append("--task: the folder, list or hub address of the images, or --include for the task's file")
    if run.model.removeprefix("random:").startswith(("file:", "local-dir:")):
        lacking.append("--model: where the weights lie")
    return "; ".join(lacking)


def _group(records: Sequence[Record], pool: _Pool) -> dict[str, Any]:
    """Return what runs of one setting share, in parts with a heading, and each one by itself."""
    run = records[0].run
    settings = {"protocol": run.protocol, "version": run.protocol_version, **run.config}
    parts = {"Settings": settings, "Data": _data(records[0]), "Model": _model(records[0])}
    return {
        "task": run.task,
        "model": run.model,
        "metric": run.metric,
        "command": command(run, records[-1].run.seed + 1),
        "lacking": incomplete(run),
        "parts": {heading: pool.place(values) for heading, values in parts.items()},
        "runs": [_run(record, pool) for record in records],
    }


def _data(record: Record) -> dict[str, Any]:
    run = record.run
    return {
        "task": f"{run.task}, version {run.task_version}",
        "source": record.source,
        "subset": run.variant.shown_subset,
        "limit": "none" if run.limit is None else f"{run.limit} a split",
        "images": f"{record.n_train} train, {record.n_val} val, {record.n_test} test",
        "classes": record.num_classes,
        "metric": run.metric,
        "fingerprint": run.data,
    }


def _model(record: Record) -> dict[str, Any]:
    run, origin = record.run, record.origin
    known = {**origin.model_dump(mode="json", exclude={"in_domain"}), "cost": origin.cost_words} if origin else {}
    values = {
        "name": run.model,
        **known,
        "seen in pre-training": ", ".join(origin.in_domain) or None if origin else None,
        "weights": run.weights,
        "input": f"{run.preprocessing.words} (version {run.preprocessing.version})",
        "precision": run.precision,
        "features off fp32 by": None if record.deviation is None else f"{record.deviation:.2g}",
    }
    return {name: value for name, value in values.items() if value is not None}


def _run(record: Record, pool: _Pool) -> dict[str, Any]:
    cost = record.cost
    numbers = (cost.images, cost.trained_images, cost.extract_s, cost.fit_s, cost.throughput, cost.peak_memory)
    said = ["the solver did not converge"] if record.converged is False else []
    features = {"features made at": cost.throughput_on} if cost.throughput_on else {}
    elsewhere = record.extraction_environment
    return {
        "seed": record.run.seed,
        "key": record.run.key,
        "created": record.created,
        "metrics": {name: list(map(_short, (m.value, *m.ci95))) for name, m in record.metrics.items()},
        "cost": list(map(_short, numbers)),
        "said": pool.place([*said, *record.notes, *record.extraction_notes]),
        "selection": None if record.selection is None else pool.place(_selection(record.selection)),
        "environment": pool.place({**record.environment, **features}),
        "elsewhere": None if elsewhere is None else pool.place(elsewhere),
    }


def _selection(selection: Selection) -> dict[str, Any]:
    return {**selection.model_dump(mode="json"), "scores": list(map(_short, selection.scores))}


def _short(number: float | None) -> float | None:
    """Return a number without digits that nobody reads."""
    return round(number, DECIMALS) if isinstance(number, float) else number
