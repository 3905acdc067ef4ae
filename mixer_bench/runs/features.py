"""Every image through each network once; the features are kept on disk under everything that decides them.

A protocol asks ``CachedFeatures`` for the features of a split and gets the same array every time, from memory, from
disk, or, the first time ever, from the network.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixer_bench.data.examples import Examples
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.results.record import Run
from mixer_bench.runs.squares import READ_AHEAD, Squares, Taker, send
from mixer_bench.system import arrays, claims, code
from mixer_bench.system.machine import Precision
from mixer_bench.system.progress import unheard

if TYPE_CHECKING:
    from mixer_bench.models.backbone import Backbone, Waiting


@dataclass(frozen=True)
class Network:
    """What decides the features of an image."""

    weights: str  # their identity
    preprocessing: Preprocessing
    precision: Precision

    @staticmethod
    def of(run: Run) -> Network:
        """Return what decides the features of a run."""
        return Network(run.weights, run.preprocessing, run.precision)


@dataclass(frozen=True)
class Computer:
    """What features are computed with here: it decides how fast, not which."""

    batch_size: int
    device_name: str
    environment: dict[str, str]

    @property
    def networks(self) -> str:
        """Whether networks are compiled or eager there: like the device it moves features by rounding alone."""
        return self.environment.get("networks", "eager")


@dataclass(frozen=True)
class Extraction(Computer):
    """What it took to compute an array of features, on the machine where that happened."""

    images: int
    seconds: float  # of the device's own, in the network
    prepared: float  # this network's share of the seconds in which all of one pass waited for squares
    notes: tuple[str, ...] = ()
    deviation: float | None = None


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
        self.network, self.computer = network, computer
        self.computed: list[Extraction] = []  # what went through the network now, here or in a process that shares work
        self.shared: frozenset[str] = frozenset()  # fingerprints of what several processes are to compute together
        self.provenance: list[Extraction] = []  # the same for all features asked for, wherever they came from
        self.failure: Exception | None = None  # why there are none; raised when they are asked for
        self.alone = False  # whether the network found no room beside others
        # Features that other code computed are other features, whether or not somebody raised a version.
        made_by = (code.digests()[concern] for concern in code.IMAGES_TO_FEATURES)
        self._key = (network.weights, network.preprocessing.model_dump_json(), network.precision, *made_by)
        self._folder = cache / "features"
        self.heard = heard
        self._load, self._on_batch, self._on_note, self._fresh = load, on_batch, on_note, fresh
        self._backbone: Backbone | None = None
        self._kept = True  # whether they can be kept
        self._memory: dict[str, np.ndarray] = {}

    @property
    def device(self) -> str:
        """The name of the device that the network works on."""
        return self.computer.environment["device"]

    def place(self, examples: Examples) -> Path:
        """Return where the features of ``examples`` are kept."""
        joined = "\n".join((*self._key, examples.fingerprint))
        return self._folder / f"{hashlib.sha256(joined.encode()).hexdigest()[:32]}.npy"

    def features(self, examples: Examples) -> np.ndarray:
        """Return float32 [N, D], read-only: the same array every time.

        Raises:
            DataError: an image cannot be decoded.
            FloatingPointError: the network gave an infinite or undefined feature.
        """
        with self._awaited(examples):
            while self.missing(examples):  # once more where they cannot be kept
                if self.failure is not None:
                    raise self.failure
                squares = Squares(self.network.preprocessing, self.computer.batch_size, self._folder, self._on_note)
                send(squares.batches(examples, self.ahead, again=False), [self.computing(examples)])
        return self._memory[examples.fingerprint]

    def missing(self, examples: Examples) -> bool:
        """Return whether the network is needed for these; what is on disk is taken into memory, by mapping it."""
        if examples.fingerprint in self._memory:
            return False
        file = self.place(examples)
        if self._fresh or not file.is_file():
            return True
        try:
            rows, extraction = _loaded(file)
            if rows.ndim != 2 or len(rows) != len(examples):  # noqa: PLR2004
                raise ValueError(f"{len(rows)} rows for {len(examples)} images")
        except (arrays.DamagedFile, ValueError, TypeError) as error:
            self._on_note(f"cached features {file.name} are damaged ({error}); computing them again")
            with contextlib.suppress(OSError):
                file.unlink()
            return True
        self._take(examples, rows, extraction)
        if examples.fingerprint in self.shared:  # it was not there when they began
            self.computed.append(extraction)
        return False

    def claimed(self, examples: Examples) -> contextlib.AbstractContextManager[bool]:
        """Claim for the block to compute these; give whether nobody else does."""
        return contextlib.nullcontext(True) if self._fresh else claims.claimed(self.place(examples))

    def load(self) -> Backbone:
        """Return the network, in memory from now on."""
        if self._backbone is None:
            self._backbone = self._load()
        return self._backbone

    def classifier(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the checkpoint's own classifier, as ``ClassifyingBackbone`` has it."""
        return self.load().classifier()

    def release(self) -> None:
        """Let the network go."""
        self._backbone = None

    @property
    def ahead(self) -> int:
        """How many batches are to be prepared while the network works on one."""
        return READ_AHEAD if self._backbone is not None and self._backbone.overlaps else 0

    def computing(self, examples: Examples) -> Taker:
        """Take the squares of all examples, and keep their features at the end; what goes wrong is the ``failure``."""
        try:
            yield from self._computing(examples)
        except (OSError, arrays.DamagedFile) as error:
            self.failure = None if self._kept else error
            self._say_not_kept(error)  # and next time they are not to be
        except Exception as error:  # noqa: BLE001  raised when the features are asked for: other networks go on
            self.failure = error

    def _computing(self, examples: Examples) -> Taker:
        rows: list[np.ndarray] = []
        begun: deque[Waiting] = deque()  # a device that overlaps with the host is waited for later
        sent, seen, seconds, prepared = 0, 0, 0.0, 0.0

        def done() -> Extraction:
            return Extraction(
                **vars(self.computer),
                images=seen,
                seconds=seconds,
                prepared=prepared,
                notes=backbone.notes,
                deviation=backbone.deviation,
            )

        backbone = self.load()
        with contextlib.ExitStack() as opened:
            add: Callable[[np.ndarray], object] = rows.append
            if self._kept:
                saving = arrays.saving_rows(
                    self.place(examples), len(examples), lambda: json.dumps(vars(done())), keep=not self._fresh
                )
                try:
                    add = opened.enter_context(saving)
                except OSError as error:
                    self._say_not_kept(error)
            while sent < len(examples):
                squares, waited = yield
                prepared += waited
                begun.append(backbone.begin(squares))
                sent += len(squares)
                while len(begun) > (backbone.overlaps and sent < len(examples)):
                    features, took = begun.popleft()()
                    seconds += took
                    _check(features, examples.names[seen:sent])
                    add(features)
                    seen += len(features)
                    self._on_batch(len(features))
            if seen != len(examples):
                raise RuntimeError(f"{seen} features came out for {len(examples)} images")
        self._take(examples, *((np.concatenate(rows), done()) if rows else _loaded(self.place(examples))))
        self.computed.append(self.provenance[-1])
        for note in dict.fromkeys(backbone.notes):
            if all(note not in earlier.notes for earlier in self.computed[:-1]):
                self._on_note(note)

    def _say_not_kept(self, error: OSError | arrays.DamagedFile) -> None:
        """Keep no features from now on: the cache saves time; without it a run is slower, not wrong."""
        self._kept = False
        self._on_note(f"features are not kept: {self._folder}: {getattr(error, 'strerror', error)}")

    def _take(self, examples: Examples, rows: np.ndarray, extraction: Extraction) -> None:
        self.provenance.append(extraction)
        rows = np.asarray(rows)
        rows.setflags(write=False)
        self._memory[examples.fingerprint] = rows

    def _awaited(self, examples: Examples) -> contextlib.AbstractContextManager[None]:
        """Wait for another process that computes the same, where that will be of use."""
        if self._fresh or not self.missing(examples):
            return contextlib.nullcontext()
        note = "waiting for another process that computes these features"
        return claims.awaited(self.place(examples), lambda: self._on_note(note))


def _check(features: np.ndarray, names: Sequence[str]) -> None:
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise FloatingPointError(f"the network gives infinite or undefined features for {names[int(finite.argmin())]}")


def _loaded(file: Path) -> tuple[np.ndarray, Extraction]:
    rows, text = arrays.load_rows(file)
    values = json.loads(text)
    return rows, Extraction(**{**values, "notes": tuple(values.get("notes", ()))})
