"""Images to the squares that networks see: each is read, decoded and resized once, for however many networks."""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from mixer_bench.data.decoding import pool
from mixer_bench.data.examples import Examples
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.system import reused

READ_AHEAD = 2  # batches prepared while the network works on one
Taker = Generator[None, tuple[np.ndarray, float], None]  # is sent squares, and its share of the seconds they took
SHARE = 0.5  # of the free bytes of a disk that squares may take


def batches(examples: Examples, preprocessing: Preprocessing, batch_size: int, ahead: int = 0) -> Iterator[np.ndarray]:
    """Give the examples' squares, uint8 [<= batch_size, R, R, 3], each batch prepared by all processors together.

    Args:
        examples: decoded and resized when their turn comes.
        preprocessing: how.
        batch_size: images a batch.
        ahead: batches prepared while another is used. 0 where the user needs the processors itself: a network that
            loses one of two threads for a while loses the time of both.

    Raises:
        DataError: an image cannot be decoded.
    """

    def begun(start: int) -> tuple[np.ndarray, Iterator[None]]:
        count, side = min(batch_size, len(examples) - start), preprocessing.resolution
        squares = reused.empty("squares", (count, side, side, 3))

        def prepare(place: int) -> None:
            squares[place] = preprocessing.square(examples.images[start + place])

        return squares, pool().map(prepare, range(count))

    waiting: deque[tuple[np.ndarray, Iterator[None]]] = deque()
    starts = range(0, len(examples), batch_size)
    for place in range(len(starts) + ahead):
        if place < len(starts):
            waiting.append(begun(starts[place]))
        if waiting and place >= ahead:
            squares, preparing = waiting.popleft()
            deque(preparing, 0)  # waits for all of them
            yield squares


def send(squares: Iterator[np.ndarray], takers: Iterable[Taker]) -> None:
    """Send squares, batch by batch, to all that take them until each has what it takes.

    Raises:
        DataError: an image cannot be decoded.
    """
    going = [taker for taker in takers if _goes_on(taker)]
    try:
        while going:
            start = time.perf_counter()
            batch = next(squares)
            waited = (time.perf_counter() - start) / len(going)
            going = [taker for taker in going if _goes_on(taker, (batch, waited))]
    finally:
        for taker in going:
            taker.close()


def _goes_on(taker: Taker, sent: tuple[np.ndarray, float] | None = None) -> bool:
    """Send squares to one taker, or nothing, so that it gets ready; return whether it takes more."""
    try:
        if sent is None:
            next(taker)
        else:
            taker.send(sent)
    except StopIteration:
        return False
    return True


class Squares:
    """The squares of a task, for one round of networks after the other.

    Where another round follows they are kept in a file without a name, which is gone when this process is, however it
    ends; where the disk has no room for it they are made again.
    """

    def __init__(
        self, preprocessing: Preprocessing, batch_size: int, folder: Path, on_note: Callable[[str], object]
    ) -> None:
        """Make them by ``preprocessing`` and keep them in ``folder``; ``on_note`` is told what a person should know."""
        self._preprocessing, self._batch_size, self._folder, self._on_note = preprocessing, batch_size, folder, on_note
        self._kept: dict[str, np.ndarray] = {}

    def batches(self, examples: Examples, ahead: int, again: bool) -> Iterator[np.ndarray]:
        """Give squares as ``batches`` does; ``again``: another round will ask for them.

        Raises:
            DataError: an image cannot be decoded.
        """
        if (kept := self._kept.get(examples.fingerprint)) is not None:
            return (kept[start : start + self._batch_size] for start in range(0, len(kept), self._batch_size))
        made = batches(examples, self._preprocessing, self._batch_size, ahead)
        return self._keeping(examples, made) if again else made

    def _keeping(self, examples: Examples, made: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        shape, seen = (len(examples), self._preprocessing.resolution, self._preprocessing.resolution, 3), 0
        with contextlib.ExitStack() as opened:
            file = self._opened(math.prod(shape), opened)
            for squares in made:
                seen += len(squares)
                try:
                    if file is not None:
                        file.write(squares.data)
                        if seen == len(examples):
                            file.flush()
                            self._kept[examples.fingerprint] = np.memmap(file, np.uint8, "r", shape=shape)
                except OSError as error:
                    file = None
                    self._say_not_kept(error)
                yield squares

    def _opened(self, size: int, opened: contextlib.ExitStack) -> IO[bytes] | None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._folder).free
            if size > SHARE * free:
                raise OSError(0, f"{size:,} bytes are needed, {free:,} are free")
            opened.enter_context(contextlib.suppress(OSError))  # of what was to be written when it is closed
            return opened.enter_context(tempfile.TemporaryFile(dir=self._folder))
        except OSError as error:
            self._say_not_kept(error)
            return None

    def _say_not_kept(self, error: OSError) -> None:
        self._on_note(f"decoded images are not kept in {self._folder} ({error.strerror}): they are decoded again")
