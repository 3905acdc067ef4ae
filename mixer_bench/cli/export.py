"""The verbs export and predict."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mixer_bench.api.exporting import FINDING
from mixer_bench.cli.options import RESULTS, Json, Results, read, takes
from mixer_bench.errors import DataError
from mixer_bench.runs.options import Options

if TYPE_CHECKING:
    from mixer_bench.export.predicting import Predicted


@takes(Options, *FINDING)
def export(
    *,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A record's file, its key, or the start of it.")],
    to: Annotated[Path, typer.Option(help="The folder that is made.")],
    results: Results = RESULTS,
    as_json: Json = False,
    **flags: Any,
) -> None:
    """Network and probe, or the fine-tuned network, of a run in one folder: predict needs nothing else.

    A probe that was not kept is fitted again, on images that --task finds; a fine-tuned network must have been kept
    (run --save-model). --model says where weights in files of your own lie.
    """
    from mixer_bench.export import exporting
    from mixer_bench.runs.explain import find

    options = read(Options, flags)
    exported = exporting.export(find(run, results), to, options, quiet=as_json)
    if as_json:
        print(exported.model_dump_json(indent=1))
        return
    print(f"{to}: {exported.record.run.model}, {exported.record.run.protocol}: {exported.accuracy.words}")
    print(f"predict with: mixer-bench predict {to} IMAGES...   in timm: {exported.timm}")


def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What export made.")],
    images: Annotated[
        list[str], typer.Argument(help="Images and folders of them; - reads names from stdin, a line each.")
    ],
    top: Annotated[int, typer.Option(help="How many classes of each image.", min=1)] = 5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    batch_size: Annotated[int | None, typer.Option(help="Images a forward pass.", min=1)] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file instead of the terminal.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each image, not CSV.")] = False,
    import_files: Annotated[list[Path] | None, typer.Option("--import", help="As in run; repeatable.")] = None,
) -> None:
    """What an exported model says of images: its likeliest classes, and what it gives each.

    An image that cannot be read is named, and the others are predicted; the exit code is 3 then. With --output, broken
    off, the same command goes on.
    """
    from mixer_bench.export import journal
    from mixer_bench.export import output as formats
    from mixer_bench.export.listing import listed
    from mixer_bench.export.predicting import Predictor
    from mixer_bench.models import names
    from mixer_bench.system.console import tell
    from mixer_bench.system.progress import ProgressLog

    names.import_files(import_files or ())
    listing = listed(name for place in images for name in (_from_stdin() if place == "-" else [place]))
    for remark in listing.remarks:
        tell(remark)
    predictor = Predictor(folder, device, batch_size)
    outputs, top = predictor.exported.outputs, min(top, len(predictor.exported.classes))
    bad = list[str]()
    with ProgressLog(len(listing.files), quiet=output is None and sys.stdout.isatty()) as log:

        def heard(said: Predicted) -> None:
            if said.problem:
                bad.append(said.file)
                log.line(said.problem)
            log.advance()

        with journal.predicting(predictor, listing.files, top, output, heard, log.line) as told:
            _hand_out(formats.json_lines(told, outputs) if as_json else formats.csv_lines(told, outputs, top), output)
    if bad:
        tell(f"{len(bad)} of {len(listing.files)} images could not be predicted")
        raise typer.Exit(DataError.exit_code)


def _hand_out(lines: Iterator[str], output: Path | None) -> None:
    from mixer_bench.system import files
    from mixer_bench.system.console import plain

    with files.delivering(output) if output else contextlib.nullcontext() as file:
        for line in lines:
            if file is not None:
                file.write(line.encode(errors="backslashreplace"))
            else:
                print(plain(line[:-1]) if sys.stdout.isatty() else line[:-1])


def _from_stdin() -> list[str]:
    return [line.rstrip("\n") for line in sys.stdin if line.strip()]
