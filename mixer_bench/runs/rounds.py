"""Features for all networks that see equal squares: as many at a time as memory holds, from images decoded once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence

from mixer_bench.data.examples import Examples
from mixer_bench.runs.features import CachedFeatures
from mixer_bench.runs.squares import Squares, send

LEFT = 0.5  # of the free memory, for what flows through networks: the rest may be theirs together


def fill(
    caches: Sequence[CachedFeatures], splits: Iterable[Examples], squares: Squares, free: Callable[[], int]
) -> None:
    """Compute what features are missing and no other process computes, each image decoded once for all networks.

    Networks that memory holds together take turns batch by batch. Those for which it has no room follow round by round,
    from squares that are kept meanwhile.

    Raises:
        DataError: an image cannot be decoded.
    """
    every = [*splits]
    waiting = [cache for cache in caches if any(cache.missing(examples) for examples in every)]
    while waiting:
        together = _loaded_together(waiting, free)
        waiting = waiting[len(together) :]
        for examples in every:
            with contextlib.ExitStack() as held:
                able = [cache for cache in together if cache.failure is None]
                mine = [cache for cache in able if held.enter_context(cache.claimed(examples))]
                mine = [cache for cache in mine if cache.missing(examples)]
                if mine:
                    ahead = max(cache.ahead for cache in mine)
                    made = squares.batches(examples, ahead, again=bool(waiting))
                    send(made, [cache.computing(examples) for cache in mine])
        for cache in together:
            cache.release()
            if len(together) > 1 and _was_crowded_out(cache):
                cache.failure, cache.alone = None, True
                waiting.append(cache)


def _loaded_together(waiting: Sequence[CachedFeatures], free: Callable[[], int]) -> Sequence[CachedFeatures]:
    """Return the first of ``waiting``, loaded, and those after it that memory holds beside it."""
    at_first = free()
    for number, cache in enumerate(waiting):
        if number and (cache.alone or waiting[0].alone or free() < LEFT * at_first):
            return waiting[:number]
        try:
            cache.load()
        except Exception as error:  # noqa: BLE001  it is raised when its features are asked for
            cache.failure = error
    return waiting


def _was_crowded_out(cache: CachedFeatures) -> bool:
    from mixer_bench.models.device import is_out_of_memory

    return isinstance(cache.failure, RuntimeError) and is_out_of_memory(cache.failure)
