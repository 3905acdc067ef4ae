"""Features of candidates, part by part: each image goes through a network once, however many rounds it is in."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence

import numpy as np

from mixer_bench.data.examples import Examples, TaskData
from mixer_bench.errors import MixerBenchError
from mixer_bench.models.card import Card
from mixer_bench.results.record import Run
from mixer_bench.runs.features import CachedFeatures, Network
from mixer_bench.runs.machine import Machine
from mixer_bench.system import arrays
from mixer_bench.system.grouping import grouped
from mixer_bench.system.network import first_line
from mixer_bench.system.progress import ProgressLog


class Parts:
    """Train in a fixed order, cut where rounds end; val comes with the last part."""

    def __init__(self, data: TaskData, ends: Sequence[int], models: Sequence[tuple[Card, Run]], here: Machine) -> None:
        """Cut train at ``ends``, ascending, the last of which is all of it; a model's run says how it sees images."""
        self._order = np.random.default_rng(0).permutation(len(data.train))
        bounds = zip([0, *ends[:-1]], ends, strict=True)
        self._parts = [data.train.take(self._order[start:end]) for start, end in bounds]
        self._data, self._here = data, here
        self._log: ProgressLog | None = None
        self._caches = {run.model: self._cache(card, run) for card, run in models}
        self.lost: dict[str, str] = {}  # why a model has no features

    def _cache(self, card: Card, run: Run) -> CachedFeatures:
        return CachedFeatures(
            Network.of(run),
            self._here.cache,
            load=lambda: self._here.load(card, Network.of(run)),
            computer=self._here.computer,
            on_batch=self._seen,
            on_note=self._note,
        )

    def _seen(self, images: int) -> None:
        if self._log is not None:
            self._log.advance(images)

    def _note(self, words: str) -> None:
        if self._log is not None:
            self._log.line(words)

    def _last(self, part: int) -> bool:
        return part == len(self._parts) - 1

    def _needed(self, name: str, part: int) -> list[Examples]:
        """Return what a model's features of the first parts are made of: train as a whole where it has that."""
        whole = not self._caches[name].missing(self._data.train)
        train = [self._data.train] if whole else self._parts[: part + 1]
        return [*train, *([self._data.val] if self._last(part) else [])]

    def labels(self, part: int) -> np.ndarray:
        """Return the labels of what ``features`` gives, int64 [N]."""
        val = [self._data.val.labels] if self._last(part) else []
        return np.concatenate([*(images.labels for images in self._parts[: part + 1]), *val])

    def compute(self, names: Sequence[str], part: int, log: Callable[[float], ProgressLog], label: str) -> None:
        """Compute the features of the first parts that nobody has; models for which that fails are ``lost``.

        Args:
            names: models.
            part: the last that is needed.
            log: makes what shows the progress of so many images.
            label: of the round.
        """
        needed = {name: self._needed(name, part) for name in names}
        missing = sum(len(images) for name in names for images in needed[name] if self._caches[name].missing(images))
        with log(missing) as self._log:
            self._log.label(label)
            for alike in grouped(names, lambda name: self._caches[name].network.preprocessing.squares).values():
                # Of one that has train as a whole nothing is missing but perhaps val.
                every = {images.fingerprint: images for name in alike for images in needed[name]}
                caches = [self._caches[name] for name in alike]
                whole = [cache for cache in caches if not cache.missing(self._data.train)]
                self._fill(whole, [images for images in every.values() if images is self._data.val])
                self._fill([cache for cache in caches if cache not in whole], [*every.values()])
            for name in names:
                self._take(name, part)
        self._log = None

    def _fill(self, caches: Sequence[CachedFeatures], images: Sequence[Examples]) -> None:
        wanted = [each for each in images if each is not self._data.train]
        if caches and wanted:
            self._here.fill(caches, wanted, self._note)

    def _take(self, name: str, part: int) -> None:
        """Take features into memory, and once there are all of train's keep them as a run will look for them."""
        cache = self._caches[name]
        try:
            for images in self._needed(name, part):
                cache.features(images)
            if self._last(part) and cache.missing(self._data.train):
                with contextlib.suppress(OSError, arrays.DamagedFile):  # not kept, as was said: a run computes them
                    self._join(cache)
        except (MixerBenchError, FloatingPointError, RuntimeError) as error:
            self.lost[name] = first_line(error)
        finally:
            cache.release()

    def _join(self, cache: CachedFeatures) -> None:
        told = [json.loads(arrays.load_rows(cache.place(images))[1]) for images in self._parts]
        together = {
            **told[0],
            **{key: sum(part[key] for part in told) for key in ("images", "seconds", "prepared")},
            "notes": [*dict.fromkeys(note for part in told for note in part["notes"])],
            "deviation": max((part["deviation"] for part in told if part["deviation"] is not None), default=None),
        }
        rows = np.concatenate([cache.features(images) for images in self._parts])[np.argsort(self._order)]
        place = cache.place(self._data.train)
        with arrays.saving_rows(place, len(rows), lambda: json.dumps(together), keep=True) as add:
            add(rows)

    def features(self, name: str, part: int) -> np.ndarray:
        """Return a model's features of the first parts of train, and of val with the last: float32 [N, D]."""
        cache, parts = self._caches[name], self._parts[: part + 1]
        if cache.missing(self._data.train):
            rows = [cache.features(images) for images in parts]
        else:
            rows = [cache.features(self._data.train)[self._order[: sum(map(len, parts))]]]
        return np.concatenate([*rows, *([cache.features(self._data.val)] if self._last(part) else [])])
