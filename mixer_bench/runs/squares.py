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
from typing import IO, TYPE_CHECKING, TypeAlias

import numpy as np

from mixer_bench.data.decoding import pool
from mixer_bench.data.examples import Examples
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.system import reused

if TYPE_CHECKING:
    from torch import Tensor

    from mixer_bench.models.matrices import Resizer

READ_AHEAD = 2  # batches prepared while the network works on one
Batch: TypeAlias = "np.ndarray | Tensor"  # of squares, on the host or on a device
Taker: TypeAlias = "Generator[None, tuple[Batch, float], None]"  # is sent squares, and its share of their seconds
SHARE = 0.5  # of the free bytes of a disk that squares may take


def batches(
    examples: Examples, preprocessing: Preprocessing, batch_size: int, ahead: int = 0, resizer: Resizer | None = None
) -> Iterator[Batch]:
    """Give the examples' squares, uint8 [<= batch_size, R, R, 3], each batch prepared by all processors together.

    Args:
        examples: decoded and resized when their turn comes.
        preprocessing: how.
        batch_size: images a batch.
        ahead: batches prepared while another is used. 0 where the user needs the processors itself: a network that
            loses one of two threads for a while loses the time of both.
        resizer: resizes on a device, where the squares then are; None: processors do that as well.

    Raises:
        DataError: an image cannot be decoded.
    """

    def begun(start: int) -> Callable[[], Batch]:
        places = range(start, min(start + batch_size, len(examples)))
        if resizer is not None:
            images = pool().map(examples.images.__getitem__, places)
            return lambda: resizer([*images])
        squares = reused.empty("squares", (len(places), preprocessing.resolution, preprocessing.resolution, 3))

        def prepare(place: int) -> None:
            squares[place - start] = preprocessing.square(examples.images[place])

        preparing = pool().map(prepare, places)

        def prepared() -> np.ndarray:
            deque(preparing, 0)  # waits for all of them
            return squares

        return prepared

    waiting: deque[Callable[[], Batch]] = deque()
    starts = range(0, len(examples), batch_size)
    for place in range(len(starts) + ahead):
        if place < len(starts):
            waiting.append(begun(starts[place]))
        if waiting and place >= ahead:
            yield waiting.popleft()()


def send(squares: Iterator[Batch], takers: Iterable[Taker]) -> None:
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


def _goes_on(taker: Taker, sent: tuple[Batch, float] | None = None) -> bool:
    """Send squares to one taker, or nothing, so that it gets ready; return whether it takes more."""
    try:
        if sent is None:
            next(taker)
        else:
            taker.send(sent)
    except StopIteration:
        return False
    return True


def on_host(squares: Batch) -> np.ndarray:
    """Return squares where the processors are."""
    return squares if isinstance(squares, np.ndarray) else squares.cpu().numpy()


class Squares:
    """The squares of a task, for one round of networks after the other.

    Where another round follows they are kept in a file without a name, which is gone when this process is, however it
    ends; where the disk has no room for it they are made again.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        batch_size: int,
        folder: Path,
        on_note: Callable[[str], object],
        resizer: Resizer | None = None,
    ) -> None:
        """Make them as ``batches`` does and keep them in ``folder``; ``on_note`` is told what a person should know."""
        self._preprocessing, self._batch_size, self._folder, self._on_note = preprocessing, batch_size, folder, on_note
        self._resizer = resizer
        self._kept: dict[str, np.ndarray] = {}

    def batches(self, examples: Examples, ahead: int, again: bool) -> Iterator[Batch]:
        """Give squares as ``batches`` does; ``again``: another round will ask for them.

        Raises:
            DataError: an image cannot be decoded.
        """
        if (kept := self._kept.get(examples.fingerprint)) is not None:
            return (kept[start : start + self._batch_size] for start in range(0, len(kept), self._batch_size))
        made = batches(examples, self._preprocessing, self._batch_size, ahead, self._resizer)
        return self._keeping(examples, made) if again else made

    def _keeping(self, examples: Examples, made: Iterator[Batch]) -> Iterator[Batch]:
        shape, seen = (len(examples), self._preprocessing.resolution, self._preprocessing.resolution, 3), 0
        with contextlib.ExitStack() as opened:
            file = self._opened(math.prod(shape), opened)
            for squares in made:
                seen += len(squares)
                try:
                    if file is not None:
                        file.write(on_host(squares).data)
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
