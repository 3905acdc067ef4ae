"""Tasks of a Ray cluster, or of one that is started on this machine: a cell each.

Ray does a task again where its machine or process is lost. What tasks say comes with their end.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from pydantic import NonNegativeFloat, NonNegativeInt

from mixer_bench.errors import UsageError
from mixer_bench.executors import AGAIN, Cell, Ended, Site, Told
from mixer_bench.system import machine, schema
from mixer_bench.system.network import first_line

PAUSE = 1.0  # seconds between two looks at tasks
CONNECTING = 10.0  # seconds until a cluster has answered
PATIENCE = 60.0  # seconds in which tasks that are to end write checkpoints
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


class Settings(schema.Frozen):
    """What can be set of it."""

    address: str | None = None  # of a cluster; None: one is started here, and ends with the command
    num_cpus: NonNegativeFloat | None = None  # of a cell; None: its share, beside a GPU, else one
    num_gpus: NonNegativeFloat | None = None  # of a cell; None: one where the cluster has any
    max_retries: NonNegativeInt = 3  # of a cell whose process or machine is lost


def executor(site: Site) -> Ray:
    """Return what does cells as tasks.

    Raises:
        UsageError: ray is not installed, or a setting is none of these.
    """
    try:
        import ray  # noqa: F401
    except ImportError:
        raise UsageError("--executor ray needs ray: pip install 'mixer-bench[ray]'") from None
    asked = {"address": os.environ.get("RAY_ADDRESS"), **site.settings}
    settings = schema.validated("setting of ray", Settings, asked)
    if settings.address not in (None, "auto"):
        _reach(settings.address)
    return Ray(site, settings)


def _reach(address: str) -> None:
    """Refuse an address where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECTING).close()
    except (OSError, ValueError) as error:
        raise UsageError(f"--executor-set address={address}: no Ray cluster answers there ({error})") from None


class Ray:
    """The executor of a cluster."""

    def __init__(self, site: Site, settings: Settings) -> None:
        """Do cells as ``settings`` say."""
        self._site, self._settings = site, settings
        self.workers = site.jobs or machine.cores()

    def run(self, cells: Sequence[Cell]) -> Generator[Told]:
        """Do all cells; ended before, cancel the tasks, which write checkpoints."""
        import ray

        self._join()
        running: dict[Any, int] = {}
        todo = list(enumerate(cells))
        try:
            task = ray.remote(**self._needs(ray.cluster_resources()))(_done)
            folder, cache = str(Path.cwd()), os.environ.get("MIXER_BENCH_CACHE")
            while todo or running:
                for number, cell in todo[: self.workers - len(running)]:
                    running[task.remote(cell.model_dump_json(), folder, cache)] = number
                    todo.remove((number, cell))
                for reference in ray.wait([*running], timeout=PAUSE)[0]:
                    number = running.pop(reference)
                    yield from _told(number, cells[number], reference)
        finally:
            for reference in running:
                ray.cancel(reference)
            if running:
                ray.wait([*running], num_returns=len(running), timeout=PATIENCE)
            ray.shutdown()

    def _join(self) -> None:
        """Reach the cluster, or start one.

        Raises:
            UsageError: there is none at the address.
        """
        import ray

        os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
        address, before = self._settings.address, signal.getsignal(signal.SIGTERM)
        cores = max(machine.cores(), int(self.workers * (self._settings.num_cpus or 1)))
        ours = {} if address else {"num_cpus": cores, "include_dashboard": False}
        try:
            ray.init(address=address or "local", logging_level="error", log_to_driver=False, **ours)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"--executor ray: no cluster at {address or 'this machine'}: {first_line(error)}"
            ) from None
        signal.signal(signal.SIGTERM, before)  # Ray's would end the program in the middle of anything

    def _needs(self, cluster: dict[str, float]) -> dict[str, float]:
        """Return what a task has of the cluster's resources."""
        gpus, cpus = self._settings.num_gpus, self._settings.num_cpus
        if gpus is None:
            gpus = 0 if self._site.device == "cpu" else min(1, cluster.get("GPU", 0))
        if cpus is None:
            cpus = max(1, cluster.get("CPU", 1) * gpus // cluster["GPU"]) if gpus else 1
        return {"num_cpus": cpus, "num_gpus": gpus, "max_retries": self._settings.max_retries}


def _done(cell: str, folder: str, cache: str | None) -> tuple[list[str], str]:
    """Do a cell, in a process of Ray's; return what was said and how it ended, JSON."""
    from mixer_bench.executors import worker

    said: list[Told] = []
    ended = worker.done_away(cell, folder, cache, said.append)
    return [told.line for told in said if told.line], ended


def _told(number: int, cell: Cell, reference: Any) -> Generator[Told]:
    import ray

    try:
        said, text = ray.get(reference)
    except ray.exceptions.RayError as error:
        words = f"{cell.label}: its task came to no end ({type(error).__name__}: {first_line(error)}); {AGAIN}"
        yield Told(number=number, ended=Ended(error=words, exit_code=1))
        return
    for line in said:
        yield Told(number=number, line=line)
    yield Told(number=number, ended=Ended.model_validate_json(text))
