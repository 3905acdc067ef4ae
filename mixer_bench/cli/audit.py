"""The verbs audit, audit-preprocessing and per-class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mixer_bench.api import auditing
from mixer_bench.cli.options import RESULTS, Json, Results, given, read, takes
from mixer_bench.errors import UsageError
from mixer_bench.runs.options import Options


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


@takes(Options, *auditing.PREPARED)
def audit_preprocessing(
    *,
    figure: Annotated[Path | None, typer.Option(help="Draw the differences: a .svg or .png file.")] = None,
    as_json: Json = False,
    **flags: Any,
) -> None:
    """What another normalisation, crop, filter, size, orientation or decoding of images costs, in points.

    Of one model on one task, by a protocol that trains no network (default: knn); 1,000 images a split unless --limit.
    """
    from mixer_bench.audit import prices
    from mixer_bench.system import progress

    done = auditing.preprocessing_audited(given(flags), progress.quiet if as_json else progress.ProgressLog, figure)
    print(json.dumps(done.model_dump(mode="json"), indent=1) + "\n" if as_json else prices.text(done), end="")
