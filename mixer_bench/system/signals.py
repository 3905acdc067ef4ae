"""Ctrl-C, SIGTERM and SIGHUP: how they end a program, and where they may not end what is under way."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

# SIGHUP comes where the terminal or the connection to it is closed, SIGUSR2 from Slurm before a job's time is over.
TERMINATING = ("SIGTERM", "SIGHUP", "SIGUSR2")
ENDING = ("SIGINT", *TERMINATING)


class Terminated(BaseException):
    """A signal came: neither a failure of a run nor, as SystemExit would be, the end of a package's code."""

    @property
    def exit_code(self) -> int:
        """128 + the signal, as shells have it."""
        return 128 + int(self.args[0])


def terminate(number: int, _frame: FrameType | None) -> NoReturn:
    """Raise ``Terminated`` in the main thread, and ignore what else would end the program from now on."""
    for name in TERMINATING:  # a terminal's end is told twice, by the system and by the shell; Slurm sends two, too
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise Terminated(number)


@contextlib.contextmanager
def heard(names: tuple[str, ...], handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Let ``handler`` hear the signals of those names that the system has, but not one that is to be ignored.

    After a hang-up, what is said to the terminal that is gone is said to nobody: writing to it would be an error.
    """

    def hears(number: int, frame: FrameType | None) -> None:
        _leave_dead_terminals()
        handler(number, frame)

    before = {}
    if threading.current_thread() is threading.main_thread():  # no other thread may listen
        numbers = [signal.Signals[name] for name in names if hasattr(signal, name)]
        before = {number: signal.getsignal(number) for number in numbers}
        before = {number: known for number, known in before.items() if known not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, hears)
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)


@contextlib.contextmanager
def put_off() -> Iterator[list[int]]:
    """Put the signals that end a program off, to where a checkpoint can be written; give those that arrived.

    Afterwards they do what they would have done meanwhile.
    """
    caught: list[int] = []
    with heard(ENDING, lambda number, _frame: caught.append(number)):
        yield caught
    if caught:
        signal.raise_signal(caught[-1])


def _leave_dead_terminals() -> None:
    for stream in (1, 2):
        with contextlib.suppress(OSError):  # closed
            # A terminal that was hung up is a device still, and no terminal any more.
            if stat.S_ISCHR(os.fstat(stream).st_mode) and not os.isatty(stream):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream)
                os.close(nowhere)
