"""Having images and weights ready before they are needed: fetched, checked, the images listed in a manifest."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mixer_bench.data import loading, manifest, prepared
from mixer_bench.data.decoding import pool
from mixer_bench.data.examples import TaskData
from mixer_bench.data.readers import hub_files, torchvision
from mixer_bench.errors import DataError, MixerBenchError
from mixer_bench.models import names
from mixer_bench.system.network import sized
from mixer_bench.system.progress import ProgressLog
from mixer_bench.task.sources import HubSource, JoinedSource, Source, TfdsSource, TorchvisionSource
from mixer_bench.task.task import Task, shown_subset

TABLES = 2.0  # what fetched files take, with the memory-mapped tables that `datasets` makes of them beside them
AT_ONCE = 64  # images decoded between two words on progress


@dataclass
class Preparation:
    """What is to be prepared, and what became of it."""

    data_dir: Path
    say: Callable[[str], None]
    quiet: bool = False  # no progress
    tasks: int = 0  # that were asked for
    manifests: dict[str, Path] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)  # models that are to be there
    models: list[str] = field(default_factory=list)
    unavailable: list[MixerBenchError] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 all are there, 3 some cannot be had."""
        return max((error.exit_code for error in self.unavailable), default=0)

    def summary(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        manifests = {name: str(file) for name, file in self.manifests.items()}
        return {"manifests": manifests, "models": self.models, "unavailable": list(map(str, self.unavailable))}

    def prepare_tasks(self, tasks: Sequence[Task], *, download: str | None) -> None:
        """Fetch and decode every image of ``tasks`` and write their manifests; what is there is not fetched again.

        Args:
            tasks: each from the first of its sources that can be had.
            download: a kind of source, "torchvision" or "tfds", that may fetch into the data folder.

        Raises:
            DataError: the disk is too small; nothing was fetched then.
        """
        self.tasks = len(tasks)
        _check_space(tasks, self.data_dir, self.say)
        self._each([task.name for task in tasks], [functools.partial(self._task, task, download) for task in tasks])

    def prepare_models(self, models: Sequence[str]) -> None:
        """Fetch each model's weights and load them once, as strictly as a run does."""
        self.asked = names.matching(models)
        self._each(self.asked, [functools.partial(self._model, name) for name in self.asked])

    def _each(self, names: Sequence[str], work: Iterable[Callable[[], str]]) -> None:
        for number, (name, get_ready) in enumerate(zip(names, work, strict=True), 1):
            try:
                words = get_ready()
            except MixerBenchError as error:
                self.unavailable.append(error)
                words = f"error: {error}"
            self.say(f"{number}/{len(names)} {name}: {words}")

    def _task(self, task: Task, download: str | None) -> str:
        def loaded(source: Source) -> TaskData:
            with loading.named(task, source):
                if download == source.kind and isinstance(source, TorchvisionSource) and not source.originals:
                    torchvision.read(source, self.data_dir, download=True)
                if download == source.kind and isinstance(source, TfdsSource):
                    prepared.fetch(source, source.splits or task.splits, self.data_dir)
            return loading.load_from(source, task, self.data_dir, against_manifest=False)

        source, data = loading.first(task, loaded, fetching_into=self.data_dir)
        if manifest.differences(task.name, source, data, self.data_dir) == []:
            words = "was prepared before, nothing has changed"
        else:
            _decode(task.name, data, self.quiet)
            counts = ", ".join(f"{len(examples):,} {name}" for name, examples in data.splits.items())
            words = f"{data.source} ({shown_subset(task.name, data.subset)}), {counts}"
        self.manifests[task.name] = manifest.write(task.name, source, data, self.data_dir)
        return words

    def _model(self, name: str) -> str:
        from mixer_bench.models import networks, weights

        card = names.card(name)
        weights.place(card)
        if card.architecture is not None:
            networks.body(card, self.say)
        self.models.append(name)
        return f"{card.source}, whole"


def _check_space(tasks: Sequence[Task], data_dir: Path, say: Callable[[str], None]) -> None:
    """Refuse to begin what cannot end: sizes are asked of the hub before anything is fetched."""
    needed: dict[tuple[str, str], int] = {}
    for task in tasks:
        try:
            _, listings = loading.first(task, functools.partial(_listings, data_dir))
        except (MixerBenchError, OSError):
            continue  # said when its turn comes
        for listing in listings:
            missing = hub_files.missing_bytes(listing)
            say(f"{task.name}: {listing.repo}, {sized(listing.bytes)}, {sized(missing)} of it to fetch")
            files = (listing.repo, listing.commit)
            needed[files] = max(needed.get(files, 0), missing)
    if not (total := int(sum(needed.values()) * TABLES)):
        return
    cache = hub_files.cache_folder()
    free = shutil.disk_usage(next(place for place in (cache, *cache.parents) if place.is_dir())).free
    say(f"{sized(total)} with the tables made of them; {sized(free)} are free")
    if total > free:
        raise DataError(f"{sized(total)} are needed in {cache}, {sized(free)} are free; make room or set HF_HOME")


def _listings(data_dir: Path, source: Source) -> list[hub_files.Listing]:
    """What a source would fetch of the hub."""
    if isinstance(source, JoinedSource):
        parts = sorted(source.part, key=lambda part: part.kind == "hub")
        return [listing for part in parts for listing in _listings(data_dir, part)]
    if isinstance(source, HubSource) and not (data_dir / source.repo).is_dir():
        return [hub_files.listing(source)]
    loading.read(source, data_dir)
    return []


def _decode(name: str, data: TaskData, quiet: bool) -> None:
    """Decode every image once, so that a broken one is found now and not in the middle of a run."""
    count = sum(map(len, data.splits.values()))
    with ProgressLog(count, quiet=quiet) as log:
        log.label(f"decoding {name}")
        for examples in data.splits.values():
            images = examples.images
            for start in range(0, len(examples), AT_ONCE):
                some = range(start, min(start + AT_ONCE, len(examples)))
                log.advance(len(list(pool().map(lambda index, of=images: np.shape(of[index]), some))))
