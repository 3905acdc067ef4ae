"""Predictions as lines: CSV for tables, JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator

from mixer_bench.export.predicting import Predicted

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that spreadsheets compute
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def columns(outputs: str, top: int) -> list[str]:
    """Return the headings: file, class, probability, class_2, probability_2, ..., error."""
    pairs = [(f"class_{rank}", f"{outputs}_{rank}") for rank in range(2, top + 1)]
    return ["file", "class", outputs, *(name for pair in pairs for name in pair), "error"]


def row(said: Predicted, top: int) -> list[str | float | None]:
    """Return an image's row; None where there is nothing to say."""
    cells: list[str | float | None] = [cell for pair in zip(said.classes, said.values, strict=True) for cell in pair]
    return [said.file, *cells, *[None] * (2 * top - len(cells)), said.problem or None]


def csv_lines(predicted: Iterable[Predicted], outputs: str, top: int) -> Iterator[str]:
    """Give the lines of a CSV file that spreadsheets only show.

    A file whose name begins like a formula has "./" before it, which is the same file; any other text an apostrophe.
    """
    yield _line(columns(outputs, top))
    for said in predicted:
        file, *cells = row(said, top)
        yield _line([f"./{file}" if str(file).startswith(FORMULA) else file, *map(_harmless, cells)])


def json_lines(predicted: Iterable[Predicted], outputs: str) -> Iterator[str]:
    """Give a line of JSON for each image, in ASCII."""
    for said in predicted:
        pairs = zip(said.classes, said.values, strict=True)
        told = {"error": said.problem} if said.problem else {"top": [{"class": c, outputs: v} for c, v in pairs]}
        yield json.dumps({"file": said.file, **told}) + "\n"


def _harmless(cell: str | float | None) -> str | float | None:
    formula = isinstance(cell, str) and cell.startswith(FORMULA) and not NUMBER.fullmatch(cell)
    return f"'{cell}" if formula else cell


def _line(cells: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
