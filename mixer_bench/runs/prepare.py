"""Having images and weights ready before they are needed: fetched, checked, the images listed in a manifest."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mixer_bench.data import loading, manifest
from mixer_bench.data.decoding import pool
from mixer_bench.data.examples import TaskData
from mixer_bench.data.readers import hub_files, torchvision
from mixer_bench.errors import DataError, MixerBenchError
from mixer_bench.system import network
from mixer_bench.system.progress import ProgressLog
from mixer_bench.task.sources import HubSource, JoinedSource, Source, TorchvisionSource
from mixer_bench.task.task import Task

TABLES = 2.0  # what fetched files take, with the memory-mapped tables that `datasets` makes of them beside them
AT_ONCE = 64  # images decoded between two words on progress


@dataclass
class Prepared:
    """What became of the tasks and models."""

    manifests: dict[str, Path] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)
    unavailable: list[MixerBenchError] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 all are there, 3 some cannot be had."""
        return max((error.exit_code for error in self.unavailable), default=0)


def prepare(
    tasks: Sequence[Task], data_dir: Path, say: Callable[[str], None], *, download: bool, quiet: bool
) -> Prepared:
    """Fetch and decode every image of ``tasks`` and write their manifests; what is there is not fetched again.

    Args:
        tasks: each from the first of its sources that can be had.
        data_dir: root of what one has on disk.
        say: told what is about to happen.
        download: let torchvision fetch original files into ``data_dir``.
        quiet: no progress.

    Raises:
        DataError: the disk is too small; nothing was fetched then.
    """
    done = Prepared()
    _check_space(tasks, data_dir, say)

    def loaded(task: Task, source: Source) -> TaskData:
        if download and isinstance(source, TorchvisionSource):
            torchvision.read(source, data_dir, download=True)
        return loading.load_from(source, task, data_dir, against_manifest=False)

    for number, task in enumerate(tasks, 1):
        try:
            source, data = loading.first(task, functools.partial(loaded, task))
            if manifest.differences(task.name, source, data, data_dir) == []:
                words = "was prepared before, nothing has changed"
            else:
                _decode(task.name, data, quiet)
                words = f"{data.source} ({data.subset}), " + _counts(data)
            done.manifests[task.name] = manifest.write(task.name, source, data, data_dir)
        except MixerBenchError as error:
            done.unavailable.append(error)
            words = f"error: {error}"
        say(f"{number}/{len(tasks)} {task.name}: {words}")
    return done


def prepare_models(names: Sequence[str], say: Callable[[str], None], done: Prepared) -> None:
    """Fetch each model's weights and load them once, as strictly as a run does; ``done`` is told."""
    from mixer_bench.models import names as names_module
    from mixer_bench.models import networks

    for number, name in enumerate(names, 1):
        try:
            card = names_module.card(name)
            if card.architecture is not None:
                networks.body(card, say)
            done.models.append(name)
            words = f"{card.source}, whole"
        except MixerBenchError as error:
            done.unavailable.append(error)
            words = f"error: {error}"
        say(f"{number}/{len(names)} {name}: {words}")


def _counts(data: TaskData) -> str:
    return ", ".join(f"{len(examples):,} {name}" for name, examples in data.splits.items())


def _check_space(tasks: Sequence[Task], data_dir: Path, say: Callable[[str], None]) -> None:
    """Refuse to begin what cannot end: sizes are asked of the hub before anything is fetched."""

    def surveyed(source: Source) -> list[hub_files.Listing]:
        if isinstance(source, JoinedSource):
            parts = sorted(source.part, key=lambda part: part.kind == "hub")
            return [listing for part in parts for listing in surveyed(part)]
        if isinstance(source, HubSource) and not (data_dir / source.repo).is_dir():
            return [hub_files.listing(source)]
        loading.read(source, data_dir)
        return []

    needed: dict[tuple[str, str], int] = {}
    for task in tasks:
        try:
            _, listings = loading.first(task, surveyed)
        except MixerBenchError:
            continue  # said when its turn comes
        for found in listings:
            missing = hub_files.missing_bytes(found)
            say(f"{task.name}: {found.repo}, {network.sized(found.bytes)}, {network.sized(missing)} of it to fetch")
            needed[found.repo, found.commit] = max(needed.get((found.repo, found.commit), 0), missing)
    if not (total := int(sum(needed.values()) * TABLES)):
        return
    cache = hub_files.cache_folder()
    free = shutil.disk_usage(next(place for place in (cache, *cache.parents) if place.is_dir())).free
    say(f"{network.sized(total)} with the tables made of them; {network.sized(free)} are free")
    if total > free:
        raise DataError(
            f"{network.sized(total)} are needed in {cache}, {network.sized(free)} are free; make room or set HF_HOME"
        )


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
