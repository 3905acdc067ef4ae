"""Figures of a page: one a question and verdict, of the column that it is told of; all others are files (``draw``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mixer_bench.report.figures import boards, curves, groups, ranks, scatter
from mixer_bench.report.figures.style import Plot, styles
from mixer_bench.report.index import Index, Sheet
from mixer_bench.report.verdict import Verdict

MOST = 3  # figures of training losses
Item = TypeVar("Item")
OfSheet = TypeVar("OfSheet", bound=Sheet)


@dataclass(frozen=True)
class Question:
    """What one asks, and the figures that answer it."""

    words: str
    plots: tuple[Plot, ...]
    is_first: bool = False  # of those that are seen without unfolding


def questions(index: Index, told: Sequence[Verdict]) -> list[Question]:
    """Return the questions that figures of the verdicts' columns answer, those that are asked first in front."""
    about, style = index.about, styles([cell.record for cell in index.cells], index.about)
    columns = [boards.of_verdict(verdict, verdict.table) for verdict in told if verdict.table]
    every = [*boards.boards(index), *boards.mean_boards(index)]
    alike = [[board for board in every if board.measured_on == column.measured_on] for column in columns]
    of_groups = [
        sheet for verdict in told for sheet in _holding(index.of_groups, verdict)[:1] if verdict.best.cell.parts
    ]
    ranked = [sheet for verdict in told[:1] for sheet in _holding(index.by_limit, verdict)[:1]]
    losses = curves.loss_curves(index, style, [column.measured_on for column in columns])
    answered = [
        Question("Accuracy over time", _each(lambda board: scatter.speed(board, about, style), columns), is_first=True),
        Question("Accuracy over labels", _each(lambda same: curves.shot_curves(same, style), alike), is_first=True),
        Question("Accuracy over the cost of pre-training", _each(lambda b: scatter.cost(b, about, style), columns)),
        Question("Accuracy on each task", _each(lambda sheet: groups.heat_maps(sheet, about), of_groups)),
        Question("Means of parts of a group", _each(lambda sheet: groups.bars(sheet, about, style), of_groups)),
        Question("Ranks over tasks", _each(lambda sheet: ranks.rankings(sheet, about), ranked)),
        Question("Losses in training", tuple(losses[:MOST])),
    ]
    return [question for question in answered if question.plots]


def _each(drawn: Callable[[Item], Sequence[Plot]], items: Iterable[Item]) -> tuple[Plot, ...]:
    """Return the first figure of each item that has any."""
    return tuple(plots[0] for item in items if (plots := drawn(item)))


def _holding(sheets: Iterable[OfSheet], told: Verdict) -> list[OfSheet]:
    """Return the sheets that hold the best cell of a verdict, or the first that it is the mean of."""
    part = (told.best.cell.parts or (told.best.cell,))[0]
    return [sheet for sheet in sheets if any(cell.records is part.records for cell in sheet.cells)]
