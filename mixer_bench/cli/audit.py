"""The verbs audit, audit-preprocessing and per-class."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from tabulate import tabulate

from mixer_bench.api import auditing
from mixer_bench.cli.options import RESULTS, Json, Results, given, read, takes
from mixer_bench.errors import UsageError
from mixer_bench.runs.options import IMAGES, Options

ASKED = ("task", "model", "protocol", "shots", "seeds", "limit", "settings", "device", "precision", "subset", "offline")


@takes(Options, *auditing.ASKED[1:])
def audit(
    *,
    task: Annotated[str, typer.Argument(metavar="TASK", help="A folder of class folders, or a task as in run.")],
    thumbnails: Annotated[Path | None, typer.Option(help="An HTML file that shows the images, small.")] = None,
    as_json: Json = False,
    **flags: Any,
) -> None:
    """Labels that look wrong, images that are there twice, classes that are mixed up: all splits of a task.

    By what a probe of --model's features says of images that it was not fitted on: the better the model, the more is
    found.
    """
    from mixer_bench.audit import text
    from mixer_bench.system import progress

    options = read(Options, {**flags, "task": [task]})
    done = auditing.audited(options, progress.quiet if as_json else progress.ProgressLog, thumbnails)
    print(json.dumps(done.model_dump(mode="json"), indent=1) + "\n" if as_json else text.text(done), end="")


@takes(Options, "include", "import_files", "data_dir", "image", "label")
def per_class(
    *,
    record: Annotated[str, typer.Argument(metavar="RUN", help="A record's file, or the start of its key.")],
    results: Results = RESULTS,
    task: Annotated[str | None, typer.Option(help="Where images of your own lie: folder, list, hf:owner/name.")] = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV, with the confusion matrix.")] = False,
    **flags: Any,
) -> None:
    """A record class by class: accuracy with intervals, what is taken for what, the most surely wrong images."""
    from mixer_bench.runs import per_class_text

    if as_json and as_csv:
        raise UsageError("--json and --csv: name one")
    told = auditing.per_class(record, results, task, **given(flags))
    if as_json:
        print(json.dumps(told.model_dump(mode="json"), indent=1))
    else:
        print(per_class_text.as_csv(told) if as_csv else per_class_text.text(told), end="")


@takes(Options, *ASKED, *IMAGES, "import_files")
def audit_preprocessing(
    *,
    figure: Annotated[Path | None, typer.Option(help="Draw the differences: a .svg or .png file.")] = None,
    as_json: Json = False,
    **flags: Any,
) -> None:
    """What another normalisation, crop, filter, size, orientation or decoding of images costs, in points.

    Of one model on one task, by a protocol that trains no network (default: knn); 1,000 images a split unless --limit.
    """
    from mixer_bench.audit import preprocessing
    from mixer_bench.report.figures.draw import rendered
    from mixer_bench.runs.request import request
    from mixer_bench.system import files, network
    from mixer_bench.system.progress import ProgressLog

    if figure is not None and figure.suffix not in (".svg", ".png"):
        raise UsageError(f"--figure {figure}: must end in .svg or .png")
    given = {**flags, "protocol": flags["protocol"] or ["knn"], "limit": flags["limit"] or 1000}
    options = read(Options, given)
    network.allow(not options.offline)
    done = preprocessing.audit(request(options), functools.partial(ProgressLog, quiet=as_json))
    print(json.dumps(done.model_dump(mode="json"), indent=1) if as_json else _text(done), end="\n" if as_json else "")
    if figure is not None:
        files.write(figure, rendered(_plot(done), [figure.suffix[1:]])[figure.suffix[1:]])


def _text(done: Any) -> str:
    rows = [(price.aspect, price.words, f"{100 * price.accuracy:.1f}", *_difference(price)) for price in done.prices]
    headings = ("aspect", "images", "accuracy %", "difference", "95 % interval", "p")
    low, high = (100 * end for end in done.ci95)
    lines = [
        f"{done.model} on {done.task}, {done.protocol}, {done.test_images:,} test images, {done.seeds} seeds: "
        f"{100 * done.prices[0].accuracy:.1f} % ({low:.1f} to {high:.1f}) with the card's own preparation",
        "",
        tabulate(rows, headings, tablefmt="simple", disable_numparse=True),
        "",
        *done.remarks,
    ]
    return "\n".join(lines).rstrip() + "\n"


def _difference(price: Any) -> tuple[str, str, str]:
    if not price.aspect:
        return "", "", ""
    low, high = (100 * end for end in price.ci95)
    return f"{100 * price.difference:+.1f}", f"{low:+.1f} to {high:+.1f}", f"{price.p:.2g}"


def _plot(done: Any) -> Any:
    from mixer_bench.report.figures.prices import Prices

    shown = done.prices[1:]
    return Prices(
        "preprocessing",
        f"{done.model} on {done.task}, {done.protocol}: another preparation, {done.test_images:,} test images",
        "Differences from the card's own preparation with 95 % intervals, paired by test image.",
        [f"{price.aspect}: {price.words}" for price in shown],
        [100 * price.difference for price in shown],
        [(100 * price.ci95[0], 100 * price.ci95[1]) for price in shown],
    )
