"""A job of submitit's in a fork, as its controller starts one: preempted at a step of its training, its steps noted."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import Any

from submitit.core.submission import process_job
from submitit.core.utils import DelayedSubmission, JobPaths
from submitit.local.local import LOCAL_REQUEUE_RETURN_CODE

from mixer_bench.executors import slurm
from tests.forks import signal_in_training

STEP, JOB, MINUTES = 3, "7", 60
NOTES = Path("steps.txt")
ENVIRONMENT = {"EXECUTOR": "local", "LOCAL_JOB_ID": JOB, "LOCAL_NTASKS": "1", "LOCAL_JOB_NUM_NODES": "1"}
ENVIRONMENT |= {f"LOCAL_{name}": "0" for name in ("NODEID", "GLOBALID", "LOCALID")}


def submitted(job: slurm.Job, folder: Path) -> JobPaths:
    """Put a job where it is looked for when it begins."""
    paths = JobPaths(folder, JOB, 0)
    folder.mkdir()
    delayed = DelayedSubmission(job)
    delayed.set_timeout(MINUTES, 1)
    delayed.dump(paths.submitted_pickle)
    return paths


def run(number: signal.Signals | None, folder: Path) -> None:
    """In the fork, in place of its command: do the job; be sent the signal at a step."""
    from mixer_bench.training import finetuning

    os.environ.update({f"SUBMITIT_{name}": value for name, value in ENVIRONMENT.items()})
    finetuning.train = functools.partial(_noted, finetuning.train)
    if number is not None:
        signal_in_training(STEP, number)
    try:
        process_job(folder)
    except SystemExit as ended:
        _note("back " * (ended.code == LOCAL_REQUEUE_RETURN_CODE))
        raise


def _noted(train: Any, network: Any, optimizer: Any, batch_at: Any, *rest: Any) -> Any:
    def at(number: int, *part: int) -> Any:
        _note(f"{number} ")
        return batch_at(number, *part)

    return train(network, optimizer, at, *rest)


def _note(text: str) -> None:
    with NOTES.open("a", encoding="utf-8") as file:
        file.write(text)
