"""Numbers that papers and their code published (results/published/*.csv): what one's own are read beside.

Values only: nothing is measured here. The folder's README.md says what the columns and marks mean.
"""

from __future__ import annotations

import csv
import fnmatch
import functools
import io
import statistics
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, PositiveInt, ValidationError

from mixer_bench.errors import UsageError, unknown
from mixer_bench.models import zoo
from mixer_bench.system.paths import PACKAGE
from mixer_bench.system.schema import Frozen, first_problem
from mixer_bench.task import task

# In a wheel the files lie in the package; in a checkout beside it.
_INSTALLED = PACKAGE / "published"
PUBLISHED = _INSTALLED if _INSTALLED.is_dir() else PACKAGE.parent / "results" / "published"

AVG5 = "avg5"  # the tag of the tasks whose mean the papers print as Avg. 5
PERCENT = "%"

Mark = Literal["yes", "single-source", "derived", "secondary", "unverified"]
Setting = Literal["finetune", "linear", "classifier", "pretraining", "inference"]


class Published(Frozen):
    """One published number and where it stands."""

    table: str  # the file's name without suffix
    line: PositiveInt  # in the file
    model: Annotated[str, Field(min_length=1)]  # as printed
    card: str | None = None  # of the zoo: same architecture, same pre-training images
    pretrain: str = ""  # as printed
    resolution: PositiveInt | None = None  # pixels
    quantity: str  # a task, or a name in published.toml
    value: Annotated[FiniteFloat, Field(gt=0)]  # in the quantity's unit; accuracies in %
    spread: Annotated[FiniteFloat, Field(ge=0)] | None = None  # the printed ±, in the same unit
    protocol: Setting | None = None
    source: Annotated[str, Field(min_length=1)]
    verified: Mark
    note: str = ""


COLUMNS = tuple(name for name in Published.model_fields if name not in ("table", "line"))


class _Aid(Frozen):
    of: Annotated[tuple[str, ...], Field(min_length=1)]  # patterns of quantities
    text: str


class _Declared(Frozen):
    quantities: dict[str, str]
    aids: tuple[_Aid, ...]


@functools.cache
def _declared() -> _Declared:
    text = (files("mixer_bench.report") / "published.toml").read_text(encoding="utf-8")
    return _Declared.model_validate(tomllib.loads(text))


def units() -> Mapping[str, str]:
    """The unit of every quantity that can be published: each task's is %."""
    return {**dict.fromkeys(task.tasks(), PERCENT), **_declared().quantities}


@functools.cache
def read(folder: Path = PUBLISHED) -> tuple[Published, ...]:
    """Every published number, file by file in the order of their names.

    Raises:
        UsageError: there is no file, or one has an unknown or missing column, a wrong cell, an unknown mark, quantity
            or card, or the same number twice; names file and line.
    """
    found = sorted(folder.glob("*.csv"))
    if not found:
        raise UsageError(f"{folder}: there is no file of published numbers (*.csv) here")
    known = units()
    return tuple(row for file in found for row in _rows(file, known))


def _rows(file: Path, known: Mapping[str, str]) -> list[Published]:
    rows: list[Published] = []
    seen: dict[tuple[object, ...], int] = {}
    for line, cells in _lines(file):
        try:
            row = Published.model_validate({**cells, "table": file.stem, "line": line})
            _check(row, known)
        except ValidationError as error:
            raise UsageError(f"{file}, line {line}: {first_problem(error)}") from None
        except UsageError as error:
            raise UsageError(f"{file}, line {line}: {error}") from None
        what = (row.model, row.pretrain, row.resolution, row.quantity, row.protocol, row.note)
        if what in seen:
            raise UsageError(
                f"{file}, line {line}: says again what line {seen[what]} says; a note must tell them apart"
            )
        seen[what] = line
        rows.append(row)
    return rows


def _lines(file: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and cells that are not empty, by column."""
    reader = csv.reader(io.StringIO(_text(file), newline=""), strict=True)
    found: list[tuple[int, dict[str, str]]] = []
    try:
        header = next(reader, [])
        _check_header(header)
        for cells in reader:
            if len(cells) != len(header):
                raise UsageError(f"{len(cells)} cells where the header has {len(header)}")
            found.append((reader.line_num, {name: cell for name, cell in zip(header, cells, strict=True) if cell}))
    except (csv.Error, UsageError) as error:
        raise UsageError(f"{file}, line {max(1, reader.line_num)}: {error}") from None
    return found


def _text(file: Path) -> str:
    stored = file.read_bytes()
    try:
        return stored.decode("utf-8")
    except UnicodeDecodeError as error:
        line = stored.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{file}, line {line}: {error.reason}; it must be UTF-8") from None


def _check_header(header: Sequence[str]) -> None:
    for name, times in Counter(header).items():
        if name not in COLUMNS:
            raise unknown("column", name, COLUMNS)
        if times > 1:
            raise UsageError(f"column {name!r} is there twice")
    if missing := [name for name in COLUMNS if name not in header]:
        raise UsageError(f"no column {', '.join(missing)}")


def _check(row: Published, known: Mapping[str, str]) -> None:
    if row.quantity not in known:
        raise unknown("quantity", row.quantity, known)
    if row.card is not None and row.card not in zoo.cards():
        raise unknown("card", row.card, zoo.cards())
    if known[row.quantity] == PERCENT and row.value > 100:  # noqa: PLR2004
        raise UsageError(f"{row.value} % is more than all")


def of(card_name: str, quantity: str) -> list[Published]:
    """What is published of a card's quantity, in the order of the files; nothing for what no file speaks of."""
    return [row for row in read() if row.card == card_name and row.quantity == quantity]


def difference(measured_percent: float, published: Published) -> float:
    """Measured minus published, in percentage points.

    Raises:
        UsageError: the published number is no accuracy.
    """
    if (unit := units()[published.quantity]) != PERCENT:
        raise UsageError(f"{published.quantity!r} is in {unit}: only accuracies are compared in points")
    return measured_percent - published.value


def reading_aid(quantity: str) -> str:
    """What one must know who compares a measurement of it with a published one; empty where nothing is declared."""
    fitting = [aid.text for aid in _declared().aids if any(fnmatch.fnmatchcase(quantity, name) for name in aid.of)]
    return "; ".join(fitting)


def avg5(rows: Iterable[Published]) -> float:
    """The papers' Avg. 5 in %: the plain mean over the five tasks' numbers among ``rows``, of one model in one table.

    Raises:
        UsageError: one of the five is missing or there twice, or the rows are of several models or tables.
    """
    members = sorted(name for name, known in task.tasks().items() if AVG5 in known.tags)
    five = [row for row in rows if row.quantity in members]
    if len({(row.table, row.model, row.pretrain) for row in five}) > 1:
        raise UsageError("Avg. 5 is of one model in one table")
    if sorted(row.quantity for row in five) != members:
        raise UsageError(f"Avg. 5 takes each of {', '.join(members)} once; there is {[row.quantity for row in five]}")
    return statistics.fmean(row.value for row in five)
