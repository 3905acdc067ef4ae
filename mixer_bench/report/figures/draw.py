"""Records to images: which figures are drawn, and their files. Nothing is shown on a screen."""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mixer_bench.report.figures import boards, curves, groups, ranks, scatter
from mixer_bench.report.figures.style import SETTINGS, Plot, styles
from mixer_bench.report.index import Index
from mixer_bench.system import files

FORMATS = ("svg", "png")
DPI = 200
MOST = 12  # pairs of task and setting of which each has a figure of a kind
CAPTIONS = "captions.md"
Item = TypeVar("Item")


@dataclass(frozen=True)
class Figures:
    """What there is to draw, and in sentences what is not drawn although there are numbers for it."""

    plots: tuple[Plot, ...]
    left_out: tuple[str, ...]


def figures(index: Index) -> Figures:
    """Return all figures that there are the numbers for.

    Of means over groups, always: accuracy over throughput and over cost, over shots, a heat map of the tasks and bars
    of the parts, for each group and setting; and mean ranks for each setting. Of single tasks, by kind (throughput,
    cost, shots, loss): one for each task and setting where there are at most ``MOST`` (12) such pairs, none where there
    are more, since a choice among them would be arbitrary; ``left_out`` says so.
    """
    about = index.about
    style = styles([cell.record for cell in index.cells], about)
    left_out: list[str] = []
    of_means, of_tasks = boards.mean_boards(index), boards.boards(index)
    plots: list[Plot] = []
    for sheet in index.of_groups:
        plots += [*groups.heat_maps(sheet, about), *groups.bars(sheet, about, style)]
    plots += [ranking for sheet in index.by_limit for ranking in ranks.rankings(sheet, about)]
    compared = [board for board in of_tasks if len(board.cells) > 1]
    for board in [*of_means, *_few("accuracy over throughput and cost", compared, left_out)]:
        plots += [*scatter.speed(board, about, style), *scatter.cost(board, about, style)]
    plots += curves.shot_curves(of_means, style)
    plots += _few("accuracy over shots", curves.shot_curves(of_tasks, style), left_out)
    plots += _few("loss curves", curves.loss_curves(index, style), left_out)
    return Figures(tuple(plots), tuple(left_out))


def _few(what: str, items: Sequence[Item], left_out: list[str]) -> Sequence[Item]:
    """Return all of them, or none and a note where they are too many."""
    if len(items) <= MOST:
        return items
    left_out.append(f"Not drawn: {what} of single tasks, {len(items)} times a task and setting; at most {MOST} are.")
    return []


def save(figures: Figures, folder: Path) -> list[Path]:
    """Write each figure as SVG and PNG into ``folder``, under its name; a number tells equal names apart.

    ``captions.md`` beside them says what each shows and what was left out. Returns the files of figures.

    Raises:
        ResultsError: the folder cannot be written.
    """
    drawn, lines = [], []
    taken: Counter[str] = Counter()
    with files.reported(folder, "name another folder"):
        for plot in figures.plots:
            stem = re.sub(r"[^\w.=-]+", "_", plot.name).strip("_")
            taken[stem] += 1
            stem += f"-{taken[stem]}" if taken[stem] > 1 else ""
            lines.append(f"- `{stem}`: {plot.caption}")
            for kind, content in rendered(plot, FORMATS).items():
                drawn.append(folder / f"{stem}.{kind}")
                files.write(drawn[-1], content)
        if lines or figures.left_out:
            lines += [*([""] if lines and figures.left_out else []), *figures.left_out]
            files.write(folder / CAPTIONS, "\n".join(lines) + "\n")
    return drawn


def rendered(plot: Plot, kinds: Iterable[str]) -> dict[str, bytes]:
    """Draw a figure; return it as a file of each kind."""
    import matplotlib

    contents = {}
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a letter the font lacks is drawn as a box
        figure = plot.figure()
        for kind in kinds:
            out = io.BytesIO()
            # The date and the program's version would make two files of one figure differ.
            metadata: dict[str, Any] = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
            figure.savefig(out, format=kind, dpi=DPI, metadata=metadata)
            contents[kind] = out.getvalue()
    return contents
