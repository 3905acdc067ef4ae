"""Processes that do cells, as forks of one that has everything loaded; and what records say besides time and place."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mixer_bench.executors import worker
from tests.forks import FORKS, TIMEOUT, Prepare

PASSING = ("cost", "environment", "extraction_environment", "created", "checksum")  # fields of time and place


def _work(ends: tuple[Any, ...], environment: Mapping[str, str], folder: str, prepare: Prepare | None) -> None:
    """In the fork: a worker, as it is after ``python -m``."""
    import torch

    torch.set_num_threads(1)
    os.setsid()
    os.chdir(folder)
    for number, end in enumerate(ends):
        os.dup2(end.fileno(), number)
        end.close()
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", closefd=False)
    if prepare is not None:
        prepare()
    sys.exit(worker.main())


class Fork:
    """What ``subprocess.Popen`` would be."""

    def __init__(self, environment: Mapping[str, str], prepare: Prepare | None = None) -> None:
        (given, gives), (hears, tells), (reads, says) = (FORKS.Pipe(duplex=False) for _ in range(3))
        ends = (given, tells, says)
        whole = {**os.environ, **environment}
        self._process: Any = FORKS.Process(target=_work, args=(ends, whole, str(Path.cwd()), prepare))
        self._process.start()
        for end in ends:
            end.close()
        self.stdin = os.fdopen(os.dup(gives.fileno()), "w", encoding="utf-8")
        self.stdout, self.stderr = (os.fdopen(os.dup(end.fileno()), encoding="utf-8") for end in (hears, reads))
        for end in (gives, hears, reads):
            end.close()

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def wait(self) -> int:
        self._process.join(TIMEOUT)
        return int(self._process.exitcode)

    def kill(self) -> None:
        self._process.kill()


def launching(*prepared: Prepare | None) -> tuple[Callable[[Mapping[str, str]], Fork], list[Fork]]:
    """What stands in for ``local.launch``, and the forks it makes: each does what is next in ``prepared`` first."""
    begun: list[Fork] = []
    places = itertools.count()  # of threads that launch at once each has another

    def launch(environment: Mapping[str, str]) -> Fork:
        place = next(places)
        begun.append(Fork(environment, prepared[place] if place < len(prepared) else None))
        return begun[-1]

    return launch, begun


def essence(results: Path) -> dict[str, Any]:
    """By file all that a results folder holds, but time and place."""
    held: dict[str, Any] = {}
    for file in (results / "runs").rglob("[!.]*"):
        if file.suffix == ".json":
            record = json.loads(file.read_text(encoding="utf-8"))
            held[str(file.relative_to(results))] = {key: record[key] for key in record if key not in PASSING}
        elif file.is_file():
            held[str(file.relative_to(results))] = file.read_bytes()
    return held
