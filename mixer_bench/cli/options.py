"""Options that several verbs share, what their texts mean, and writing where one of them says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from mixer_bench.errors import ResultsError, UsageError

Results = Annotated[
    Path | None, typer.Option(help="Results folder (default: MIXER_BENCH_RESULTS, else results).", show_default=False)
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Root of images on disk (default: MIXER_BENCH_DATA, else data).",
        show_default=False,
        callback=lambda named: named and named.expanduser(),  # --data-dir=~/data is left as it is by shells
    ),
]
TaskNames = Annotated[
    list[str],
    typer.Option("--task", "-t", help="Names, groups, globs, commas; a folder, a CSV or parquet list, hf:owner/name."),
]
ImageColumn = Annotated[str | None, typer.Option(help="Image column of hf:... or of a list.", show_default=False)]
LabelColumn = Annotated[str | None, typer.Option(help="Class column of hf:... or of a list.", show_default=False)]
SourceKind = Annotated[
    str | None, typer.Option(help="Only sources of this kind: hub, vtab1k_folder, torchvision, folder, ...")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
PrecisionName = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"], typer.Option(help="auto: bf16 or fp16 on a GPU, fp32 on a CPU.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Fetch nothing: only what is on disk already.")]
Include = Annotated[list[Path] | None, typer.Option(help="A folder with task files of your own; repeatable.")]


def stay_offline(offline: bool) -> None:
    """Said in the ecosystem's own way, before its libraries read it."""
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"


def numbers(flag: str, text: str | None) -> list[int]:
    """``"1,5,10"`` to whole numbers from 1 up; none for None.

    Raises:
        UsageError: something else.
    """
    try:
        found = [int(part) for part in text.split(",")] if text is not None else []
    except ValueError:
        raise UsageError(f"{flag} {text}: not whole numbers") from None
    if any(number < 1 for number in found):
        raise UsageError(f"{flag} {text}: numbers must be 1 or more")
    return found


def settings(pairs: list[str]) -> dict[str, str]:
    """``key=value`` pairs, hyphens in keys taken for underscores.

    Raises:
        UsageError: not such a pair.
    """
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {pair}: not of the form key=value")
        found[key.strip().replace("-", "_")] = value.strip()
    return found


def results_folder(named: Path | None) -> Path:
    """The flag, else the environment, else ``results``."""
    return named or Path(os.environ.get("MIXER_BENCH_RESULTS", "results"))


def write(file: Path, text: str) -> None:
    """To a file whole or not at all; through a link to where it leads; into a device or pipe as it is.

    Raises:
        ResultsError: it cannot be written.
    """
    from mixer_bench.system import files

    try:
        files.deliver(file, text)
    except OSError as error:
        raise ResultsError(f"cannot write {file}: {error.strerror}; name another file") from None
