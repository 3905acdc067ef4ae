"""Critical-difference diagrams: models by their mean rank over tasks (Demšar 2006, figure 1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixer_bench.report.figures.style import INK, WIDTH, Plot, empty, folded, wrapped
from mixer_bench.report.index import Sheet
from mixer_bench.report.models import About
from mixer_bench.report.tables.table import tasks_by_model
from mixer_bench.stats import ranks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST_TASKS = 3
ALPHA = 0.05


@dataclass(frozen=True)
class Ranking(Plot):
    """Models by their mean rank over the tasks that all of them have in one setting."""

    ranks: Mapping[str, float]  # by model, best first
    critical: float  # difference from which two models are told apart
    cliques: tuple[tuple[float, float], ...]  # from the best to the worst rank of models that are not

    def figure(self) -> Figure:
        """Draw a line of ranks, best left, names below it and bars that join what is not told apart."""
        count = len(self.ranks)
        labels = [folded(label) for label in self.ranks]
        margin = 0.6 + 0.07 * max(len(line) for label in labels for line in label.split("\n"))  # inches on each side
        row_height = 0.2 + 0.12 * max(label.count("\n") for label in labels)
        title = wrapped(self.title)
        extra = 0.17 * title.count("\n")
        height = extra + 1.15 + row_height * ((count + 1) // 2) + 0.13 * len(self.cliques)
        figure = empty(height)
        figure.set_layout_engine("none")
        figure.text(0.01, 1 - 0.06 / height, title, va="top", fontsize=10)
        axes = figure.add_axes((margin / WIDTH, 0.02, 1 - 2 * margin / WIDTH, 0.96))
        axes.set_axis_off()
        axes.set(xlim=(1, count), ylim=(0.96 * height - extra, -extra))  # y in inches from below the title
        line: dict[str, Any] = {"color": INK, "clip_on": False}
        every = math.ceil(0.22 * (count - 1) / (WIDTH - 2 * margin))  # numbers 0.22 inches or more from each other
        axes.plot(range(1, count + 1), [0.75] * count, marker=2, markersize=4, linewidth=1, **line)
        for tick in range(1, count + 1, every):
            axes.text(tick, 0.66, str(tick), ha="center", va="bottom", fontsize=8)
        axes.plot([1, 1 + self.critical], [0.38, 0.38], linewidth=2, marker="|", markersize=7, **line)
        axes.text(1 + self.critical / 2, 0.34, f"CD = {self.critical:.2f}", ha="center", va="bottom", fontsize=8)
        for number, (best, worst) in enumerate(self.cliques):
            depth = 0.87 + 0.13 * number
            axes.plot([best - 0.04, worst + 0.04], [depth] * 2, linewidth=3.2, solid_capstyle="butt", **line)
        # The better half stands to the left, the rest to the right, each at the end of a line from its rank.
        for place, (label, rank) in enumerate(zip(labels, self.ranks.values(), strict=True)):
            left = place < (count + 1) // 2
            row = place if left else count - 1 - place
            depth = 0.97 + 0.13 * len(self.cliques) + row_height * (row + 0.5)
            edge, outwards = (1.0, -0.01 * (count - 1)) if left else (float(count), 0.01 * (count - 1))
            axes.plot([rank, rank, edge + outwards], [0.75, depth, depth], linewidth=0.8, **line)
            words, side = (f"{label}  {rank:.2f}", "right") if left else (f"{rank:.2f}  {label}", "left")
            axes.text(edge + 1.8 * outwards, depth, words, ha=side, va="center", fontsize=8)
        return figure


def rankings(sheet: Sheet, about: About) -> list[Ranking]:
    """Return the ranking of a setting and limit in which two models or more share three tasks or more, else nothing.

    Models with few of the setting's tasks are left out one by one, those with fewest first, until the rest share half
    of the tasks that any has; tasks in several variants (data, version, subset) are left out as well.
    """
    setting = sheet.name + (f", limited to {sheet.limit} a split" if sheet.limit else "")
    models = tasks_by_model(sheet.cells, about)
    every = {cell.run.task for cell in sheet.cells}
    without: list[str] = []
    while len(models) > 1:
        shared = sorted(set.intersection(*(set(by_task) for by_task in models.values())))
        if len(shared) >= FEWEST_TASKS and 2 * len(shared) >= len(every):
            break
        fewest = min(reversed(models), key=lambda label: len(models[label]))
        without.append(f"{fewest} ({len(models.pop(fewest))} tasks)")
    else:
        return []
    scores = np.array([[by_task[task].mean for by_task in models.values()] for task in shared])  # [T, M]
    mean_ranks = ranks.mean_ranks(scores)
    critical = ranks.critical_difference(len(models), len(shared), ALPHA)
    by_rank = {list(models)[n]: float(mean_ranks[n]) for n in np.argsort(mean_ranks, kind="stable")}
    cliques = [(float(mean_ranks[c[0]]), float(mean_ranks[c[-1]])) for c in ranks.cliques(mean_ranks, critical)]
    left_out = [f"{task} (several variants)" for task in sheet.doubled] + without
    left_out += [f"{task} (not of all models)" for task in sorted(every - set(shared))]
    title = f"Mean ranks over {len(shared)} tasks, {setting}"
    caption = [
        f"{title}: {len(models)} models, rank 1 is best (Demšar 2006).",
        *_tested(scores),
        "Bars join models whose mean ranks differ by less than the critical difference of Nemenyi's test at 5 %, "
        f"CD = {critical:.2f}.",
        *([f"Left out: {', '.join(left_out)}."] if left_out else []),
        f"Tasks: {', '.join(shared)}.",
    ]
    return [Ranking(f"ranks {setting}", title, " ".join(caption), by_rank, critical, tuple(cliques))]


def _tested(scores: np.ndarray) -> list[str]:
    if scores.shape[1] == 2:  # noqa: PLR2004  Friedman's test is of three or more
        return [f"Wilcoxon's signed-rank test of the two: p = {ranks.wilcoxon(*scores.T):.2g}."]
    p = ranks.friedman(scores)
    said = f"Friedman's test that all rank alike: p = {p:.2g}."
    return [said, *(["It is not rejected: the diagram tells no two models apart."] if p >= ALPHA else [])]
