"""Where the work of a request is done: in this process, in one a GPU, on a cluster. One interface, one module each.

A request is cut into cells. A cell is small and knows nothing of images: it plans for itself where it is done, and what
it leaves are records in the results folder, which all share. Only how it ended travels back.

``local``, ``slurm`` and ``ray`` are ours; other packages add theirs by entry points of the group
``mixer_bench.executors`` that name a function from ``Site`` to ``Executor``.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mixer_bench.errors import unknown
from mixer_bench.runs.options import Options
from mixer_bench.runs.summary import Summary
from mixer_bench.system import plugins
from mixer_bench.system.schema import Frozen

GROUP = "mixer_bench.executors"  # of entry points
AGAIN = "the same command does it again"


class Cell(Frozen):
    """What one process does at a time: a part of a request, itself a request."""

    options: Options  # of one task; of models that see equal squares, or of one that is trained
    label: str
    weight: float = 1.0  # FLOPs, about: those that take longest begin first

    @functools.cached_property
    def claim(self) -> Path:
        """What stands for it where several processes share the work: the same for all that ask for the same."""
        how = {"data_dir", "output_dir", "fresh", "overwrite", "track"}
        content = self.options.model_dump_json(exclude=how)
        return self.options.output_dir / "runs" / f"cell-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


class Ended(Frozen):
    """How a cell ended: what became of it, or in words why nothing did."""

    summary: Summary | None = None
    error: str = ""
    exit_code: int = 0
    busy: bool = False  # another process does it: nothing was done here


class Told(Frozen):
    """What is told of a cell while it is done, and at its end."""

    number: int  # of the cell, among those that were given
    worker: int = 0  # which of those that work at once does it
    share: float = 0.0  # done of it
    label: str = ""
    line: str = ""  # to be printed
    ended: Ended | None = None


class Executor(Protocol):
    """Does cells."""

    workers: int  # that work at once, at most

    def run(self, cells: Sequence[Cell]) -> Generator[Told]:
        """Do all cells, the first ones first, and tell the end of each once.

        Closed before that (``contextlib.closing``), it ends what is under way: a training with a checkpoint.
        """
        ...


@dataclass(frozen=True)
class Site:
    """What an executor is told of where and how to work."""

    device: str  # as --device has it
    jobs: int | None  # at once; None: as many as suit
    settings: Mapping[str, Any]  # of --executor-set
    logs: Path  # folder for what its processes say, if they cannot say it here


def get(name: str) -> Callable[[Site], Executor]:
    """Return the function that makes executor ``name``.

    Raises:
        UsageError: there is none of that name, or the package that adds it cannot be imported.
    """
    ours = ("local", "slurm", "ray")
    if name in ours:
        made: Callable[[Site], Executor] = importlib.import_module(f"{__name__}.{name}").executor
        return made
    if name not in plugins.names(GROUP):
        raise unknown("executor", name, [*ours, *plugins.names(GROUP)])
    loaded: Callable[[Site], Executor] = plugins.load("executor", GROUP, name, ours)
    return loaded
