"""The runs that a page's verdicts name, class by class: which these are, and what their figures are drawn from.

Nothing is worked out here of other runs, however many there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mixer_bench.data.examples import Images
from mixer_bench.errors import ResultsError
from mixer_bench.report.formats.thumbnails import thumbnail
from mixer_bench.report.verdict import Verdict
from mixer_bench.results.by_class import PerClass, Wrong
from mixer_bench.results.record import Record

CLASSES = 50  # of a confusion matrix that is drawn, and rows of a table
SHOWN = 12  # pairs of classes, and wrong answers
ACROSS = 560  # pixels of a matrix of many classes
SQUARE = 30  # pixels of one of its squares, at most
NUMBERED = 18  # pixels from which up a square has its number
FAINT, READABLE = 0.06, 0.5  # opacity of the least square, and of the strongest that text is read on in any theme
CHARS, CHAR = 18, 6  # of a class's name, and pixels of one
SIDE, POINT = 240, 9  # pixels of a reliability diagram, and of its largest point's radius


class Look(NamedTuple):
    """A run class by class."""

    told: PerClass
    named: bool  # whether classes and images have their names: the images are here
    images: Images | None = None  # the test split's, to be shown; None: they are not to be, or not here


Looks = Callable[[Record], Look]  # raises ResultsError where predictions are missing or contradict their record


class Square(NamedTuple):
    """A place of a confusion matrix that is not empty; lengths in pixels."""

    x: float
    y: float
    opacity: float  # by its share of the label's images
    images: int
    words: str


class Point(NamedTuple):
    """A point of a reliability diagram; pixels."""

    x: float
    y: float
    radius: float
    words: str


class Listed(NamedTuple):
    """A table of texts."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[str]  # headings of columns that are aligned to the right


@dataclass(frozen=True)
class Closer:
    """A run class by class, for a page."""

    look: Look
    seeds: int  # runs that differ from it by seed alone, with itself
    side: int = SIDE  # of its reliability diagram

    @property
    def told(self) -> PerClass:
        """The values."""
        return self.look.told

    @property
    def size(self) -> float:
        """The side of a matrix's square, in pixels."""
        return min(SQUARE, ACROSS / len(self.told.classes))

    @property
    def numbered(self) -> bool:
        """Whether squares have their numbers."""
        return self.size >= NUMBERED

    @property
    def names(self) -> list[str]:
        """The names of classes, cut to ``CHARS``."""
        return [each.name if len(each.name) <= CHARS else f"{each.name[: CHARS - 1]}…" for each in self.told.classes]

    @property
    def margin(self) -> int:
        """Pixels that the names take."""
        return CHAR * max(map(len, self.names)) + CHAR

    @property
    def squares(self) -> list[Square]:
        """The matrix, by label and prediction; none of more than ``CLASSES``."""
        classes, size = self.told.classes, self.size
        strength = READABLE if self.numbered else 1.0
        if len(classes) > CLASSES:
            return []
        return [
            Square(
                round(column * size, 1),
                round(row * size, 1),
                round(max(FAINT, strength * images / classes[row].images), 3),
                images,
                f"{classes[row].name} as {classes[column].name}: {images} of {classes[row].images}",
            )
            for row, line in enumerate(self.told.confusion)
            for column, images in enumerate(line)
            if images
        ]

    @property
    def points(self) -> list[Point]:
        """The reliability diagram, larger points of more answers; none where scores are no probabilities."""
        bins = self.told.reliability or ()
        most = max((each.answers for each in bins), default=1)
        return [
            Point(
                round(SIDE * each.confidence, 1),
                round(SIDE * (1 - each.accuracy), 1),
                round(max(2.0, POINT * math.sqrt(each.answers / most)), 1),
                f"{each.answers} answers, sure with {100 * each.confidence:.0f} %, {100 * each.accuracy:.0f} % right",
            )
            for each in bins
        ]

    @property
    def notes(self) -> list[str]:
        """What cannot be shown, and why."""
        told, notes = self.told, []
        if not self.look.named:
            notes.append("Classes and images are numbers: the images are not here (--task or --data-dir says where")
            notes[-1] += " they are), or they are not those of the record."
        if told.reliability is None:
            notes.append("How sure the model is cannot be judged: its scores are no probabilities, as those of a ridge")
            notes[-1] += " regression (fewshot)."
        if (count := len(told.worst)) > CLASSES:
            notes.append(f"{CLASSES} of {count} classes are listed; all of them: mixer-bench per-class {told.key}")
        return notes

    @property
    def lists(self) -> list[Listed]:
        """The tables: classes, pairs of them where no matrix shows these, wrong answers where no thumbnails do."""
        told = self.told
        headings = ("class", "images", "accuracy %", "95 % interval", "taken for it")
        classes = [(e.name, f"{e.images}", e.percent, e.interval, f"{e.predicted}") for e in told.worst[:CLASSES]]
        taken = [(words, f"{images}") for images, words in ([] if self.squares else told.taken[:SHOWN])]
        shown = told.wrong[:SHOWN] if self.look.images is None else ()
        wrong = [(each.label, each.prediction, each.sure, each.image) for each in shown]
        lists = [
            Listed("Accuracy by class, the lowest first", headings, classes, headings[1:]),
            Listed("Most often taken for another", ("label for prediction", "images"), taken, ("images",)),
            Listed("Most surely wrong", ("label", "taken for", "sure", "image"), wrong, ("sure",)),
        ]
        return [each for each in lists if each.rows]

    @property
    def thumbnails(self) -> list[tuple[Wrong, str]]:
        """The surest wrong answers with their images, small, where these are to be shown."""
        images = self.look.images
        return [] if images is None else [(each, thumbnail(images[each.index])) for each in self.told.wrong[:SHOWN]]


def closer(verdicts: Sequence[Verdict], looks: Looks, problems: list[str]) -> list[Closer]:
    """Return a run of each verdict's best model class by class; ``problems`` gets a line for each that is of no use.

    Of a mean it is a run on the task where that model has its lowest number; of several seeds the first.
    """
    closely = []
    for told in verdicts:
        cell = min(told.best.cell.by_task.values(), key=lambda part: part.mean)
        record = min(cell.records, key=lambda record: record.run.seed)
        try:
            closely.append(Closer(looks(record), len(cell.records)))
        except ResultsError as error:
            problems += [] if str(error) in problems else [str(error)]
    return closely
