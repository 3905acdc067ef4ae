"""Task files: what is measured on. TOML in ``tasks/``, read strictly; every error names the file and the key."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from mixer_bench.errors import DataError, UsageError, unknown
from mixer_bench.stats import metrics
from mixer_bench.system import plugins
from mixer_bench.system.paths import PACKAGE, leads_out
from mixer_bench.system.schema import Frozen, brief, read_toml
from mixer_bench.task.sources import Sizes, Source, SplitTable, Subset, places

# In a wheel the task files lie in the package; in a checkout beside it.
_INSTALLED = PACKAGE / "tasks"
TASKS = _INSTALLED if _INSTALLED.is_dir() else PACKAGE.parent / "tasks"

SPLITS = ("train", "val", "test")
GROUP = "mixer_bench.tasks"  # entry points of packages: functions that return a folder of task files
OWN = ("folder/", "hf/", "table/")  # what names of tasks without a file begin with


class Task(Frozen):
    """What to measure on; ``name`` is the file's path below its task folder, without the suffix."""

    name: str
    description: str = ""
    title: str = ""  # as papers print it; empty: the last part of its name
    position: PositiveInt | None = None  # in the papers' tables: ViT's table 9, MLP-Mixer's section 3.1
    metric: str
    num_classes: Annotated[int, Field(ge=2)] | None  # None for images of one's own, whose classes are what they are
    resize: Literal["squash", "crop"]
    # Of the published images: the median of their pixels lies between these; a copy of another size is none of them.
    pixels: tuple[PositiveInt, PositiveInt] | None = None
    # A list of classes that classifiers of checkpoints tell apart; synsets of a source must be these, none else.
    classes: Literal["imagenet-1k", "imagenet-a", "imagenet-r"] | None = None
    tags: tuple[str, ...] = ()
    images_of: tuple[str, ...] = ()  # tasks whose images these are among: what was pre-trained on those saw these
    version: PositiveInt
    licence: str = ""
    splits: SplitTable
    sizes: Sizes | None  # None for images of one's own
    # Byte-equal images in test and in train or val: some published sets have them, one's own should not.
    duplicates: Literal["refused", "allowed"] = "refused"
    # Which way up images are: "stored" leaves EXIF's orientation aside, as TensorFlow, timm and torchvision do, whose
    # numbers those of published sets are compared with; images of one's own are seen as their owner sees them.
    orientation: Literal["stored", "upright"] = "stored"
    # Random views that keep an image's label; others would turn one class into another (BiT, appendix F).
    augment: tuple[Literal["crop", "flip"], ...] = ("crop", "flip")
    real_labels: bool = False  # also score by ImageNet's reassessed labels (Beyer et al. 2020)
    unverified: tuple[str, ...] = ()  # what no primary source confirms
    mistakes: dict[int, str] = {}  # what another number of classes than declared usually comes from
    source: Annotated[tuple[Source, ...], Field(min_length=1)]

    @field_validator("metric")
    @classmethod
    def _is_a_metric_of_labels(cls, name: str) -> str:
        if name not in metrics.names():
            raise ValueError(str(unknown("metric", name, metrics.names())))
        if metrics.get(name).truth != "label":
            raise ValueError(f"{name!r} needs more than labels; name another metric")
        if metrics.get(name).given != "classes":
            raise ValueError(f"{name!r} is recorded beside a task's own metric, which goes by predicted classes")
        return name

    @model_validator(mode="after")
    def _sizes_of_its_splits(self) -> Task:
        for name, size in self.sizes or ():
            if bool(size) != bool(getattr(self.splits, name)):
                raise ValueError(
                    f"sizes.{name} is {size}, splits.{name} {getattr(self.splits, name)!r}: both or neither"
                )
        return self

    @model_validator(mode="after")
    def _different_sources(self) -> Task:
        if any(source in self.source[:place] for place, source in enumerate(self.source)):
            raise ValueError("the same source is named twice")
        return self


def of_ones_own(name: str, description: str, source: Source) -> Task:
    """Return a task without a file: its classes and sizes are what they are, its splits what is given or drawn.

    ``name`` must carry no path of this machine: it goes into records.

    Raises:
        DataError: the name holds a character that no line can show.
    """
    if not name.isprintable():
        raise DataError(f"{name!r}: a line break or another character that cannot be shown; rename it")
    return Task(
        name=name,
        description=description,
        metric="top1",
        num_classes=None,
        resize="crop",
        orientation="upright",
        tags=(name.partition("/")[0],),
        version=1,
        licence="its owner's",
        splits=SplitTable(train="train", val="val", test="test"),
        sizes=None,
        source=(source,),
    )


