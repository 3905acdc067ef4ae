"""Records to cells: runs that differ by seed alone as one number, and means of such numbers over tasks. Pure.

Every table and figure of a report is made of the same cells; what many of them ask of a cell is worked out once.
"""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mixer_bench.report.models import About
from mixer_bench.results.record import Record, Run
from mixer_bench.stats import intervals
from mixer_bench.system.grouping import grouped

Standing = Literal["", "best", "tied", "unknown", "better", "worse"]  # tied: not significantly worse than the best
STANDINGS: Mapping[Standing, str] = {"": "", "best": "●", "tied": "○", "unknown": "?", "better": "▲", "worse": "▼"}
ROUNDING = 1e-9  # of a mean over equal numbers
FEW = 100  # test images of a task, below which a cell says so: one image more or less moves it by a point
# What marks in cells mean, in the order in which cells have them and legends tell them.
LEGEND: Mapping[str, str] = {
    "±–": "nothing varied from which an interval could be told, which does not make it certain",
    "*": "± of one run (of one task at least): of the test sample, not of seeds",
    "!": "the solver did not converge; the record says where",
    "†": "images of the task, or of one of the tasks, were among those of pre-training",
    "‡": f"fewer than {FEW} test images",
    "§": "classes with fewer images than were to be drawn of each",
    "●": "best",
    "○": "not significantly worse than the best (paired by seed and test image, Holm, 5 %)",
    "▲": "significantly better (paired by seed and test image, Holm within a column, 5 %)",
    "▼": "significantly worse (likewise)",
}


@dataclass(frozen=True)
class Cell:
    """A number of a table, in [0, 1]: of runs that differ by seed alone, or a mean over tasks of such numbers."""

    mean: float
    half: float  # half-width of the 95 % interval
    seeds: int
    converged: bool
    in_domain: bool = False  # the task's images were among those of pre-training
    records: tuple[Record, ...] = field(default=(), repr=False)  # what it stands on
    metric: str = ""
    parts: tuple[Cell, ...] = field(default=(), repr=False)  # of a mean: a cell a task
    standing: Standing = ""  # among the models, where that was judged
    difference: bool = False  # of two models: mean is in [-1, 1]

    @property
    def record(self) -> Record:
        """Any of its records: but for the seed their runs are the same, unless it is a mean."""
        return self.records[0]

    @property
    def run(self) -> Run:
        """The run of ``record``."""
        return self.records[0].run

    @functools.cached_property
    def by_task(self) -> Mapping[str, Cell]:
        """The cell of each task it is the mean of; of one task, the cell itself."""
        return {part.run.task: part for part in self.parts or (self,) if part.records}

    @functools.cached_property
    def by_seed(self) -> Mapping[int, float]:
        """The metric of each run, by its seed; of one task's cell."""
        return {record.run.seed: record.metrics[self.metric].value for record in self.records}

    @property
    def over_seeds(self) -> bool:
        """Whether the interval is over seeds; with one run it is that of the test sample."""
        return self.seeds > 1

    @functools.cached_property
    def sampling_half(self) -> float:
        """Half of the 95 % interval for another test sample of this size, the same seeds (Wilson, of a single run)."""
        if self.parts:
            return math.hypot(*(part.sampling_half for part in self.parts)) / len(self.parts)
        ends = [record.metrics[self.metric].ci95 for record in self.records]
        return math.fsum(high - low for low, high in ends) / 2 / len(ends) if ends else math.nan

    @functools.cached_property
    def errors(self) -> tuple[float, float]:
        """Standard errors of one task's cell: through seeds, 0 with a single one, and through test examples at most."""
        count = len(self.records)
        squares = math.fsum((value - self.mean) ** 2 for value in self.by_seed.values())
        widest = max(high - low for low, high in (record.metrics[self.metric].ci95 for record in self.records))
        return math.sqrt(squares / (count - 1) / count) if count > 1 else 0.0, widest / 2 / 1.96

    @property
    def text(self) -> str:
        """The mean and its interval in percent, with marks that ``LEGEND`` explains."""
        return self.percent + (f" ±{self.half_percent}" if self.half_percent else "") + self.marks

    @property
    def percent(self) -> str:
        """The mean in percent, a difference with its sign."""
        return f"{100 * self.mean:{'+.1f' if self.difference else '.1f'}}"

    @property
    def half_percent(self) -> str:
        """Half of the interval in percent, a dash where it cannot be known; empty of what was printed without one."""
        if math.isnan(self.half):
            return ""
        short = f"{100 * self.half:.1f}"
        if short == "0.0":
            return "<0.1" if self.half > ROUNDING else "–"
        return short

    @property
    def marks(self) -> str:
        """Marks that ``LEGEND`` explains."""
        few = any(record.n_test < FEW for record in self.records)
        short = any(record.drawn is not None and record.drawn.short for record in self.records)
        shown = {"*": not self.over_seeds, "!": not self.converged, "†": self.in_domain, "‡": few, "§": short}
        return "".join(mark for mark, is_shown in shown.items() if is_shown) + STANDINGS[self.standing]


def cells_of(records: Sequence[Record], about: About) -> list[Cell]:
    """Return the cells of all records, by their tasks' own metrics, in the order met.

    A cell never mixes models, checkpoints, task versions, data, limits or settings.
    """
    groups = grouped(records, lambda record: record.run.but_seed)
    firsts = [group[0] for group in groups.values()]
    seen = [not {r.run.task, *r.images_of}.isdisjoint(about.origin(r).in_domain) for r in firsts]
    return [cell_of(group, group[0].run.metric, known) for group, known in zip(groups.values(), seen, strict=True)]


def cell_of(records: Sequence[Record], metric: str, in_domain: bool = False) -> Cell:
    """Return the cell of runs that differ by seed alone."""
    measured = [record.metrics[metric] for record in records]
    # Where every seed drew all there is, the runs are one run many times: that they agree says nothing.
    once = all(record.drawn is not None and record.drawn.whole for record in records)
    mean, half = intervals.mean_interval([m.value for m in measured])
    if len(records) == 1 or once:
        half = (measured[0].ci95[1] - measured[0].ci95[0]) / 2
    converged = all(record.converged is not False for record in records)
    return Cell(mean, half, 1 if once else len(records), converged, in_domain, tuple(records), metric)


def real_cells(cells: Sequence[Cell]) -> list[Cell]:
    """Return the same runs by ImageNet's ReaL labels; none where a run was not measured by them."""
    if not all("real" in record.metrics for cell in cells for record in cell.records):
        return []
    return [cell_of(cell.records, "real", cell.in_domain) for cell in cells]


def mean_of(cells: Sequence[Cell]) -> Cell:
    """Return the plain mean over tasks; where all have the same seeds, with the interval over the seeds' means."""
    seeds = sorted(cells[0].by_seed)
    paired = any(cell.over_seeds for cell in cells) and all(sorted(cell.by_seed) == seeds for cell in cells)
    means = [statistics.fmean(cell.by_seed[seed] for cell in cells) for seed in seeds] if paired else []
    return Cell(
        statistics.fmean(cell.mean for cell in cells),
        # Of independent test samples the variances add up.
        intervals.mean_interval(means)[1] if paired else math.hypot(*(cell.half for cell in cells)) / len(cells),
        len(seeds) if paired else min(cell.seeds for cell in cells),
        converged=all(cell.converged for cell in cells),
        in_domain=any(cell.in_domain for cell in cells),
        records=tuple(itertools.chain.from_iterable(cell.records for cell in cells)),
        metric=cells[0].metric,
        parts=tuple(cells),
    )
