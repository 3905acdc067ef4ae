"""Jobs of a Slurm cluster, an array of them, by submitit: a cell each.

A job that is preempted, or whose time is over, is told by a signal; its training writes a checkpoint, and the job goes
back into the queue (submitit's ``checkpoint``). What jobs say lies in ``logs`` of the results folder, which all must
see.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mixer_bench.errors import UsageError, unknown
from mixer_bench.executors import AGAIN, Cell, Ended, Site, Told
from mixer_bench.system import machine, signals
from mixer_bench.system.network import first_line
from mixer_bench.system.progress import ProgressLog

# A job whose time is over comes back, so it need not be long; submitit's five minutes would be too short to begin.
DEFAULTS: Mapping[str, Any] = {"timeout_min": 240, "name": "mixer-bench"}
TIMES = 1000  # that a job may come back because its time was over
WORDS = {"gpus": "gpus_per_node", "time": "timeout_min", "cpus": "cpus_per_task"}  # short names
ONE_PROCESS = ("nodes", "tasks_per_node", "ntasks_per_node", "map_count")  # what a cell has no use for
PAUSE = 1.0  # seconds between two looks at jobs
ARRAY = 256  # jobs of an array at once, where nobody says: submitit's
GPUS = re.compile("gpu|gres")  # settings that say how many GPUs a job has
CANCELLED = "cancelled"  # file beside the logs of jobs that are not to come back


def executor(site: Site) -> Slurm:
    """Return what does cells as jobs.

    Raises:
        UsageError: submitit is not installed, a setting is none of its, or there is no Slurm here.
    """
    try:
        import submitit
    except ImportError:
        raise UsageError("--executor slurm needs submitit: pip install 'mixer-bench[slurm]'") from None
    settings = {WORDS.get(key, key): value for key, value in site.settings.items()}
    cluster = settings.pop("cluster", "slurm")
    if cluster not in ("slurm", "local"):
        raise UsageError(f"--executor-set cluster={cluster}: must be slurm, or local for trying it out on this machine")
    if cluster == "slurm" and (missing := [name for name in ("sbatch", "srun") if shutil.which(name) is None]):
        raise UsageError(
            f"--executor slurm: no {' and no '.join(missing)} on this machine; is it one of the cluster's?"
        )
    generic, special = submitit.AutoExecutor._typed_parameters(), submitit.SlurmExecutor._valid_parameters()
    given = {}
    for key, text in settings.items():
        if key in ONE_PROCESS or key not in {*generic, *special}:
            raise unknown("setting of slurm", key, {*generic, *special, *WORDS, "cluster"} - {*ONE_PROCESS})
        given[key if key in generic else f"slurm_{key}"] = _value(text)
    named = any(GPUS.search(key) for key in given)
    gpus = {} if named or site.device == "cpu" or cluster == "local" else {"gpus_per_node": 1}
    if site.jobs:
        given["slurm_array_parallelism"] = site.jobs
    submitted = submitit.AutoExecutor(site.logs / "%j", cluster=cluster, slurm_max_num_timeout=TIMES)
    try:
        submitted.update_parameters(**{**DEFAULTS, **gpus, **given})
    except (AssertionError, NameError, TypeError, ValueError) as error:
        raise UsageError(f"--executor-set: {first_line(error)}") from None
    at_once = site.jobs or (machine.cores() if cluster == "local" else given.get("slurm_array_parallelism", ARRAY))
    return Slurm(submitted, site.logs, at_once, cluster == "local")


class Slurm:
    """The executor of a cluster."""

    def __init__(self, submitted: Any, logs: Path, at_once: int, here: bool) -> None:
        """Submit by submitit's ``submitted``; Slurm sees to it that no more work ``at_once``, if not ``here``."""
        self._submitted, self._logs, self._here = submitted, logs, here
        self.workers = at_once

    def run(self, cells: Sequence[Cell]) -> Generator[Told]:
        """Do all cells; ended before, cancel the jobs, which write checkpoints."""
        todo, running = list(enumerate(cells)), dict[int, Any]()
        mark = self._logs / f"{CANCELLED}-{os.getpid()}-{time.time_ns()}"
        try:
            while todo or running:
                many = self.workers - len(running) if self._here else len(todo)
                running |= self._begun(todo[:many], mark)
                del todo[:many]
                for number, job in [*running.items()]:
                    if job.done():
                        del running[number]
                        yield Told(number=number, ended=_ended(cells[number], job))
                if running:
                    time.sleep(PAUSE)
        finally:
            if running:
                mark.touch()
                for job in running.values():
                    job.cancel(check=False)

    def _begun(self, some: Sequence[tuple[int, Cell]], mark: Path) -> dict[int, Any]:
        """Submit cells, several as one array; return their jobs by number."""
        if not some:
            return {}
        folder, cache = str(Path.cwd()), os.environ.get("MIXER_BENCH_CACHE")
        works = [Job(cell.model_dump_json(), folder, cache, mark.absolute()) for _, cell in some]
        try:
            with self._submitted.batch():
                jobs = [self._submitted.submit(work) for work in works]
        except Exception as error:  # noqa: BLE001  whatever Slurm does not like of it
            raise UsageError(f"no job could be submitted: {first_line(error)}") from None
        return {number: job for (number, _), job in zip(some, jobs, strict=True)}


class Job:
    """A cell as submitit keeps it: called where the job runs, as often as it comes back."""

    def __init__(self, cell: str, folder: str, cache: str | None, cancelled: Path) -> None:
        """Do ``cell``, JSON, in ``folder``; where the file ``cancelled`` is, do not come back."""
        self._cell, self._folder, self._cache, self._cancelled = cell, folder, cache, cancelled

    def __call__(self) -> str:
        """Do the cell; return how it ended, JSON."""
        from mixer_bench.executors import worker

        requeue = signal.getsignal(signal.SIGUSR2)
        try:
            # In place of submitit's: what it does is done when all has ended that a signal ends, checkpoints written.
            with ProgressLog(1.0) as log:
                return worker.done_away(self._cell, self._folder, self._cache, functools.partial(_log, log))
        except signals.Terminated:
            if callable(requeue) and not self._cancelled.exists():
                requeue(signal.SIGUSR2, None)
            raise

    def checkpoint(self) -> Any:
        """Return what is done when the job comes back: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _log(log: ProgressLog, told: Told) -> None:
    """Say in the job's log what is told."""
    if told.line:
        log.line(told.line)
    else:
        log.label(told.label)
        log.advance(told.share - log.done)


def _ended(cell: Cell, job: Any) -> Ended:
    try:
        return Ended.model_validate_json(job.result())
    except Exception as error:  # noqa: BLE001  the job's own, or submitit's words on one that is lost
        state, reason = job.state, (str(error).strip() or type(error).__name__).splitlines()[-1]
        words = f"job {job.job_id} came to no end ({state}: {reason}); its words: {job.paths.stderr}"
        return Ended(error=f"{cell.label}: {words}; {AGAIN}", exit_code=1)


def _value(text: Any) -> Any:
    """Return the number, truth or list that ``text`` is, or the text."""
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text
