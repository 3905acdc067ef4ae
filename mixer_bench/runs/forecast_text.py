"""A forecast to text, for a terminals. Pure; prints nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.padding import Padding
from rich.text import Text

from mixer_bench.runs.cost import Work
from mixer_bench.runs.forecast import Forecast, Piece
from mixer_bench.system import console as terminals
from mixer_bench.system.grouping import grouped
from mixer_bench.system.network import sized
from mixer_bench.system.progress import duration

HEADINGS = ("task", "model", "protocol", "runs", "images", "trained on", "FLOPs", "time")
ROWS = 40  # of single models; of more, those of a task and protocol are one row
LONG_ON_CPU = 3600.0  # seconds
PREFIXES = (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9))


def text(told: Forecast) -> str:
    """Return a table of what is to be done, and what is there, missing and to be fetched."""
    console = terminals.console()
    if told.pieces:
        terminals.show(console, HEADINGS, map(_cells, _rows(told.pieces)), HEADINGS[:3])
    for note in _notes(told):
        console.print(Padding(Text(terminals.printable(note)), (0, 0, 0, 2)))
    trains = any(piece.work.trained for piece in told.pieces)
    hint = "; hours on a CPU: --preset small trains less, --protocol fewshot not at all"
    slow = hint if trains and told.on_cpu and told.seconds > LONG_ON_CPU else ""
    runs = f"{told.asked} runs asked for, {told.missing} to do"
    console.print(Text(f"{runs}: about {duration(told.seconds)} on {told.device}{slow}; nothing done (--dry-run)"))
    return terminals.captured(console)


def _rows(pieces: Sequence[Piece]) -> list[Sequence[Piece]]:
    if len(pieces) <= ROWS:
        return [[piece] for piece in pieces]
    return [*grouped(pieces, lambda piece: (piece.task, piece.protocols)).values()]


def _cells(pieces: Sequence[Piece]) -> tuple[str, ...]:
    first, known = pieces[0], [piece for piece in pieces if piece.seconds is not None]
    work = Work(*map(sum, zip(*(piece.work for piece in pieces), strict=True)))
    unknown = "?" if len(known) < len(pieces) else ""
    return (
        first.task,
        first.model if len(pieces) == 1 else f"{len(pieces)} models",
        ", ".join(first.protocols),
        f"{sum(piece.runs for piece in pieces):,}",
        f"{work.extracted + work.judged:,}",
        f"{work.trained:,}" if work.trained else "-",
        unknown or _scaled(sum(piece.flops or 0 for piece in pieces)),
        unknown or duration(sum(piece.seconds or 0.0 for piece in pieces)),
    )


def _scaled(flops: float) -> str:
    """Format FLOPs with a letter for their order of magnitude."""
    for letter, unit in PREFIXES:
        if flops >= unit:
            return f"{flops / unit:,.3g} {letter}"
    return f"{flops:,.0f}"


def _notes(told: Forecast) -> Iterator[str]:
    for how, pieces in grouped((piece for piece in told.pieces if piece.speed), lambda piece: piece.speed).items():
        names = list(dict.fromkeys(piece.model for piece in pieces))
        models = ", ".join(names) if len(names) <= ROWS else f"{len(names)} models"
        yield f"time not known: {how}" if pieces[0].seconds is None else f"speed {how}: {models}"
    if told.kept:
        yield f"features of {told.kept:,} images are there already"
    for fetched in told.fetched:
        size = "size not known" if fetched.bytes is None else f"about {sized(fetched.bytes)}"
        yield f"to fetch: {fetched.what}, {size}"
    if any(piece.to_fetch for piece in told.pieces):
        yield "of what is to be fetched nobody knows yet which runs are there; all are counted, without decoding"
