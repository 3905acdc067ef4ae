"""Critical-difference diagrams: models by their mean rank over tasks (Demšar 2006, figure 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixer_bench.report.cells import Cell, by_limit, doubled
from mixer_bench.report.columns import by_setting, labels
from mixer_bench.report.figures.style import INK, WIDTH, Drawn, empty, folded, wrapped
from mixer_bench.report.models import About
from mixer_bench.report.tables.table import by_model
from mixer_bench.stats import ranks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST_TASKS = 3
ALPHA = 0.05


@dataclass(frozen=True)
class Contest:
    """Models on the tasks that all of them have in one setting."""

    setting: str
    limit: int | None
    models: tuple[str, ...]
    tasks: tuple[str, ...]
    scores: np.ndarray  # [T, M], in [0, 1], means over seeds
    left_out: tuple[str, ...]  # tasks and models, each with the reason


def contests(cells: Sequence[Cell], about: About) -> list[Contest]:
    """A contest for each setting and limit in which two models or more share three tasks or more.

    Models with few of the setting's tasks are left out one by one, those with fewest first, until the rest share half
    of the tasks that any has; tasks in several variants (data, version, subset) are left out as well.
    """
    found: list[Contest | None] = []
    for _, limited in by_limit(cells):
        settings = by_setting(limited)
        names = labels(settings)
        found += [_contest(group, names[setting], about) for setting, group in settings.items()]
    return [contest for contest in found if contest]


def _contest(cells: Sequence[Cell], setting: str, about: About) -> Contest | None:
    twice = doubled(cells)
    single = [cell for cell in cells if cell.run.task not in twice]
    models = {label: {cell.run.task: cell for cell in own} for label, own in by_model(single, about).items()}
    every = {cell.run.task for cell in single}
    without: list[str] = []
    while len(models) > 1:
        shared = sorted(set.intersection(*(set(by_task) for by_task in models.values())))
        if len(shared) >= FEWEST_TASKS and 2 * len(shared) >= len(every):
            break
        fewest = min(reversed(models), key=lambda label: len(models[label]))
        without.append(f"{fewest} ({len(models.pop(fewest))} tasks)")
    else:
        return None
    scores = np.array([[by_task[task].mean for by_task in models.values()] for task in shared])
    left_out = [f"{task} (several variants)" for task in twice] + without
    left_out += [f"{task} (not of all models)" for task in sorted(every - set(shared))]
    return Contest(setting, cells[0].run.limit, tuple(models), tuple(shared), scores, tuple(left_out))


def critical_difference(contest: Contest) -> Drawn:
    """Models on a line of mean ranks, best left; bars join those that Nemenyi's test does not tell apart at 5 %."""
    mean_ranks = ranks.mean_ranks(contest.scores)
    count = len(contest.models)
    critical = ranks.critical_difference(count, len(contest.tasks), ALPHA)
    groups = ranks.cliques(mean_ranks, critical)
    limited = f", limited to {contest.limit} a split" if contest.limit else ""
    what = f"mean ranks over {len(contest.tasks)} tasks, {contest.setting}{limited}"
    labels = [folded(label) for label in contest.models]
    parts = [label.split("\n") for label in labels]
    margin = 0.6 + 0.07 * max(len(part) for lines in parts for part in lines)  # inches that labels take on each side
    row_height = 0.08 + 0.12 * max(map(len, parts))
    title = wrapped(what[0].upper() + what[1:])
    extra = 0.17 * title.count("\n")  # inches
    height = extra + 1.15 + row_height * ((count + 1) // 2) + 0.13 * len(groups)
    figure = empty(height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((margin / WIDTH, 0.02, 1 - 2 * margin / WIDTH, 0.96))
    axes.set_axis_off()
    axes.set_xlim(1, count)
    axes.set_ylim(0.96 * height - extra, -extra)  # in inches from below the title
    figure.text(0.01, 1 - 0.06 / height, title, va="top", fontsize=10)
    _scale(axes, count, critical, WIDTH - 2 * margin)
    _cliques(axes, mean_ranks, groups)
    _labels(axes, labels, mean_ranks, 0.97 + 0.13 * len(groups), row_height)
    return Drawn(f"ranks {contest.setting}{limited}", _caption(what, contest, critical), figure)


def _scale(axes: Axes, count: int, critical: float, inches: float) -> None:
    apart = math.ceil(0.22 * (count - 1) / inches)  # numbers 0.22 inches or more from each other
    axes.plot([1, count], [0.75, 0.75], color=INK, linewidth=1, clip_on=False)
    for rank in range(1, count + 1):
        axes.plot([rank, rank], [0.69, 0.75], color=INK, linewidth=1, clip_on=False)
        if (rank - 1) % apart == 0:
            axes.text(rank, 0.66, str(rank), ha="center", va="bottom", fontsize=8)
    axes.plot(
        [1, 1 + critical], [0.38, 0.38], color=INK, linewidth=2, clip_on=False, gid="CD", marker="|", markersize=7
    )
    axes.text(1 + critical / 2, 0.34, f"CD = {critical:.2f}", ha="center", va="bottom", fontsize=8)


def _cliques(axes: Axes, mean_ranks: np.ndarray, groups: Sequence[tuple[int, ...]]) -> None:
    for number, group in enumerate(groups):
        ends = [float(mean_ranks[group[0]]) - 0.04, float(mean_ranks[group[-1]]) + 0.04]
        depth = 0.87 + 0.13 * number
        axes.plot(ends, [depth, depth], color=INK, linewidth=3.2, solid_capstyle="butt", clip_on=False, gid="clique")


def _labels(axes: Axes, models: Sequence[str], mean_ranks: np.ndarray, top: float, row_height: float) -> None:
    """The better half to the left, the rest to the right, each at the end of a line from its rank."""
    order = [int(index) for index in np.argsort(mean_ranks, kind="stable")]
    left = order[: (len(order) + 1) // 2]
    right = order[len(left) :][::-1]
    for side, indices, edge in (("right", left, -0.01), ("left", right, 1.01)):
        for row, index in enumerate(indices):
            depth, rank = top + row_height * (row + 0.5), float(mean_ranks[index])
            end = 1 + edge * (len(models) - 1)
            axes.plot([rank, rank, end], [0.75, depth, depth], color=INK, linewidth=0.8, clip_on=False)
            words = f"{models[index]}  {rank:.2f}" if side == "right" else f"{rank:.2f}  {models[index]}"
            pad = edge * 1.8 if edge < 0 else 1 + (edge - 1) * 1.8
            axes.text(pad, depth, words, ha=side, va="center", fontsize=8, transform=axes.get_yaxis_transform())


def _caption(what: str, contest: Contest, critical: float) -> str:
    said = [f"{what[0].upper()}{what[1:]}: {len(contest.models)} models, rank 1 is best (Demšar 2006)."]
    if len(contest.models) > 2:  # noqa: PLR2004  what Friedman's test is for
        p = ranks.friedman(contest.scores)
        said.append(f"Friedman's test that all rank alike: p = {p:.2g}.")
        if p >= ALPHA:
            said.append("It is not rejected: the diagram tells no two models apart.")
    else:
        said.append(f"Wilcoxon's signed-rank test of the two: p = {ranks.wilcoxon(*contest.scores.T):.2g}.")
    said.append(
        f"Bars join models whose mean ranks differ by less than the critical difference of Nemenyi's test at 5 %, "
        f"CD = {critical:.2f}."
    )
    said += [f"Left out: {', '.join(contest.left_out)}."] if contest.left_out else []
    return " ".join([*said, f"Tasks: {', '.join(contest.tasks)}."])
