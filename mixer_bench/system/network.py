"""The internet, as fetching images and fetching weights meet it: whether it may be used, and how it fails."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

LONGEST = 400  # characters of another library's message
PATIENCE = 30.0  # seconds to wait for the hub's first answer
VARIABLE = "HF_HUB_OFFLINE"
TRUE = ("1", "true", "yes", "on")


_spared: list[bool] = []  # one for each block in which nothing is to be fetched


def offline() -> bool:
    """Return whether the ecosystem's own variable forbids the network, or what goes on now."""
    return bool(_spared) or os.environ.get(VARIABLE, "").lower() in TRUE


@contextlib.contextmanager
def unused() -> Iterator[None]:
    """Let nothing be fetched in the block; after it, libraries that were loaded in it fetch as they would have."""
    _spared.append(True)
    try:
        yield
    finally:
        _spared.pop()


def allow(allowed: bool) -> None:
    """Set the ecosystem's own variable, before its libraries read it."""
    if allowed == (os.environ.get(VARIABLE, "").lower() in TRUE):
        os.environ[VARIABLE] = "0" if allowed else "1"


@contextlib.contextmanager
def as_before() -> Iterator[None]:
    """Leave the ecosystem's own variable as it was: what one call allows is nothing to the next."""
    before = os.environ.get(VARIABLE)
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before


def failures(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Return ``others``, and what the hub library's HTTP client, whichever it is, raises when a connection fails."""
    clients = [sys.modules[name] for name in ("httpx", "httpx2", "requests") if name in sys.modules]
    named = [getattr(client, name, None) for client in clients for name in ("TransportError", "RequestException")]
    return (*others, *(error for error in named if error is not None))


def first_line(error: BaseException) -> str:
    """Return an error's message, shortened to its first line and to ``LONGEST`` characters."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:LONGEST]


def sized(count: int) -> str:
    """Return a number of bytes in words: "1.2 GB"."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"  # noqa: PLR2004
