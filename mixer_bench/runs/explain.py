"""Which field of identity makes a stored record stale."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mixer_bench import data, protocols
from mixer_bench.errors import ResultsError, UsageError
from mixer_bench.models import names, weights
from mixer_bench.results.record import Run
from mixer_bench.results.store import Store, read_record
from mixer_bench.task import task as task_module
from mixer_bench.task.task import OWN, Task


def explain(
    record: str, results: Path, include: Sequence[Path], data_dir: Path | None, own: Task | None
) -> tuple[str, bool]:
    """Compare a stored record's identity with what the same request would measure today.

    Args:
        record: the record's file, or the start of its key.
        results: the results folder a key is looked up in.
        include: task folders of one's own.
        data_dir: root of what one has on disk.
        own: the task of the record where it has no file: images of one's own.

    Returns:
        The text, and whether the record is current.

    Raises:
        ResultsError: no such record, or several.
        MixerBenchError: its task, model or protocol is not here any more.
    """
    file = _find(record, results)
    stored = read_record(file).run
    today = _today(stored, include, data_dir, own).identity
    then = stored.identity
    changed = [key for key in then if then[key] != today[key]]
    what = f"{stored.model} on {stored.task}, {stored.protocol} {json.dumps(stored.config)}, seed {stored.seed}"
    head = f"{file}\n  {what}\n"
    if not changed:
        return head + "  current: the same request has this key today and would not be computed again\n", True
    lines = [
        f"  {key}: was {json.dumps(then[key])}\n  {' ' * len(key)}  now {json.dumps(today[key])}" for key in changed
    ]
    return head + "  stale: the same request has another key today, because of\n" + "\n".join(lines) + "\n", False


def _find(record: str, results: Path) -> Path:
    if Path(record).is_file():
        return Path(record)
    records, _ = Store(results).records()
    store = Store(results)
    matches = sorted({store.place(r.run, ".json") for r in records if r.run.key.startswith(record)})
    if len(matches) != 1:
        raise ResultsError(f"{len(matches)} records in {results} have a key that starts with {record!r}; name one file")
    return matches[0]


def _today(stored: Run, include: Sequence[Path], data_dir: Path | None, own: Task | None) -> Run:
    """The run that the stored one's request makes with today's code, data and weights."""
    if stored.model.startswith("file:"):
        raise UsageError(f"a record keeps no folder, so where {stored.model!r} lies is not known; run it again instead")
    card = names.card(stored.model).at(stored.preprocessing.resolution)
    task = own or _task_of(stored.task, include)
    if task.name != stored.task:
        raise UsageError(f"the record is of task {stored.task!r}, not of {task.name!r}")
    loaded = data.load(task, data_dir).limited(stored.limit)
    protocol = protocols.get(stored.protocol)
    known = {key: value for key, value in stored.config.items() if key in protocol.config.model_fields}
    return stored.model_copy(
        update={
            "weights": weights.identity(card),
            "preprocessing": card.preprocessing.for_task(task.resize),
            "task_version": task.version,
            "data": loaded.fingerprint,
            "subset": loaded.subset,
            "metric": task.metric,
            "protocol_version": protocol.version,
            "config": protocols.configure(stored.protocol, known).model_dump(mode="json"),
        }
    )


def _task_of(name: str, include: Sequence[Path]) -> Task:
    known = task_module.tasks(include)
    if name not in known and name.startswith(OWN):
        raise UsageError(f"a record keeps no folder, so where {name!r} lies is not known; name it with --task")
    return task_module.select([name], known)[0]
