"""Ctrl-C and SIGTERM, where they may not end what is under way."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def put_off() -> Iterator[list[int]]:
    """Put Ctrl-C and SIGTERM off, to where a checkpoint can be written; give those that arrived.

    Afterwards they do what they would have done meanwhile.
    """
    caught: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():  # no other thread may listen
        heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, lambda number, _frame: caught.append(number)) for number in heard}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        signal.raise_signal(caught[-1])
