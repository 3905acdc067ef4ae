"""Records to one index: their cells, and which of these may stand beside each other. Pure; prints nothing.

It settles, before any table or figure is made, what must never be mixed: variants of a task's data, limits, settings
and presets.
"""

from __future__ import annotations

import functools
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from mixer_bench.report.cells import Cell, cells_of, mean_of
from mixer_bench.report.columns import columns
from mixer_bench.report.models import About
from mixer_bench.results.record import Record
from mixer_bench.results.setting import Setting, Variant
from mixer_bench.system.grouping import grouped
from mixer_bench.task.sources import Subset
from mixer_bench.task.task import Task

MEAN = "Mean"  # of a whole group, in averages.toml and in tables


@dataclass(frozen=True)
class Average:
    """A group of tasks and the parts that are averaged by themselves (averages.toml)."""

    tag: str
    title: str
    mixed: str  # what it is called where its tasks' images are not all the published ones
    parts: Mapping[str, frozenset[str]]  # names of tasks by the part's name; the whole group is ``MEAN``

    @property
    def members(self) -> frozenset[str]:
        """All tasks of the group."""
        return self.parts[MEAN]

    def called(self, cells: Iterable[Cell]) -> str:
        """Return its title, which means over mixed or resampled images do not have."""
        subsets = {cell.run.subset for cell in cells if cell.run.task in self.members}
        return self.title if subsets <= {"official"} or subsets == {"official-lossy"} else self.mixed

    def mean(self, cells: Mapping[str, Cell], part: str = MEAN) -> Cell | None:
        """Return the mean of a part; None where one of its tasks is not among ``cells``."""
        tasks = self.parts[part]
        return mean_of([cells[task] for task in sorted(tasks)]) if tasks and tasks <= cells.keys() else None

    def means(self, cells: Mapping[str, Cell]) -> dict[str, Cell]:
        """Return the means of all parts that are whole."""
        return {part: mean for part in self.parts if (mean := self.mean(cells, part))}


@dataclass(frozen=True)
class Sheet:
    """Cells of one setting and limit, and which of them are of tasks in one variant of their data."""

    setting: Setting
    name: str  # the setting in short
    every: tuple[Cell, ...]  # of the setting and limit
    cells: tuple[Cell, ...]  # of the tasks that are there in one variant
    doubled: tuple[str, ...]  # the others, in several variants all the same

    @property
    def limit(self) -> int | None:
        """Examples of a split, at most."""
        return self.every[0].run.limit

    @functools.cached_property
    def subsets(self) -> Counter[Subset]:
        """How many tasks are of each subset."""
        return Counter({cell.run.task: cell.run.subset for cell in self.every}.values())


@dataclass(frozen=True)
class GroupSheet(Sheet):
    """Cells of a group's tasks, of one subset where tasks have several variants of their data."""

    average: Average

    @functools.cached_property
    def on(self) -> str:
        """The group, with its subset and limit where these are not the usual ones."""
        return self.average.called(self.every) + _words(sorted(self.subsets), self.limit)


@dataclass(frozen=True)
class Index:
    """Records, what is known of their models, and the tasks that there are."""

    records: Sequence[Record]
    about: About
    tasks: Mapping[str, Task]

    @functools.cached_property
    def cells(self) -> list[Cell]:
        """All cells, in the order met."""
        return cells_of(self.records, self.about)

    @functools.cached_property
    def averages(self) -> list[Average]:
        """The declared groups that have tasks."""
        averages = []
        for tag, words in _declared().items():
            tasks = {
                part: [task.name for task in self.tasks.values() if t in task.tags]
                for part, t in words["parts"].items()
            }
            averages.append(
                Average(tag, words["title"], words["mixed"], {part: frozenset(names) for part, names in tasks.items()})
            )
        return [average for average in averages if average.members]

    @functools.cached_property
    def variants(self) -> dict[Variant, list[Cell]]:
        """Cells by what they were measured on."""
        return dict(sorted(grouped(self.cells, lambda cell: cell.run.variant).items(), key=lambda item: str(item[0])))

    @functools.cached_property
    def names(self) -> dict[Variant, str]:
        """A name for each variant: the task, with what sets the variant apart from the others."""
        names = {v: v.task + _words([v.mark or "official"], v.limit) for v in self.variants}
        given = list(names.values())
        return {
            v: name if given.count(name) == 1 else f"{name} (version {v.task_version}, data {v.data[:8]}, {v.metric})"
            for v, name in names.items()
        }

    @functools.cached_property
    def present(self) -> list[Cell]:
        """Cells of known tasks in their present version."""
        versions = {name: task.version for name, task in self.tasks.items()}
        return [cell for cell in self.cells if versions.get(cell.run.task) == cell.run.task_version]

    @functools.cached_property
    def whole(self) -> tuple[list[Sheet], tuple[str, ...]]:
        """Sheets of all present tasks without limit; and the tasks that have several variants in any setting."""
        cells, doubled = single([cell for cell in self.present if cell.run.limit is None])
        return _sheets(cells), doubled

    @functools.cached_property
    def by_limit(self) -> list[Sheet]:
        """Sheets of all tasks, the unlimited first."""
        return [sheet for cells in _by_limit(self.cells) for sheet in _sheets(cells)]

    @functools.cached_property
    def of_groups(self) -> list[GroupSheet]:
        """Sheets of each group's present tasks; subset by subset where tasks have several variants."""
        sheets = []
        for average in self.averages:
            for cells in _by_limit([cell for cell in self.present if cell.run.task in average.members]):
                subsets = sorted(grouped(cells, lambda cell: cell.run.subset).items())
                together = [group for _, group in subsets] if single(cells)[1] else [cells]
                sheets += [GroupSheet(**vars(sheet), average=average) for group in together for sheet in _sheets(group)]
        return sheets


@functools.cache
def _declared() -> dict[str, dict[str, Any]]:
    return tomllib.loads((files("mixer_bench.report") / "averages.toml").read_text(encoding="utf-8"))


def single(cells: Sequence[Cell]) -> tuple[list[Cell], tuple[str, ...]]:
    """Return the cells of tasks that are there in one variant of their data, and the names of the other tasks."""
    groups = grouped(cells, lambda cell: cell.run.task)
    doubled = sorted(task for task, group in groups.items() if len({cell.run.variant for cell in group}) > 1)
    return [cell for cell in cells if cell.run.task not in doubled], tuple(doubled)


def _sheets(cells: Sequence[Cell]) -> list[Sheet]:
    kept = [(column, *single(column.cells)) for column in columns(cells)]
    return [Sheet(c.setting, c.name, tuple(c.cells), tuple(alone), doubled) for c, alone, doubled in kept]


def _by_limit(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Return cells by limit, the unlimited first."""
    return [group for _, group in sorted(grouped(cells, lambda cell: cell.run.limit or 0).items())]


def _words(subsets: Sequence[str], limit: int | None) -> str:
    said = [] if list(subsets) == ["official"] else [" and ".join(subsets)]
    said += [f"limited to {limit} a split"] if limit else []
    return f" ({', '.join(said)})" if said else ""
