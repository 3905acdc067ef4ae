"""Every image through the network once; the features are kept on disk under everything that decides them.

A protocol asks ``CachedFeatures`` for the features of a split and gets the same array every time, from memory, from
disk, or, the first time ever, from the network.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixer_bench.data.decoding import pool
from mixer_bench.data.examples import Examples
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.system import arrays, claims, code
from mixer_bench.system.progress import unheard

if TYPE_CHECKING:
    from mixer_bench.models.backbone import Backbone

READ_AHEAD = 2  # batches prepared while the network works on one


@dataclass(frozen=True)
class Network:
    """What decides the features of an image."""

    weights: str  # their identity
    preprocessing: Preprocessing
    precision: str


@dataclass(frozen=True)
class Computer:
    """What features are computed with here: it decides how fast, not which."""

    batch_size: int
    device_name: str
    environment: dict[str, str]


@dataclass(frozen=True)
class Extraction(Computer):
    """What it took to compute an array of features, on the machine where that happened."""

    images: int
    seconds: float
    notes: tuple[str, ...] = ()
    deviation: float | None = None


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

    def prepared(index: int) -> np.ndarray:
        return preprocessing.square(examples.images[index])

    waiting: deque[Iterator[np.ndarray]] = deque()
    for start in range(0, len(examples), batch_size):
        waiting.append(pool().map(prepared, range(start, min(start + batch_size, len(examples)))))
        if len(waiting) > ahead:
            yield np.stack([*waiting.popleft()])
    for squares in waiting:
        yield np.stack([*squares])


def extract(
    backbone: Backbone, examples: Examples, batch_size: int, on_batch: Callable[[int], object] = unheard
) -> Iterator[np.ndarray]:
    """Give the features of all examples, float32 [<= batch_size, D], batch by batch.

    Args:
        backbone: computes them.
        examples: N of them, 1 or more.
        batch_size: images a forward pass.
        on_batch: told how many images each batch held.

    Raises:
        DataError: an image cannot be decoded.
        FloatingPointError: the network gave an infinite or undefined feature.
    """
    done = 0
    for squares in batches(examples, backbone.preprocessing, batch_size, READ_AHEAD if backbone.overlaps else 0):
        features = backbone.features(squares)
        finite = np.isfinite(features).all(axis=1)
        if not finite.all():
            name = examples.names[done + int(finite.argmin())]
            raise FloatingPointError(f"the network gives infinite or undefined features for {name}")
        done += len(features)
        yield features
        on_batch(len(features))
    if done != len(examples):
        raise RuntimeError(f"{done} features came out for {len(examples)} images")


class CachedFeatures:
    """The frozen backbone that protocols see: computes what neither memory nor disk has."""

    def __init__(
        self,
        network: Network,
        cache: Path,
        *,
        load: Callable[[], Backbone],
        computer: Computer,
        on_batch: Callable[[int], object] = unheard,
        on_note: Callable[[str], object] = unheard,
        heard: Callable[[str], object] = unheard,
        fresh: bool = False,
    ) -> None:
        """Keep features of ``network`` in the folder ``cache``; ``load`` is called only if some are missing.

        ``on_batch`` is told how many images each batch held, ``on_note`` what a person should know, ``heard``
        what a protocol is doing. ``fresh``: what another process kept is computed again.
        """
        self.computer = computer
        self.computed: list[Extraction] = []  # what went through the network here and now
        self.provenance: list[Extraction] = []  # the same for all features asked for, wherever they came from
        # Features that other code computed are other features, whether or not somebody raised a version.
        made_by = (code.digests()[concern] for concern in code.IMAGES_TO_FEATURES)
        self._key = (network.weights, network.preprocessing.model_dump_json(), network.precision, *made_by)
        self._folder = cache / "features"
        self.heard = heard
        self._backbone = functools.cache(load)
        self._on_batch, self._on_note, self._fresh = on_batch, on_note, fresh
        self._memory: dict[str, np.ndarray] = {}

    @property
    def device(self) -> str:
        """The name of the device that the network works on."""
        return self.computer.environment["device"]

    def place(self, examples: Examples) -> Path:
        """Return where the features of ``examples`` are kept."""
        joined = "\n".join((*self._key, examples.fingerprint))
        return self._folder / f"{hashlib.sha256(joined.encode()).hexdigest()[:32]}.npy"

    def missing(self, examples: Examples) -> bool:
        """Return whether the network is needed for these."""
        kept = not self._fresh and self.place(examples).is_file()
        return examples.fingerprint not in self._memory and not kept

    def features(self, examples: Examples) -> np.ndarray:
        """Return float32 [N, D], read-only: the same array every time."""
        key = examples.fingerprint
        if key not in self._memory:
            with self._alone(examples):
                rows, extraction = self._kept(examples) or self._compute(examples)
            self.provenance.append(extraction)
            self._memory[key] = np.asarray(rows)
            self._memory[key].setflags(write=False)
        return self._memory[key]

    def _alone(self, examples: Examples) -> contextlib.AbstractContextManager[None]:
        """Wait for another process that computes the same, where that will be of use."""
        file = self.place(examples)
        if self._fresh or file.is_file():
            return contextlib.nullcontext()
        return claims.awaited(file, lambda: self._on_note("waiting for another process that computes these features"))

    def _kept(self, examples: Examples) -> tuple[np.ndarray, Extraction] | None:
        """What is on disk; None if that is nothing, damaged or not asked for."""
        file = self.place(examples)
        if self._fresh or not file.is_file():
            return None
        try:
            rows, extraction = _loaded(file)
            if rows.ndim != 2 or len(rows) != len(examples):  # noqa: PLR2004
                raise ValueError(f"{len(rows)} rows for {len(examples)} images")
        except (arrays.DamagedFile, ValueError, TypeError) as error:
            self._on_note(f"cached features {file.name} are damaged ({error}); computing them again")
            return None
        return rows, extraction

    def _compute(self, examples: Examples) -> tuple[np.ndarray, Extraction]:
        """Through the network, straight to disk: what is used afterwards is mapped, not held."""
        start, seen = time.perf_counter(), 0

        def heard(images: int) -> None:
            nonlocal seen
            seen += images
            self._on_batch(images)

        def parts() -> Iterator[np.ndarray]:
            return extract(self._backbone(), examples, self.computer.batch_size, heard)

        def done() -> Extraction:
            notes, deviation = self._backbone().notes, self._backbone().deviation
            took = time.perf_counter() - start
            return Extraction(**vars(self.computer), images=seen, seconds=took, notes=notes, deviation=deviation)

        try:
            arrays.save_rows(self.place(examples), len(examples), parts(), lambda: json.dumps(vars(done())))
            rows, extraction = _loaded(self.place(examples))
        except (OSError, arrays.DamagedFile) as error:
            # The cache saves time; without it the run is slower, not wrong.
            reason = error.strerror if isinstance(error, OSError) else error
            self._on_note(f"features are not kept: {self._folder}: {reason}")
            rows = np.concatenate([*parts()])
            extraction = done()
        for note in dict.fromkeys(extraction.notes):
            if all(note not in earlier.notes for earlier in self.computed):
                self._on_note(note)
        self.computed.append(extraction)
        return rows, extraction


def _loaded(file: Path) -> tuple[np.ndarray, Extraction]:
    rows, text = arrays.load_rows(file)
    values = json.loads(text)
    return rows, Extraction(**{**values, "notes": tuple(values.get("notes", ()))})
