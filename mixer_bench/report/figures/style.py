"""How figures look: one width, one style a model. Drawn with matplotlib's objects, without its global state.

Families differ by hue (Okabe and Ito 2008, told apart by colour-blind people), by marker and by line style, members of
a family by lightness and marker, so that a figure is read in greyscale as well; untrained twins are thin and hollow.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mixer_bench.report.cells import Cell
from mixer_bench.report.models import About
from mixer_bench.results.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 6.4  # inches, of every figure
HEIGHT = 3.8
TITLE_CHARS = 66  # that a line of a title above axes has room for
WHOLE_CHARS = 80  # of one that starts at the figure's edge
MANY = 10  # lines from which on they are thin, without bands
LABEL_CHARS = 26  # of a line of a label: a longer one would leave the axes no room
INK, GREY = "#222222", "#777777"
SETTINGS: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "mixer-bench",  # ids, and so files, do not change from run to run
}
Dashes = tuple[float, ...]


@dataclass(frozen=True)
class Look:
    """How a family is drawn; its members take the markers in turn."""

    colour: str
    markers: tuple[str, str, str]
    dashes: Dashes


LOOKS = {
    "mixer": Look("#0072B2", ("o", "P", "*"), ()),
    "vit": Look("#D55E00", ("s", "D", "X"), (5, 2)),
    "resnet": Look("#009E73", ("^", "v", "<"), (1.2, 1.2)),
    "mlp": Look("#CC79A7", ("p", "h", "8"), (8, 2, 1.2, 2)),
}
OTHER = Look("#666666", ("d", ">", "H"), (5, 1.5, 1, 1.5))
SHADES = (0.0, 0.45, -0.45)  # towards white, towards black


@dataclass(frozen=True)
class Style:
    """How a model is drawn, in every figure of a report."""

    colour: str
    marker: str
    dashes: Dashes
    untrained: bool


@dataclass(frozen=True)
class Drawn:
    """A figure, the name of its files (without suffix) and what it shows, in sentences."""

    name: str
    caption: str
    figure: Figure


Styles = Callable[[Record], Style]


def is_untrained(record: Record) -> bool:
    """Whether the network never saw an image."""
    return record.run.model.startswith("random:")


def styles(records: Sequence[Record], about: About) -> Styles:
    """The style of each model of ``records``, by any of its records; nine a family before two look alike.

    An untrained twin has the style of its model, hollow.
    """
    members: dict[str, list[tuple[Any, ...]]] = {}
    ordered = sorted(records, key=lambda r: (is_untrained(r), about.position(r.run.model), r.run.model))
    for record in ordered:
        family = members.setdefault(_family(record, about), [])
        alike = any(_is_twin(record, known) for known in family) if is_untrained(record) else False
        if not alike and _identity(record) not in family:
            family.append(_identity(record))

    def of(record: Record) -> Style:
        family = _family(record, about)
        fitting = (n for n, known in enumerate(members[family]) if _is_twin(record, known))
        number = next(fitting) if is_untrained(record) else members[family].index(_identity(record))
        look = LOOKS.get(family, OTHER)
        # Marker and lightness turn at different speeds, so that neither repeats alone.
        shade = SHADES[(number + number // 3) % 3]
        return Style(_shaded(look.colour, shade), look.markers[number % 3], look.dashes, is_untrained(record))

    return of


def _family(record: Record, about: About) -> str:
    origin = about.origin(record)
    return origin.family if origin else "other"


def _identity(record: Record) -> tuple[Any, ...]:
    run = record.run
    return (run.model.removeprefix("random:"), run.preprocessing, run.precision, run.weights)


def _is_twin(record: Record, known: tuple[Any, ...]) -> bool:
    return _identity(record)[:3] == known[:3]


def _shaded(colour: str, shade: float) -> str:
    parts = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    mixed = [part + shade * (255 - part) if shade > 0 else part * (1 + shade) for part in parts]
    return "#" + "".join(f"{round(part):02x}" for part in mixed)


def frame(title: str, x: str, y: str, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """A figure with one pair of axes; ``height`` in inches."""
    figure = empty(height)
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(wrapped(title, TITLE_CHARS), loc="left")
    return figure, axes


def empty(height: float) -> Figure:
    """A figure without axes; ``height`` in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)  # measures text
    return figure


def wrapped(title: str, chars: int = WHOLE_CHARS) -> str:
    """A title in lines that the figure has room for."""
    return "\n".join(textwrap.wrap(title, chars))


def folded(label: str) -> str:
    """A model's label in lines that leave room for the rest."""
    return "\n".join(textwrap.wrap(label, LABEL_CHARS))


def line(axes: Axes, x: Any, y: Any, label: str, style: Style, thin: bool = False) -> None:
    """A model's line, with about eight markers."""
    axes.plot(
        x,
        y,
        label=folded(label),
        color=style.colour,
        linewidth=1.0 if style.untrained or thin else 1.8,
        dashes=style.dashes or (None, None),
        marker=style.marker,
        markevery=max(1, len(x) // 8),
        markersize=5,
        markerfacecolor="white" if style.untrained else style.colour,
    )


def legend(figure: Figure, axes: Axes) -> None:
    """Outside the axes, where it hides nothing, in the order in which the lines end, from the top."""
    pairs = zip(*axes.get_legend_handles_labels(), strict=True)
    ending = sorted(pairs, key=lambda pair: -float(pair[0].get_ydata()[-1]))  # type: ignore[attr-defined]
    handles, labels = [pair[0] for pair in ending], [pair[1] for pair in ending]
    size = 7 if len(labels) > MANY else 8
    lines = sum(1 + label.count("\n") for label in labels)
    figure.set_figheight(max(HEIGHT, 0.3 + 0.15 * lines))  # inches
    figure.legend(handles, labels, loc="outside right upper", fontsize=size, handlelength=3)


def marks(cell: Cell) -> str:
    """What a label adds to a model's name: as in tables."""
    return ("" if cell.converged else "!") + ("†" if cell.in_domain else "")


def interval_words(cells: Sequence[Cell]) -> list[str]:
    """What the intervals of a figure's cells are, and then what its marks mean; each a sentence."""
    seeds = sorted({cell.seeds for cell in cells if cell.over_seeds})
    words = [f"over {' or '.join(map(str, seeds))} seeds"] if seeds else []
    if any(not cell.over_seeds for cell in cells):
        words.append("of the test sample for a single run" if seeds else "of the test sample")
    sentences = [f"Intervals of 95 % are {', '.join(words)}."]
    if any(not cell.converged for cell in cells):
        sentences.append("! the solver did not converge.")
    if any(cell.in_domain for cell in cells):
        sentences.append("† images of it were among those of pre-training.")
    return sentences
