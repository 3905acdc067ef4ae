"""Task files: what is measured on. TOML in ``tasks/``, read strictly; every error names the file and the key."""

from __future__ import annotations

import fnmatch
import functools
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from mixer_bench.errors import UsageError, unknown
from mixer_bench.stats import metrics
from mixer_bench.system.paths import PACKAGE
from mixer_bench.system.schema import Frozen
from mixer_bench.task.sources import Sizes, Source, SplitTable

# In a wheel the task files lie in the package; in a checkout beside it.
_INSTALLED = PACKAGE / "tasks"
TASKS = _INSTALLED if _INSTALLED.is_dir() else PACKAGE.parent / "tasks"

SPLITS = ("train", "val", "test")
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
    tags: tuple[str, ...] = ()
    version: PositiveInt
    licence: str = ""
    splits: SplitTable
    sizes: Sizes | None  # None for images of one's own
    # Byte-equal images in test and in train or val: some published sets have them, one's own should not.
    duplicates: Literal["refused", "allowed"] = "refused"
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
        return name

    @model_validator(mode="after")
    def _different_sources(self) -> Task:
        if any(source in self.source[:place] for place, source in enumerate(self.source)):
            raise ValueError("the same source is named twice")
        return self


def of_ones_own(name: str, description: str, source: Source) -> Task:
    """A task without a file: its classes and sizes are what they are, its splits what is given or drawn.

    ``name`` must carry no path of this machine: it goes into records.
    """
    return Task(
        name=name,
        description=description,
        metric="top1",
        num_classes=None,
        resize="crop",
        tags=(name.partition("/")[0],),
        version=1,
        licence="its owner's",
        splits=SplitTable(train="train", val="val", test="test"),
        sizes=None,
        source=(source,),
    )


def read_task(file: Path, folder: Path) -> Task:
    """The task in ``file``, named by its place below ``folder``.

    Raises:
        UsageError: not TOML, or an unknown, missing or wrong key; names file and key.
    """
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}") from None
    for key in ("name", "sizes"):
        if (key in table) == (key == "name"):
            raise UsageError(f"{file}: key {key!r}: " + ("is the file's name" if key == "name" else "is missing"))
    try:
        return Task.model_validate({**table, "name": file.relative_to(folder).with_suffix("").as_posix()})
    except ValidationError as error:
        raise UsageError(f"{file}: {_problems(error)}") from None


def _problems(error: ValidationError) -> str:
    """Every wrong key with what is wrong; an unknown key with the known one it may be a typo of."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "(whole file)"
        if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
            fields = [name for name in Task.model_fields if name != "name"]
            lines.append(str(unknown("key", key, fields)))
        else:
            lines.append(f"key {key!r}: {problem['msg']}")
    return "; ".join(lines)


def load_tasks(folder: Path) -> dict[str, Task]:
    """Every task below ``folder``, by name.

    Raises:
        UsageError: a file is wrong, or there is none.
    """
    found = {task.name: task for task in (read_task(file, folder) for file in sorted(folder.rglob("*.toml")))}
    if not found:
        raise UsageError(f"{folder}: there is no task file (*.toml) here")
    return found


@functools.cache
def _installed_tasks() -> Mapping[str, Task]:
    return _merged([TASKS, *(Path(point.load()()) for point in entry_points(group="mixer_bench.tasks"))])


def tasks(include: Sequence[Path] = ()) -> Mapping[str, Task]:
    """All tasks: the package's, those of installed plug-ins (entry points), those of the folders ``include``."""
    return _merged([*include], _installed_tasks()) if include else _installed_tasks()


def _merged(folders: Sequence[Path], start: Mapping[str, Task] | None = None) -> Mapping[str, Task]:
    merged = dict(start or {})
    for folder in folders:
        for name, task in load_tasks(folder).items():
            if name in merged:
                raise UsageError(f"{folder}: there is a task {name!r} already; rename the file")
            merged[name] = task
    return merged


def select(names: Sequence[str], known: Mapping[str, Task]) -> list[Task]:
    """Tasks by name, group (a tag) or glob, in the order named, each once.

    Raises:
        UsageError: a name that is no task, no group and matches nothing.
    """
    groups = {tag for task in known.values() for tag in task.tags}
    chosen: dict[str, Task] = {}
    for name in names:
        if name in known:
            found = [known[name]]
        elif name in groups:
            found = [task for task in known.values() if name in task.tags]
        else:
            found = [known[match] for match in fnmatch.filter(known, name)]
        if not found:
            raise unknown("task", name, [*known, *groups])
        chosen.update((task.name, task) for task in found)
    return list(chosen.values())
