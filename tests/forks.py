"""The command line in forks of one process that has torch loaded already.

They are real processes with real exits, without seconds of imports for each.
"""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mixer_bench.results.record import Record
from mixer_bench.results.store import Store

resource = pytest.importorskip("resource", reason="needs a POSIX system")  # whoever imports this is skipped on Windows

TIMEOUT = 120.0
Scores = dict[str, dict[str, Any]]  # what was measured, by key
Prepare = Callable[[], object]  # what a fork does before its command: a function that can be pickled
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.warm"])


class Done(NamedTuple):
    """How a command ended."""

    code: int
    said: str


def child(arguments: tuple[str, ...], cache: str, said: str, prepare: Prepare | None) -> None:
    """In the fork: the command line, its words into the file ``said``."""
    for number in (1, 2):
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ["MIXER_BENCH_CACHE"] = cache
    os.chdir(Path(cache).parent)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit it as ignored,
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and those of nohup this one
    import torch

    from mixer_bench.cli import app

    torch.set_num_threads(1)
    if prepare is not None:
        prepare()
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    sys.exit(app.main(list(arguments)))


class Started:
    """A command at work, in the folder that holds the cache."""

    numbers = itertools.count()

    def __init__(self, cache: Path, *arguments: str, prepare: Prepare | None = None) -> None:
        self.said = cache.parent / f"said-{next(self.numbers)}.txt"
        self.process: Any = FORKS.Process(target=child, args=(arguments, str(cache), str(self.said), prepare))
        self.process.start()

    def done(self) -> Done:
        self.process.join(TIMEOUT)
        if (code := self.process.exitcode) is None:
            self.process.kill()
        return Done(code, self.said.read_text(encoding="utf-8") if self.said.exists() else "")


def forked(cache: Path, *arguments: str, prepare: Prepare | None = None) -> Done:
    return Started(cache, *arguments, prepare=prepare).done()


def signal_itself(records: int, number: signal.Signals) -> None:
    """Get a signal when so many records are written: however busy the machine, never too late."""
    save, numbers = Store.save, itertools.count()

    def counted(*arguments: Any) -> Any:
        if next(numbers) == records:
            os.kill(os.getpid(), number)
        return save(*arguments)

    Store.save = counted  # type: ignore[method-assign]


def in_training(step: int, done: Prepare) -> None:
    """Do something when a step of a fine-tuning that goes on from no checkpoint asks for its images."""
    from mixer_bench.training import finetuning

    train = finetuning.train

    def trained(network: Any, optimizer: Any, batch_at: Any, loop: Any, checkpoint: Any, on_log: Any) -> Any:
        def at(number: int, *part: int) -> Any:
            if number == step and not checkpoint.file.exists():
                done()
            return batch_at(number, *part)

        return train(network, optimizer, at, loop, checkpoint, on_log)

    finetuning.train = trained


def signal_in_training(step: int, number: signal.Signals) -> None:
    """Get a signal at that step."""
    in_training(step, functools.partial(signal.raise_signal, number))


def hang_up_in_training(step: int, terminal: str) -> None:
    """Work on a terminal, and wait at that step until it is gone."""
    os.setsid()
    opened = os.open(terminal, os.O_RDWR)  # of a session that has none it becomes the controlling one
    for number in (1, 2):
        os.dup2(opened, number)
    os.close(opened)

    def until_gone() -> None:
        os.write(1, f"at step {step}\n".encode())
        while os.isatty(1):
            time.sleep(0.01)

    in_training(step, until_gone)


def limit_files(size: int) -> None:
    """Let no file become larger, as on a disk that is full; bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def whole(results: Path) -> list[Record]:
    """All records; each is whole, where it belongs, and has its predictions."""
    store = Store(results)
    records, problems = store.records()
    assert problems == []
    for record in records:
        assert len(store.predictions(record).label) == record.n_test
    return records


def scores(results: Path) -> Scores:
    return {record.run.key: record.model_dump()["metrics"] for record in whole(results)}


def leftovers(results: Path) -> list[str]:
    return [
        file.name
        for file in results.rglob("*")
        if file.is_file() and file.suffix not in (".json", ".npz", ".safetensors")
    ]
