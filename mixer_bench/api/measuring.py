"""Functions that measure, and those that get things ready for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixer_bench.api.results import as_rows
from mixer_bench.errors import MixerBenchError, UsageError
from mixer_bench.executors import driver
from mixer_bench.results.store import read_record
from mixer_bench.runs.options import Options
from mixer_bench.system import config_file, network
from mixer_bench.system.options import documented

if TYPE_CHECKING:
    import pandas


@documented(Options)
def run(
    task: str | Sequence[str], model: str | Sequence[str], protocol: str | Sequence[str] | None = None, **options: Any
) -> pandas.DataFrame:
    """Measure models on tasks, as ``mixer-bench run`` does, and return the rows of these very runs.

    What is there already is not computed again. An argument that is None is left to the environment or its default.

    Args:
        task: names, groups, globs, folders, lists: text with commas, or a sequence.
        model: names, likewise.
        protocol: names, likewise; None: few-shot and fine-tuning.
        **options:

    Returns:
        One row a run and metric, with the columns of ``load_results``; values and intervals are in [0, 1].

    Raises:
        MixerBenchError: an unknown name, missing data or weights, or a run that failed; says which and what to do.
    """
    asked, _ = config_file.resolved(Options, {"task": task, "model": model, "protocol": protocol, **options})
    if asked.gpus_per_run > 1:
        raise UsageError("gpus_per_run: several processes are started by the command line or by torchrun")
    with network.as_before():
        done = driver.run(asked, quiet=True)
    if done.exit_code:
        failed = [f"failed: {file}" for file in done.failed]
        raise MixerBenchError("; ".join([*done.unavailable, *done.errors, *failed]))
    return as_rows([read_record(Path(file)) for file in done.records])
