"""Which field of identity makes a stored record stale."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mixer_bench import data, protocols
from mixer_bench.errors import ResultsError, UsageError
from mixer_bench.models import names, weights
from mixer_bench.results import made as made_module
from mixer_bench.results.made import Made
from mixer_bench.results.record import Run
from mixer_bench.results.store import Store, read_record
from mixer_bench.runs.options import Options
from mixer_bench.stats import metrics
from mixer_bench.system import machine
from mixer_bench.task import task as task_module
from mixer_bench.task.task import OWN, Task


class Explained(NamedTuple):
    """What became of a record's identity."""

    text: str
    current: bool  # whether the record is what this code would give


def find(record: str, results: Path) -> Path:
    """Return a record's file, by its path or by the start of its key in a results folder.

    Raises:
        ResultsError: there is none, or there are several.
    """
    if Path(record).is_file():
        return Path(record)
    store = Store(results)
    records, _ = store.records()
    files = sorted({store.place(stored.run, ".json") for stored in records if stored.run.key.startswith(record)})
    if len(files) != 1:
        raise ResultsError(f"{len(files)} records in {results} have a key that starts with {record!r}; name one file")
    return files[0]


def explain(file: Path, tasks: Sequence[Task], options: Options) -> Explained:
    """Compare a stored record's identity with what the same request would measure today.

    Args:
        file: the record's.
        tasks: images of one's own, where the record's task has no file.
        options: where task files and images are.

    Raises:
        ResultsError: it is no record.
        MixerBenchError: its task, model or protocol is not here any more.
    """
    record = read_record(file)
    stored = record.run
    task = tasks[0] if tasks else task_of(stored.task, options.include)
    then, today = stored.identity, _today(stored, task, options.data_dir).identity
    made, here = Made.of(record), {name: [value] for name, value in machine.unchanging().items()}
    other = made_module.other_code(made, stored.protocol)
    what = f"{stored.model} on {stored.task}, {stored.protocol} {json.dumps(stored.config)}, seed {stored.seed}"
    lines = [f"{file}", f"  {what}"]
    if then != today:
        lines += ["  stale: the same request has another key today, because of"]
    elif other:
        lines += [
            f"  not known: the request has this key today, but other code made it ({', '.join(other)}): run --fresh"
        ]
    else:
        lines += ["  current: the same request has this key today and would not be computed again"]
    for key in then:
        if then[key] != today[key]:
            lines += [f"  {key}: was {json.dumps(then[key])}", f"  {' ' * len(key)}  now {json.dumps(today[key])}"]
    known = made_module.values([made])
    besides = made_module.differing(known, here)
    lines += [f"  {made_module.words([made], other)}"]
    lines += [f"  with other than here: {'; '.join(besides)}"] if besides else []
    return Explained("\n".join(lines) + "\n", then == today and not other)


def _today(stored: Run, task: Task, data_dir: Path) -> Run:
    """The run that the stored one's request makes with today's code, data and weights."""
    if stored.model.startswith("file:"):
        raise UsageError(f"a record keeps no folder, so where {stored.model!r} lies is not known; run it again instead")
    card = names.card(stored.model).at(stored.preprocessing.resolution)
    if task.name != stored.task:
        raise UsageError(f"the record is of task {stored.task!r}, not of {task.name!r}")
    images = data.load(task, data_dir).limited(stored.limit)
    return stored.model_copy(
        update={
            "weights": weights.identity(card),
            "preprocessing": card.preprocessing.for_task(task.resize),
            "task_version": task.version,
            "data": images.fingerprint,
            "subset": images.subset,
            "metric": task.metric,
            "metric_version": metrics.get(task.metric).version,
            "protocol_version": protocols.get(stored.protocol).version,
            "config": _config_today(stored),
        }
    )


def _config_today(stored: Run) -> dict[str, Any]:
    """The stored settings as today's protocol has them; those of another version may contradict each other today."""
    protocol = protocols.get(stored.protocol)
    settings = {key: value for key, value in stored.config.items() if key in protocol.config.model_fields}
    try:
        return protocols.configure(stored.protocol, settings).model_dump(mode="json")
    except UsageError:
        if protocol.version == stored.protocol_version:
            raise
        return settings


def task_of(name: str, include: Sequence[Path]) -> Task:
    """Return the task that a record names.

    Raises:
        UsageError: it has no file: its images lie where the record does not say.
    """
    known = task_module.tasks(include)
    if name not in known and name.startswith(OWN):
        raise UsageError(f"a record keeps no folder, so where {name!r} lies is not known; name it with --task")
    return task_module.select([name], known)[0]
