"""Which of several processes this is, as torchrun, or something like it, says in the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass

from mixer_bench.errors import UsageError

ALONE = "unset RANK, WORLD_SIZE and LOCAL_RANK to run alone, or start several by --gpus-per-run or torchrun"


@dataclass(frozen=True)
class World:
    """Which of how many processes that train together this is."""

    rank: int = 0
    size: int = 1
    local: int | None = None  # which of those on its machine; None where nobody says

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """This process's part of any examples: each example is in exactly one part."""
        return slice(self.rank, None, self.size)


def started() -> World:
    """Return which of how many processes this one was started as.

    Raises:
        UsageError: the environment says it in no number, contradicts itself, or does not say where they meet.
    """
    rank, size, local = _number("RANK"), _number("WORLD_SIZE"), _number("LOCAL_RANK")
    world = World(rank or 0, 1 if size is None else size, local)
    if world.rank >= world.size:
        raise UsageError(f"RANK={world.rank} is none of {world.size} processes (WORLD_SIZE); {ALONE}")
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if world.size > 1 and missing:
        raise UsageError(f"WORLD_SIZE={size} speaks of several processes, but not {' nor '.join(missing)}; {ALONE}")
    return world


def follows() -> bool:
    """Return whether this is one of several processes that train together, and not the one that speaks.

    Raises:
        UsageError: the environment does not say it rightly.
    """
    return not started().leads


def _number(name: str) -> int | None:
    text = os.environ.get(name, "")
    if text and not (text.isascii() and text.isdigit()):
        raise UsageError(f"{name}={text!r} is no number of a process; {ALONE}")
    return int(text) if text else None
