"""Memory that is used again is never used twice at a time."""

import threading

import numpy as np
import torch

from mixer_bench.system import reused


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_that_nothing_refers_to_is_used_again() -> None:
    first = address(reused.empty("test", (30, 40), np.uint32))
    assert address(reused.empty("test", (20, 40, 4))) == first
    assert address(reused.empty("other", (30, 40), np.uint32)) != first


def test_whoever_still_refers_to_memory_keeps_it() -> None:
    holders = (
        lambda array: array,
        lambda array: array[3:, ::2],
        lambda array: array.view(np.uint32),
        memoryview,
        lambda array: torch.from_numpy(array)[1:],
    )
    for holder in holders:
        held = holder(reused.empty("test", (16, 8)))
        np.asarray(held)[...] = 1
        for _ in range(3):
            reused.empty("test", (16, 8))[...] = 7
        assert (np.asarray(held) == 1).all()


def test_a_small_array_does_not_keep_large_memory() -> None:
    reused.empty("test", (1000,))
    small = reused.empty("test", (10,))
    assert small.base.size == 10


def test_each_thread_has_memory_of_its_own() -> None:
    held: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: held.append(reused.empty("test", (64,)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({address(array) for array in held}) == 4
