"""How figures look: one width, one style a model. Drawn with matplotlib's objects, without its global state.

Families differ by hue (Okabe and Ito 2008, told apart by colour-blind people), by marker and by line style, members of
a family by lightness and marker, so that a figure is read in greyscale as well; untrained twins are thin and hollow.
"""

from __future__ import annotations

import re
import textwrap
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mixer_bench.report.models import About
from mixer_bench.results.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 6.4  # inches, of every figure
HEIGHT = 3.8
TITLE_CHARS = 66  # that a line of a title above axes has room for
WHOLE_CHARS = 80  # of one that starts at the figure's edge
LABEL_CHARS = 26  # of a line of a label: a longer one would leave the axes no room
CROWD = 40  # models, beyond which a figure names and numbers some of them only: the tables have all
INK, GREY = "#222222", "#777777"
SETTINGS: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "errorbar.capsize": 2.5,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 0.9,
    "svg.fonttype": "path",
    "svg.hashsalt": "mixer-bench",  # ids, and so files, do not change from run to run
}
Dashes = tuple[float, ...]
# Colour, markers that the family's members take in turn, and dashes.
LOOKS: dict[str, tuple[str, str, Dashes]] = {
    "mixer": ("#0072B2", "oP*", ()),
    "vit": ("#D55E00", "sDX", (5, 2)),
    "resnet": ("#009E73", "^v<", (1.2, 1.2)),
    "mlp": ("#CC79A7", "ph8", (8, 2, 1.2, 2)),
}
OTHER: tuple[str, str, Dashes] = ("#666666", "d>H", (5, 1.5, 1, 1.5))
SHADES = (0.0, 0.45, -0.45)  # towards white, towards black


@dataclass(frozen=True)
class Style:
    """How a model is drawn, in every figure of a report."""

    colour: str
    marker: str
    dashes: Dashes
    untrained: bool

    @property
    def face(self) -> str:
        """The colour inside markers and bars."""
        return "white" if self.untrained else self.colour


Styles = Callable[[Record], Style]


@dataclass(frozen=True)
class Plot(ABC):
    """What a figure shows, as values."""

    name: str  # of its files, without suffix
    title: str
    caption: str  # what it shows, in sentences

    @abstractmethod
    def figure(self) -> Figure:
        """Draw it, within ``SETTINGS``."""


def styles(records: Sequence[Record], about: About) -> Styles:
    """Return the style of each model of ``records``, by any of its records; nine a family before two look alike.

    An untrained twin has the style of its model, hollow.
    """
    numbers: dict[tuple[Any, ...], int] = {}  # of a model in its family
    members: Counter[str] = Counter()
    for record in sorted(records, key=lambda r: (_is_untrained(r), about.position(r.run.model), r.run.model)):
        family, twin, model = _identity(record, about)
        if model not in numbers:
            numbers[model] = members[family]
            members[family] += 1
        numbers.setdefault(twin, numbers[model])

    def of(record: Record) -> Style:
        family, _, model = _identity(record, about)
        colour, markers, dashes = LOOKS.get(family, OTHER)
        number = numbers[model]
        # Marker and lightness turn at different speeds, so that neither repeats alone.
        shade = SHADES[(number + number // 3) % 3]
        return Style(_shaded(colour, shade), markers[number % 3], dashes, _is_untrained(record))

    return of


def _is_untrained(record: Record) -> bool:
    return record.run.model.startswith("random:")


def _identity(record: Record, about: About) -> tuple[str, tuple[Any, ...], tuple[Any, ...]]:
    """Return a model's family, what it shares with its untrained twin, and what tells it from all others."""
    run, family = record.run, about.origin(record).family
    twin = (family, run.model.removeprefix("random:"), run.preprocessing, run.precision)
    return family, twin, twin if _is_untrained(record) else (*twin, run.weights)


def _shaded(colour: str, shade: float) -> str:
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = (part + shade * (1 - part) if shade > 0 else part * (1 + shade) for part in to_rgb(colour))
    return to_hex((red, green, blue))


def frame(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes, and these."""
    figure = empty(HEIGHT)
    axes = figure.add_subplot(xlabel=x, ylabel=y)
    axes.set_title(wrapped(title, TITLE_CHARS), loc="left")
    return figure, axes


def empty(height: float, title: str = "") -> Figure:
    """Return a figure without axes; ``height`` in inches, ``title`` from the figure's edge."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)  # measures text
    if title:
        figure.suptitle(wrapped(title), x=0.01, ha="left", fontsize=10)
    return figure


def wrapped(title: str, chars: int = WHOLE_CHARS) -> str:
    """Break a title into lines that the figure has room for."""
    return "\n".join(textwrap.wrap(title, chars))


def crowd_words(count: int, words: str, most: int = CROWD) -> list[str]:
    """Say what a figure of more than ``most`` models leaves to the tables."""
    return [f"Of {count} models {words}; the tables have them all."] if count > most else []


class _Label(textwrap.TextWrapper):
    """Breaks behind the signs that part a name's words, too."""

    wordsep_re = re.compile(r"([^\s_./:-]*[_./:-]+|\s+)")


def folded(label: str) -> str:
    """Break a model's label into lines that leave room for the rest."""
    return _Label(LABEL_CHARS).fill(label)
