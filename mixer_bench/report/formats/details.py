"""Records to what the HTML page says of each: plain values for JSON, every text and every record once.

Runs that differ by seed alone are a group, which is what a cell of a table stands on; a mean stands on several. What
many groups share (an environment, a task's data) lies in one pool and is named by its place there.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixer_bench.report.cells import Cell
from mixer_bench.results.record import Record, Run, Selection
from mixer_bench.system.grouping import grouped
from mixer_bench.task import task

Identity = tuple[str, str]  # of a record: model and key, as in a store
DECIMALS = 6


@dataclass(frozen=True)
class Details:
    """What the page's script reads, and where in it each record is."""

    values: Mapping[str, Any]
    _places: Mapping[Identity, int]

    def places(self, cell: Cell) -> list[int]:
        """The groups that a cell stands on."""
        return sorted({self._places[_identity(record)] for record in cell.records if _identity(record) in self._places})


@dataclass
class _Pool:
    """Values that are kept once."""

    kept: list[Any] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def place(self, value: Any) -> int:
        """Where the value is kept."""
        text = json.dumps(value, sort_keys=True)
        if text not in self._places:
            self._places[text] = len(self.kept)
            self.kept.append(value)
        return self._places[text]


def of(records: Sequence[Record]) -> Details:
    """The details of ``records``, in the order met."""
    pool = _Pool()
    groups: list[dict[str, Any]] = []
    places: dict[Identity, int] = {}
    for runs in grouped(records, _apart_from_seed).values():
        for record in runs:
            places[_identity(record)] = len(groups)
        groups.append(_group(sorted(runs, key=lambda r: r.run.seed), pool))
    return Details({"groups": groups, "pool": pool.kept}, places)


def command(run: Run, seeds: int) -> str:
    """The command line that makes the seeds 0 to ``seeds - 1`` of a run again, for a POSIX shell.

    Nothing that counts is left to a default: defaults differ from task to task (presets), from device to device
    (precision) and, one day, from what they are now.
    """
    words = ["mixer-bench", "run", "--task", run.task, "--model", run.model, "--protocol", run.protocol]
    for key, value in run.config.items():
        if value is not None and value != []:  # no text stands for nothing; these are only ever defaults
            words += ["--set", f"{key}={_setting(value)}"]
    words += ["--seeds", str(seeds)]
    if run.limit is not None:
        words += ["--limit", str(run.limit)]
    words += ["--resolution", str(run.preprocessing.resolution), "--precision", run.precision]
    return shlex.join(words)


def incomplete(run: Run) -> str:
    """What the command line needs besides, because a record does not hold it; empty where it is whole."""
    lacking = []
    if run.task not in task.tasks():
        lacking.append("--task: the folder, list or hub address of the images, or --include for the task's file")
    if run.model.removeprefix("random:").startswith(("file:", "local-dir:")):
        lacking.append("--model: where the weights lie")
    return "; ".join(lacking)


def _identity(record: Record) -> Identity:
    return record.run.model, record.run.key


def _apart_from_seed(record: Record) -> str:
    return json.dumps({**record.run.model_dump(mode="json"), "seed": None}, sort_keys=True)


def _setting(value: Any) -> str:
    """As ``--set`` takes it."""
    if isinstance(value, list):
        return ",".join(map(_setting, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _group(records: Sequence[Record], pool: _Pool) -> dict[str, Any]:
    """Runs of one setting: what they share in parts with a heading, and each one by itself."""
    first = records[0]
    run = first.run
    parts = {"Settings": _settings(run), "Data": _data(first), "Model": _model(first)}
    return {
        "task": run.task,
        "model": run.model,
        "metric": run.metric,
        "command": command(run, max(record.run.seed for record in records) + 1),
        "lacking": incomplete(run),
        "parts": {heading: pool.place(values) for heading, values in parts.items()},
        "runs": [_run(record, pool) for record in records],
    }


def _settings(run: Run) -> dict[str, Any]:
    return {"protocol": run.protocol, "version": run.protocol_version, **run.config}


def _data(record: Record) -> dict[str, Any]:
    run = record.run
    return {
        "task": f"{run.task}, version {run.task_version}",
        "source": record.source,
        "subset": run.subset,
        "limit": "none" if run.limit is None else f"{run.limit} a split",
        "images": f"{record.n_train} train, {record.n_val} val, {record.n_test} test",
        "classes": record.num_classes,
        "metric": run.metric,
        "fingerprint": run.data,
    }


def _model(record: Record) -> dict[str, Any]:
    run, origin = record.run, record.origin
    known = {**origin.model_dump(mode="json", exclude={"in_domain"}), "cost": origin.cost_words} if origin else {}
    known = {name: value for name, value in known.items() if value is not None}
    if origin and origin.in_domain:
        known["seen in pre-training"] = ", ".join(origin.in_domain)
    transform = f"{run.preprocessing.words} (version {run.preprocessing.version})"
    off = {} if record.deviation is None else {"features off fp32 by": f"{record.deviation:.2g}"}
    return {"name": run.model, **known, "weights": run.weights, "input": transform, "precision": run.precision, **off}


def _run(record: Record, pool: _Pool) -> dict[str, Any]:
    cost = record.cost
    numbers = (cost.images, cost.trained_images, cost.extract_s, cost.fit_s, cost.throughput, cost.peak_memory)
    said = [*record.notes, *record.extraction_notes]
    if record.converged is False:
        said.insert(0, "the solver did not converge")
    environment = (
        {**record.environment, "features made at": cost.throughput_on} if cost.throughput_on else {**record.environment}
    )
    elsewhere = record.extraction_environment
    return {
        "seed": record.run.seed,
        "key": record.run.key,
        "created": record.created,
        "metrics": {name: [_short(v) for v in (m.value, *m.ci95)] for name, m in record.metrics.items()},
        "cost": [_short(number) for number in numbers],
        "said": pool.place(said),
        "selection": None if record.selection is None else pool.place(_selection(record.selection)),
        "environment": pool.place(environment),
        "elsewhere": None if elsewhere is None else pool.place(elsewhere),
    }


def _selection(selection: Selection) -> dict[str, Any]:
    grid = [_finite(value) for value in selection.grid]
    scores = [_short(score) for score in selection.scores]
    return {**selection.model_dump(mode="json"), "chosen": _finite(selection.chosen), "grid": grid, "scores": scores}


def _finite(number: float | None) -> float | None:
    """None for what JSON has no number for."""
    return None if number is None or not math.isfinite(number) else number


def _short(number: float | None) -> float | None:
    """Without digits that nobody reads."""
    found = _finite(number)
    return round(found, DECIMALS) if isinstance(found, float) else found
