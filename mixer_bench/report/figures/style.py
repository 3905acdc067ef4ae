"""How figures look: one width, one style a model. Drawn with matplotlib's objects, without its global state.

Families differ by hue (Okabe and Ito 2008, told apart by colour-blind people) and by line style, members of a family by
lightness, and all models by marker, so that a figure is read in greyscale as well; untrained twins are thin and hollow.
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
INK, GREY, GRID = "#222222", "#777777", "#dddddd"
OVER_DARK, OVER_LIGHT = "#fefefe", "#1a1a1a"  # of text on colours, which stay as they are on a dark page
SETTINGS: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "errorbar.capsize": 2.5,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 0.9,
    "svg.fonttype": "path",
    "svg.hashsalt": "mixer-bench",  # ids, and so files, do not change from run to run
}
Dashes = tuple[float, ...]
# Colour and dashes of each family.
LOOKS: dict[str, tuple[str, Dashes]] = {
    "mixer": ("#0072b2", ()),
    "vit": ("#d55e00", (5, 2)),
    "resnet": ("#009e73", (1.2, 1.2)),
    "mlp": ("#cc79a7", (8, 2, 1.2, 2)),
}
OTHER: tuple[str, Dashes] = ("#b07d00", (5, 1.5, 1, 1.5))
SHADES = (0.0, 0.45, -0.45, 0.25, 0.65, -0.25)  # towards white, towards black; a family's members take them in turn
MARKERS = "os^DPXv*p<h>8d"  # that all models take in turn


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
    """Return the style of each model of ``records``, by any of its records.

    Fourteen models have markers of their own, and six of a family colours of their own, before these begin anew.
    """
    looks: dict[tuple[Any, ...], tuple[str, str]] = {}  # colour and marker of a model
    members: Counter[str] = Counter()  # by the family's colour
    for record in sorted(records, key=lambda r: (_is_untrained(r), about.position(r.run.model), r.run.model)):
        family, model = about.origin(record).family, _model(record)
        if model not in looks:
            colour, _ = LOOKS.get(family, OTHER)
            shade = SHADES[members[colour] % len(SHADES)]
            looks[model] = (_shaded(colour, shade), MARKERS[len(looks) % len(MARKERS)])
            members[colour] += 1

    def of(record: Record) -> Style:
        _, dashes = LOOKS.get(about.origin(record).family, OTHER)
        return Style(*looks[_model(record)], dashes, _is_untrained(record))

    return of


def _is_untrained(record: Record) -> bool:
    return record.run.model.startswith("random:")


def _model(record: Record) -> tuple[Any, ...]:
    """Return what tells a model from all others; how images are resized is the task's affair."""
    run, side = record.run, record.run.preprocessing
    return run.model, run.weights, run.precision, side.resolution, side.interpolation, side.crop_pct


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
