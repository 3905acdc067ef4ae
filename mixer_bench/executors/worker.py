"""Doing a cell, wherever that is; and a process of this machine that does one after another.

``python -m mixer_bench.executors.worker`` reads cells from its input, a JSON object a line, and writes what it tells of
them to its output likewise. Whatever else it says goes to its standard error. When its input ends, so does it: a
training that is under way with a checkpoint. So it does not outlive who started it.
"""

from __future__ import annotations

import _thread
import contextlib
import functools
import os
import queue
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TextIO

from mixer_bench.errors import DataError, MixerBenchError
from mixer_bench.executors import Cell, Ended, Told
from mixer_bench.runs import command
from mixer_bench.system import claims, signals
from mixer_bench.system.console import show_notes
from mixer_bench.system.progress import ProgressLog

CORES = "MIXER_BENCH_CORES"  # variable: the processors that are a worker's own
OFTEN = 0.2  # seconds between two words on progress
Hear = Callable[[Told], object]


class Reported(ProgressLog):
    """Progress that another process shows."""

    def __init__(self, hear: Hear, number: int, total: float) -> None:
        """Start the clock; ``hear`` is told of cell ``number``."""
        super().__init__(total, quiet=True)
        self._hear, self._number, self._told = hear, number, 0.0

    def label(self, text: str) -> None:
        """Say what is being worked on."""
        self._label = text
        self.advance(0)

    def advance(self, units: float = 1) -> None:
        """Count what more is done."""
        self.done += units
        if time.monotonic() - self._told >= OFTEN:
            self._told = time.monotonic()
            share = min(1.0, self.done / self.total) if self.total else 0.0
            self._hear(Told(number=self._number, share=share, label=self._label))

    def line(self, text: str) -> None:
        """Say what stays to be read."""
        self._hear(Told(number=self._number, line=text))


def done(cell: Cell, hear: Hear, number: int = 0) -> Ended:
    """Do a cell, unless another process does it; return how it ended."""

    def remark(text: str) -> None:
        hear(Told(number=number, line=text))

    with claims.claimed(cell.claim) as free:
        if not free:
            return Ended(busy=True)
        try:
            with claims.renewed(cell.claim):
                return Ended(summary=command.do(cell.options, remark, functools.partial(Reported, hear, number)))
        except MixerBenchError as error:
            return Ended(error=str(error), exit_code=error.exit_code)
        except OSError as error:
            return Ended(error=f"{error.filename or 'a file'}: {error.strerror}", exit_code=DataError.exit_code)


def done_away(cell: str, folder: str, cache: str | None, hear: Hear) -> str:
    """Do a cell, JSON, far from its driver but in its folder and cache; return how it ended, JSON."""
    os.chdir(folder)
    if cache is not None:
        os.environ["MIXER_BENCH_CACHE"] = cache
    with prepared():
        return done(Cell.model_validate_json(cell), hear).model_dump_json()


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """Say notes on stderr, and end by signals so that what is under way is kept."""
    show_notes()
    with warnings.catch_warnings(), signals.heard(signals.TERMINATING, signals.terminate):
        warnings.filterwarnings("ignore", module="PIL")  # of metadata that nothing here reads
        yield


def main() -> int:
    """Do the cells that come in; return the exit code."""
    told = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no word on a cell
    if hasattr(os, "sched_setaffinity") and (cores := os.environ.get(CORES)):
        os.sched_setaffinity(0, map(int, cores.split(",")))

    def hear(word: Told) -> None:
        with contextlib.suppress(OSError):  # nobody hears it any more
            told.write(word.model_dump_json() + "\n")

    cells: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    working = threading.Event()
    threading.Thread(target=_listen, args=(sys.stdin, cells, working), daemon=True).start()
    hear(Told(number=-1))
    try:
        with prepared():
            while (text := cells.get()) is not None:
                number, _, cell = text.partition(" ")
                hear(Told(number=int(number), ended=done(Cell.model_validate_json(cell), hear, int(number))))
                working.clear()
    except signals.Terminated as ended:
        return ended.exit_code
    return 0


def _listen(given: TextIO, cells: queue.SimpleQueue[str | None], working: threading.Event) -> None:
    for line in given:
        working.set()
        cells.put(line)
    cells.put(None)
    if working.is_set():
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        else:  # Windows: heard before the main thread's next step
            _thread.interrupt_main(signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