def is_of_ones_own(task: Task) -> bool:
    """Return whether the task has no file."""
    return task.name.startswith(OWN)


def shown_subset(name: str, subset: Subset) -> str:
    """Return in a word how far a task's images are the published ones: "own" where there are none to compare with."""
    return "own" if name.startswith(OWN) else subset


def read_task(file: Path, folder: Path, allow_outside: bool = False) -> Task:
    """Return the task in ``file``, named by its place below ``folder``.

    Raises:
        UsageError: not TOML, an unknown, missing or wrong key, or, without ``allow_outside``, a source that leads out
            of the data folder; names file and key.
    """
    table = read_toml(file)
    try:
        if "name" in table:
            raise UsageError("key 'name': is the file's name")
        if "sizes" not in table:  # which only a task without a file may lack
            raise UsageError("key 'sizes': is missing")
        task = Task.model_validate({**table, "name": file.relative_to(folder).with_suffix("").as_posix()})
        outside = [place for source in task.source for place in places(source) if leads_out(place)]
        if outside and not allow_outside:
            raise UsageError(f"{outside[0]!r} leads out of the data folder; where that is meant: --allow-outside")
        return task
    except ValidationError as error:
        raise UsageError(f"{file}: {'; '.join(map(_problem, error.errors()))}") from None
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None


def _problem(problem: Mapping[str, Any]) -> str:
    """Return a wrong key with what is wrong; an unknown key with the known one it may be a typo of."""
    key = ".".join(str(part) for part in problem["loc"]) or "(whole file)"
    if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
        return str(unknown("key", key, Task.model_fields.keys() - {"name"}))
    return f"key {brief(key)}: {' '.join(problem['msg'].split())}"


def load_tasks(
    folder: Path, others: Mapping[str, Task] = MappingProxyType({}), allow_outside: bool = False
) -> dict[str, Task]:
    """Return ``others`` and every task below ``folder``, by name.

    Raises:
        UsageError: a file is wrong, there is none, or one has the name of another task.
    """
    files = sorted(folder.rglob("*.toml"))
    if not files:
        raise UsageError(f"{folder}: there is no task file (*.toml) here")
    read = {task.name: task for task in (read_task(file, folder, allow_outside) for file in files)}
    if taken := sorted(read.keys() & others.keys()):
        raise UsageError(f"{folder}: there is a task {taken[0]!r} already; rename the file")
    return {**others, **read}


@functools.cache
def _installed() -> tuple[Mapping[str, Task], tuple[UsageError, ...]]:
    """Return the package's tasks with those of plug-ins, and what is wrong with plug-ins that are of no use."""
    known, wrong = load_tasks(TASKS), []
    for name in sorted(plugins.names(GROUP)):
        try:
            known = load_tasks(plugins.path_of("tasks", GROUP, name), known)
        except UsageError as error:
            wrong.append(error)
    return known, tuple(wrong)


def tasks(include: Sequence[Path] = (), allow_outside: bool = False) -> Mapping[str, Task]:
    """Return all tasks: the package's, those of installed plug-ins (entry points), those of the folders ``include``.

    ``allow_outside``: the folders' tasks may name places that lead out of the data folder.
    """
    return functools.reduce(lambda known, folder: load_tasks(folder, known, allow_outside), include, _installed()[0])


def select(names: Sequence[str], known: Mapping[str, Task]) -> list[Task]:
    """Return tasks by name, group (a tag) or glob, in the order named, each once.

    Raises:
        UsageError: a name that is no task, no group and matches nothing.
    """
    groups = {tag for task in known.values() for tag in task.tags}
    chosen: dict[str, Task] = {}
    for name in names:
        if name in groups and name not in known:
            matches = [task.name for task in known.values() if name in task.tags]
        else:
            matches = [name] if name in known else fnmatch.filter(known, name)
        if not matches:
            raise UsageError("; ".join(map(str, (unknown("task", name, [*known, *groups]), *_installed()[1]))))
        chosen.update((match, known[match]) for match in matches)
    return list(chosen.values())
