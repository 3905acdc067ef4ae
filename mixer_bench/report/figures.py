"""Records to pictures. Drawn with matplotlib's objects, without its global state; nothing is shown on a screen.

Families differ by colour (Okabe and Ito 2008, told apart by colour-blind people), by marker and by line style, so that
a figure is read in greyscale as well; untrained twins are thin and hollow.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixer_bench import atomic
from mixer_bench.errors import ResultsError
from mixer_bench.record import Record
from mixer_bench.report.about import About
from mixer_bench.report.settings import column_labels, column_of, grouped
from mixer_bench.report.tables import by_model, measured_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "png")
DPI = 200
SETTINGS: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "mixer-bench",  # ids, and so files, do not change from run to run
}
Dashes = tuple[float, ...]


@dataclass(frozen=True)
class Look:
    """How a family is drawn."""

    colour: str
    marker: str
    dashes: Dashes


LOOKS = {
    "mixer": Look("#0072B2", "o", ()),
    "vit": Look("#D55E00", "s", (5, 2)),
    "resnet": Look("#009E73", "^", (1.2, 1.2)),
}
OTHER = Look("#666666", "D", (5, 1.5, 1, 1.5))


@dataclass(frozen=True)
class Drawn:
    """A figure, the name of its files and what it shows."""

    name: str
    caption: str
    figure: Figure


def draw(records: Sequence[Record], about: About) -> list[Drawn]:
    """All figures that the records have the numbers for."""
    import matplotlib  # noqa: PLC0415  a second that reports without figures need not spend

    with matplotlib.rc_context(SETTINGS):
        return [*loss_curves(records, about)]


def loss_curves(records: Sequence[Record], about: About) -> list[Drawn]:
    """The training loss over steps: a figure a task and setting, a line a model, a band from seed to seed."""
    trained = [record for record in records if record.curve]
    drawn = []
    for (_, setting), group in grouped(trained, lambda r: (measured_on(r), column_of(r))).items():
        figure, axes = _empty("step", "training loss")
        for label, runs in by_model(group, about).items():
            steps = np.array([step for step, _ in runs[0].curve])
            losses = np.array([[loss for _, loss in run.curve] for run in runs])  # [seeds, entries]
            line = _line(axes, steps, losses.mean(axis=0), label, runs[0], about)
            axes.fill_between(steps, losses.min(axis=0), losses.max(axis=0), color=line, alpha=0.15, linewidth=0)
        axes.set_ylim(bottom=0)
        _legend(axes)
        task = group[0].run.task
        name = column_labels([r for r in trained if r.run.task == task])[setting]
        seeds = len({r.run.seed for r in group})
        axes.set_title(f"{task}: {name}", loc="left")
        caption = f"Training loss on {task}, {name}; mean of {seeds} seeds, the band from the lowest to the highest."
        drawn.append(Drawn(f"loss {task} {name}", caption, figure))
    return drawn


def save(drawn: Iterable[Drawn], folder: Path) -> list[Path]:
    """Write each figure as SVG and PNG into ``folder``.

    Raises:
        ResultsError: the folder cannot be written.
    """
    files = []
    for one in drawn:
        for kind in FORMATS:
            file = folder / (re.sub(r"[^\w.=-]+", "_", one.name) + f".{kind}")
            try:
                atomic.write(file, as_bytes(one, kind))
            except OSError as error:
                raise ResultsError(f"cannot write {file}: {error.strerror}; name another folder") from None
            files.append(file)
    return files


def as_bytes(drawn: Drawn, kind: str) -> bytes:
    """The figure as a file of that kind."""
    import matplotlib  # noqa: PLC0415

    out = io.BytesIO()
    # The date and the program's version would make two files of one figure differ.
    metadata: dict[str, Any] = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context(SETTINGS):
        drawn.figure.savefig(out, format=kind, dpi=DPI, bbox_inches="tight", metadata=metadata)
    return out.getvalue()


def _empty(x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(6.4, 3.8))
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def look_of(record: Record, about: About) -> Look:
    """How a record's model is drawn."""
    origin = about.origin(record)
    return LOOKS.get(origin.family, OTHER) if origin else OTHER


def is_untrained(record: Record) -> bool:
    """Whether the network never saw a picture, or is none."""
    return record.run.model.startswith("random:")


def _line(axes: Axes, x: np.ndarray, y: np.ndarray, label: str, record: Record, about: About) -> str:
    """A model's line; returns its colour."""
    look = look_of(record, about)
    untrained = is_untrained(record)
    axes.plot(
        x,
        y,
        label=label,
        color=look.colour,
        linewidth=1.0 if untrained else 1.8,
        dashes=look.dashes or (None, None),
        marker=look.marker,
        markevery=max(1, len(x) // 8),
        markersize=5,
        markerfacecolor="white" if untrained else look.colour,
    )
    return look.colour


def _legend(axes: Axes) -> None:
    """Beside the axes, where it hides nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, handlelength=3.2)
