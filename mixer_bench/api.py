"""The verbs as calls: what the command line and ``import mixer_bench`` share."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixer_bench import data
from mixer_bench.data.names import chosen_tasks
from mixer_bench.errors import MixerBenchError, ResultsError, UsageError
from mixer_bench.executors import driver
from mixer_bench.models import names
from mixer_bench.report import rows
from mixer_bench.report.models import About
from mixer_bench.results.record import Record
from mixer_bench.results.store import Store, read_record
from mixer_bench.runs.options import Options
from mixer_bench.system import config_file, network

if TYPE_CHECKING:
    import pandas

    from mixer_bench.models.backbone import Backbone


def run(
    task: str | Sequence[str], model: str | Sequence[str], protocol: str | Sequence[str] | None = None, **options: Any
) -> pandas.DataFrame:
    """Measure models on tasks, as ``mixer-bench run`` does, and return the rows of these very runs.

    Args:
        task: names, groups, globs, folders, lists.
        model: names.
        protocol: names; None: few-shot and fine-tuning.
        options: the command's flags (``help(mixer_bench.run)`` lists them); None is the same as leaving one out.

    Returns:
        One row a run and metric, the columns of ``load_results``.

    Raises:
        MixerBenchError: an unknown name, missing data or weights, or a run that failed.
    """
    asked, _ = config_file.resolved(Options, {"task": task, "model": model, "protocol": protocol, **options})
    if asked.gpus_per_run > 1:
        raise UsageError("gpus_per_run: several processes are started by the command line or by torchrun")
    with network.as_before():
        done = driver.run(asked, quiet=True)
    if done.exit_code:
        failed = [f"failed: {file}" for file in done.failed]
        raise MixerBenchError("; ".join([*done.unavailable, *done.errors, *failed]))
    return _frame([read_record(Path(file)) for file in done.records])


def _signature() -> inspect.Signature:
    """What ``help`` shows of ``run``: all options by name."""
    first = list(inspect.signature(run).parameters.values())[:3]
    rest = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default)
        for name, field in Options.model_fields.items()
        if name not in ("task", "model", "protocol")
    ]
    return inspect.Signature([*first, *rest])


vars(run)["__signature__"] = _signature()


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
    return _frame(records)


def _frame(records: Sequence[Record]) -> pandas.DataFrame:
    import pandas

    return pandas.DataFrame(rows.tidy(records, About.of(records)), columns=list(rows.COLUMNS))


def load_task(name: str, data_dir: str | Path | None = None) -> data.TaskData:
    """Return the images and labels of a task, by its name or as a folder, a list or a hub address."""
    return data.load(chosen_tasks([name])[0], Path(data_dir) if data_dir else None)


def load_model(name: str, device: str = "auto") -> Backbone:
    """Return a model ready to compute features, with its checkpoint's own preprocessing."""
    from mixer_bench.models import backbone
    from mixer_bench.models import device as device_module

    card = names.card(name)
    return backbone.load(card, card.preprocessing, device_module.pick_device(device))
