"""Records to images: which figures are drawn, and their files. Nothing is shown on a screen."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mixer_bench.errors import ResultsError
from mixer_bench.report.cells import Cell
from mixer_bench.report.figures import boards as figures_data
from mixer_bench.report.figures import curves, groups, ranks, scatter
from mixer_bench.report.figures.style import SETTINGS, Drawn, styles
from mixer_bench.report.models import About
from mixer_bench.system import files as atomic
from mixer_bench.task import task as task_files
from mixer_bench.task.task import Task

__all__ = ["DPI", "FORMATS", "MOST", "Drawn", "Figures", "as_bytes", "draw", "save", "write_captions"]

FORMATS = ("svg", "png")
DPI = 200
MOST = 12  # pairs of task and setting of which each has a figure of a kind
CAPTIONS = "captions.md"
Found = TypeVar("Found")


@dataclass(frozen=True)
class Figures:
    """What was drawn, and in sentences what was not although there are numbers for it."""

    drawn: tuple[Drawn, ...]
    left_out: tuple[str, ...]


def draw(cells: Sequence[Cell], about: About, tasks: Mapping[str, Task] | None = None) -> Figures:
    """All figures that there are the numbers for.

    Of means over groups, always: accuracy over throughput and over cost, over shots, a heat map of the tasks and bars
    of the parts, for each group and setting; and mean ranks for each setting. Of single tasks, by kind (throughput,
    cost, shots, loss): one for each task and setting where there are at most ``MOST`` (12) such pairs, none where there
    are more, since a choice among them would be arbitrary; ``left_out`` says so.

    Args:
        cells: of any tasks, models and protocols.
        about: what is known of the models.
        tasks: whose groups are averaged; the installed ones if None.
    """
    import matplotlib

    tasks = task_files.tasks() if tasks is None else tasks
    style = styles([cell.record for cell in cells], about)
    left_out: list[str] = []
    sheets = figures_data.sheets(cells, tasks)
    of_means = figures_data.mean_boards(sheets, about, tasks)
    of_tasks = figures_data.boards(cells, about)
    compared = [board for board in of_tasks if len(board.cells) > 1]
    with matplotlib.rc_context(SETTINGS):
        drawn: list[Drawn] = []
        for sheet in sheets:
            drawn += [one for one in (groups.heat_map(sheet, about),) if one]
            drawn += [one for one in (groups.bars(sheet, about, tasks, style),) if one]
        drawn += map(ranks.critical_difference, ranks.contests(cells, about))
        shown = [*of_means, *_few("accuracy over throughput and cost", compared, left_out)]
        for board in shown:
            drawn += [*scatter.throughput(board, about, style), *scatter.cost(board, about, style)]
        over_shots = curves.by_shots(of_means)
        over_shots += _few("accuracy over shots", curves.by_shots(of_tasks), left_out)
        drawn += [curves.shot_curve(boards, style) for boards in over_shots]
        losses = dict(_few("loss curves", list(curves.losses(cells).items()), left_out))
        drawn += curves.loss_curves(losses, about, style)
    return Figures(tuple(drawn), tuple(left_out))


def _few(what: str, found: list[Found], left_out: list[str]) -> list[Found]:
    """All of them, or none and a note where they are too many."""
    if len(found) <= MOST:
        return found
    left_out.append(f"Not drawn: {what} of single tasks, {len(found)} times a task and setting; at most {MOST} are.")
    return []


def save(drawn: Iterable[Drawn], folder: Path) -> list[Path]:
    """Write each figure as SVG and PNG into ``folder``, under its name; a number tells equal names apart.

    Raises:
        ResultsError: the folder cannot be written.
    """
    files = []
    for one, stem in _stems(drawn):
        for kind in FORMATS:
            file = folder / f"{stem}.{kind}"
            _write(file, as_bytes(one, kind))
            files.append(file)
    return files


def write_captions(figures: Figures, folder: Path) -> Path:
    """Write what each file shows, and what was left out, to ``captions.md`` in ``folder``.

    Raises:
        ResultsError: the folder cannot be written.
    """
    lines = [f"- `{stem}`: {one.caption}" for one, stem in _stems(figures.drawn)]
    file = folder / CAPTIONS
    _write(file, "\n".join([*lines, *([""] if lines and figures.left_out else []), *figures.left_out]) + "\n")
    return file


def _stems(drawn: Iterable[Drawn]) -> list[tuple[Drawn, str]]:
    taken: dict[str, int] = {}
    found = []
    for one in drawn:
        stem = re.sub(r"[^\w.=-]+", "_", one.name).strip("_")
        taken[stem] = taken.get(stem, 0) + 1
        found.append((one, stem if taken[stem] == 1 else f"{stem}-{taken[stem]}"))
    return found


def _write(file: Path, content: bytes | str) -> None:
    try:
        atomic.write(file, content)
    except OSError as error:
        raise ResultsError(f"cannot write {file}: {error.strerror}; name another folder") from None


def as_bytes(drawn: Drawn, kind: str) -> bytes:
    """The figure as a file of that kind."""
    import matplotlib

    out = io.BytesIO()
    # The date and the program's version would make two files of one figure differ.
    metadata: dict[str, Any] = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a letter the font lacks is drawn as a box
        drawn.figure.savefig(out, format=kind, dpi=DPI, metadata=metadata)
    return out.getvalue()
