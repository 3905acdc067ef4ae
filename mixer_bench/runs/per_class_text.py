"""A record class by class, for a terminal and as CSV. Pure; prints nothing."""

from __future__ import annotations

import csv
import io

from rich.text import Text

from mixer_bench.results.by_class import OfClass, PerClass
from mixer_bench.system import console as terminals
from mixer_bench.system.console import printable

ROWS = 40  # of a table; JSON and CSV have all
SHOWN = 10  # pairs of classes, and wrong answers


def text(told: PerClass) -> str:
    """Return classes, the worst first, what is taken for what most often, and the surest wrong answers."""
    console = terminals.console()
    console.print(Text(printable(f"{told.model} on {told.task}, {told.protocol}, seed {told.seed} ({told.key})")))
    values = ", ".join(f"{name} {100 * metric.value:.1f}" for name, metric in told.metrics.items())
    console.print(Text(f"in %: {values}"))
    worst = told.worst
    headings = ("class", "images", "right", "%", "95 % interval", "predicted")
    terminals.show(console, headings, map(_class, worst[:ROWS]), left=("class",))
    terminals.show(
        console, ("taken for another", "images"), ((words, str(n)) for n, words in told.taken[:SHOWN]), left=("taken",)
    )
    wrong = [(w.image, w.label, w.prediction, w.sure) for w in told.wrong[:SHOWN]]
    terminals.show(console, ("surely wrong", "label", "prediction", "sure"), wrong, left=("surely wrong",))
    for line in (*told.remarks, *([f"{ROWS} of {len(worst)} classes are shown"] if len(worst) > ROWS else [])):
        console.print(Text(printable(line)))
    return terminals.captured(console)


def _class(each: OfClass) -> list[str]:
    return [each.name, str(each.images), str(each.right), each.percent, each.interval, str(each.predicted)]


def as_csv(told: PerClass) -> str:
    """Return a row a class: its images, accuracy in [0, 1] with interval, and what its images were taken for."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    counts = ("images", "right", "predicted", "accuracy", "ci_low", "ci_high")
    writer.writerow(("class", *counts, *(f"as {each.name}" for each in told.classes)))
    for each, row in zip(told.classes, told.confusion, strict=True):
        ends = each.ci95 or ("", "")
        accuracy = "" if each.accuracy is None else each.accuracy
        writer.writerow((each.name, each.images, each.right, each.predicted, accuracy, *ends, *row))
    return out.getvalue()
