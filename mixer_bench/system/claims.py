"""Claims: of several processes one does a piece of work, and the others do something else or wait.

A claim is a lock on a file beside the outcome. The kernel releases it when its holder dies, however it dies: then the
work is free again. Where there are no locks, or they do not reach another machine, both do the work; outcomes are
written whole, so that costs time and nothing else. A file server frees a lock when it learns that its machine is gone;
some (NFS 3) learn it when that machine comes back. Such a claim is stale: it is seen by that nobody renews it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from mixer_bench.system import files

PAUSE = 0.2  # seconds between two looks at what others are doing
RENEWAL = 30.0  # seconds after which a holder shows that it lives
STALE = 20 * RENEWAL  # seconds without that, after which nobody believes it


def place_of(outcome: Path) -> Path:
    """Return the file that is locked for the work that ends in ``outcome``."""
    return outcome.with_name(f".mixer-bench.{outcome.name}.claim")


@contextlib.contextmanager
def claimed(outcome: Path) -> Iterator[bool]:
    """Claim for the block the work that ends in ``outcome``; give whether nobody else does it."""
    file = place_of(outcome)
    try:
        handle, free = _taken(file)
    except OSError:
        handle, free = None, True  # nothing can be claimed here: a cache that is read-only, or without locks
    try:
        yield free
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                file.unlink()
            os.close(handle)


def turns(outcomes: Sequence[Path], waiting: Callable[[list[int]], object]) -> Generator[int]:
    """Give the number of each piece of work once, while it is claimed; what others are doing comes when they end.

    Close it (``contextlib.closing``), so that what is claimed is free when the work on it fails. ``waiting`` is told
    which are left when others are doing all of these.
    """
    left, told = [*range(len(outcomes))], False
    while left:
        busy = []
        for number in left:
            with claimed(outcomes[number]) as free:
                if free:
                    yield number
                else:
                    busy.append(number)
        if busy == left:
            if not told:
                waiting(busy)
            time.sleep(PAUSE)
        left, told = busy, busy == left


@contextlib.contextmanager
def renewed(outcome: Path) -> Iterator[None]:
    """Show others, for the block, that the holder of a claim lives: its time changes every ``RENEWAL`` seconds.

    Where a machine is lost, its locks on a file server may stay for ever; its claims grow old then.
    """
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEWAL):
            with contextlib.suppress(OSError):  # a claim that could not be made
                os.utime(place_of(outcome))

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def awaited(outcome: Path, waiting: Callable[[], object]) -> Iterator[None]:
    """Claim the work that ends in ``outcome`` for the block, when nobody else does it any more.

    ``waiting`` is told before the first wait.
    """
    with contextlib.closing(turns([outcome], lambda _: waiting())) as turn:
        next(turn)
        yield


def _taken(file: Path) -> tuple[int | None, bool]:
    """Return the locked file, open, and whether it could be locked: no other has it."""
    if not files.LOCKS:
        raise OSError("this system has no locks")
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            free = files.locked(handle)
            if free and _is(file, handle):
                return handle, True
        except OSError:
            os.close(handle)
            raise
        os.close(handle)
        if not free:
            return None, False
        # Who had it before removed it when the work was done: this is no longer the file of that name.


def _is(file: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False
