"""Showing runs in trackio, wandb or TensorBoard while they are made: curves of trainings, and scores at the end.

The tracker is in a process of its own (``trackers.py``), which is told and never waited for but at the end, and then
not for long. What befalls it is said once and changes nothing that is measured.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from mixer_bench.errors import UsageError
from mixer_bench.results import naming
from mixer_bench.results.record import Record
from mixer_bench.results.store import Store
from mixer_bench.runs.options import Options
from mixer_bench.runs.plan import Planned
from mixer_bench.system import network
from mixer_bench.system.progress import ProgressLog
from mixer_bench.training.trainable import Point

LOG = logging.getLogger(__name__)
PROJECT = "mixer-bench"
PATIENCE = 60.0  # seconds in which a tracker may send, at the end, what is left
HURRY = 5.0  # the same where the measurement was broken off
PRIVATE = {  # of wandb's own variables: it would send more of this machine than records hold
    "WANDB__DISABLE_META": "true",
    "WANDB__DISABLE_MACHINE_INFO": "true",
    "WANDB__DISABLE_STATS": "true",
    "WANDB__SAVE_REQUIREMENTS": "false",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_HOST": "unnamed",
}
WAYS = {  # to look at what was sent
    "trackio": "trackio show --project {project}",
    "wandb": "project {project} on wandb, or wandb sync where it was offline",
    "tensorboard": "tensorboard --logdir {folder}",
}


def check(name: str | None) -> None:
    """Refuse a tracker that is not installed.

    Raises:
        UsageError: says how to install it.
    """
    if name is None:
        return
    package = importlib.util.find_spec(name)
    if package is None or package.origin is None:  # a folder that wandb itself left is no package
        raise UsageError(f"--track {name}: {name} is not installed: pip install 'mixer-bench[{name}]'")


def way(options: Options) -> str:
    """Return how to look at what is sent to the tracker of ``options``."""
    name = str(options.track)
    return WAYS[name].format(project=_project(name), folder=options.output_dir / name)


def _project(name: str) -> str:
    return os.environ.get(f"{name.upper()}_PROJECT") or PROJECT


class Tracker:
    """Whoever follows runs: here, nobody."""

    def start(self, planned: Planned) -> None:
        """Begin a run of the tracker; one before it that did not finish has failed."""

    def log(self, points: Sequence[Point]) -> None:
        """Add points to its curves."""

    def finish(self, record: Record) -> None:
        """End it with a record's scores and their intervals."""


class Following(Tracker):
    """A tracker at work."""

    def __init__(self, name: str, store: Store, log: ProgressLog) -> None:
        """Start the process; ``log`` is told what is waited for."""
        self._name, self._store, self._log = name, store, log
        self._reached: dict[str, int] = {}  # of the run under way: the last step of each curve
        self._troubles: list[str] = []
        self._said = False
        offline = {"WANDB_MODE": "offline"} if network.offline() else {}
        # Of no terminal: it can ask nobody, and signals of the terminal reach it through this process alone.
        # -P: a folder "wandb" or a file "queue.py" in the working folder is nothing to it.
        self._process = subprocess.Popen(
            (sys.executable, "-P", "-m", "mixer_bench.runs.trackers", name),
            env={**PRIVATE, **offline, **os.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # Windows' way
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def start(self, planned: Planned) -> None:
        """Begin a run of the tracker."""
        run, store = planned.run, self._store
        self._reached = {}
        told = {
            "name": f"{naming.groups([run])[run.but_seed]} seed {run.seed}",
            "group": run.task,
            "project": _project(self._name),
            "config": {
                "model": run.model,
                **naming.flat(run.identity),
                "preset": planned.variant.preset,
                "key": run.key,
            },
            "folder": f"{store.folder / self._name / store.place(run, '').relative_to(store.folder / 'runs')}",
        }
        self._tell("start", told)

    def log(self, points: Sequence[Point]) -> None:
        """Add points to its curves, each under the name of its training."""
        for training, step, values in points:
            curves = {f"{training}/{name}": float(value) for name, value in values.items()}
            new = {name: value for name, value in curves.items() if step > self._reached.get(name, -1)}
            self._reached |= dict.fromkeys(new, step)
            if new:
                self._tell("log", step, new)

    def finish(self, record: Record) -> None:
        """End it."""
        scores: dict[str, float] = {}
        for name, measured in record.metrics.items():
            low, high = measured.ci95
            scores |= {f"test/{name}": measured.value, f"test/{name}_low": low, f"test/{name}_high": high}
        self._tell("finish", scores)

    def close(self, patience: float) -> None:
        """Let the process end, in so many seconds."""
        assert self._process.stdin is not None
        self._log.now(f"{self._name} sends what is left")
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            code = self._process.wait(patience)
            if code:
                self._troubles.append(f"its process ended with exit code {code}")
        except subprocess.TimeoutExpired:
            self._troubles.append(f"it did not end in {patience:g} s and was stopped; what it had not sent may be lost")
        finally:
            if self._process.returncode is None:
                self._kill()
        self._listener.join(HURRY)  # what it started may go on, and keep the pipe open
        self._complain()

    def _kill(self) -> None:
        """End the process, and what it started with it."""
        if hasattr(os, "killpg") and hasattr(signal, "SIGKILL"):
            with contextlib.suppress(OSError):  # it ends just then
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def _tell(self, *message: Any) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended: that is said in the end
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        self._complain()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                self._troubles.append(line.rstrip("\n"))

    def _complain(self) -> None:
        """Say what went wrong first."""
        if self._troubles and not self._said:
            self._said = True
            LOG.warning("--track %s: %s; runs and records are not affected", self._name, self._troubles[0])


@contextlib.contextmanager
def following(name: str | None, store: Store, log: ProgressLog) -> Iterator[Tracker]:
    """Give what follows runs in the tracker ``name``; None: nobody does."""
    try:
        tracker = Following(name, store, log) if name is not None else None
    except OSError as error:
        LOG.warning("--track %s: no process could be started for it (%s); nothing is sent", name, error.strerror)
        tracker = None
    if tracker is None:
        yield Tracker()
        return
    patience = HURRY
    try:
        yield tracker
        patience = PATIENCE
    finally:
        tracker.close(patience)
