"""Numbers that papers and their code published (results/published/*.csv): what one's own are read beside.

Values only: nothing is measured here. The folder's README.md says what the columns and marks mean.
"""

from __future__ import annotations

import csv
import fnmatch
import functools
import io
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, PositiveInt, ValidationError

from mixer_bench.errors import UsageError, unknown
from mixer_bench.models import zoo
from mixer_bench.system.paths import PACKAGE
from mixer_bench.system.schema import Frozen, first_problem
from mixer_bench.task import task

# In a wheel the files lie in the package; in a checkout beside it.
_INSTALLED = PACKAGE / "published"
PUBLISHED = _INSTALLED if _INSTALLED.is_dir() else PACKAGE.parent / "results" / "published"

PERCENT = "%"

Mark = Literal["yes", "single-source", "derived", "secondary", "unverified"]
Protocol = Literal["finetune", "linear", "classifier", "pretraining", "inference"]
Weights = Literal["same", "unsaid", "other"]
Text = Annotated[str, Field(min_length=1)]


class Published(Frozen):
    """One published number and where it stands."""

    table: str  # the file's name without suffix
    model: Text  # as printed
    card: str | None = None  # of the zoo: same architecture, same pre-training images
    weights: Weights | None = None  # whether the card's checkpoint is the row's; with a card alone
    pretrain: str = ""  # as printed
    resolution: PositiveInt | None = None  # pixels
    quantity: str  # a task, or a name in published.toml
    value: Annotated[FiniteFloat, Field(gt=0)]  # in the quantity's unit; accuracies in %
    spread: Annotated[FiniteFloat, Field(ge=0)] | None = None  # the printed ±, in the same unit
    protocol: Protocol | None = None
    source: Text
    verified: Mark
    note: str = ""


class Group(Frozen):
    """The setting that stands behind rows of a table (published.toml says how a group and a row fit)."""

    table: str
    model: str = "*"
    tasks: tuple[str, ...] = ("*",)
    protocol: Protocol = "finetune"
    note: str = ""
    preset: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)  # that the preset has otherwise
    resolution: PositiveInt | None = None  # pixels, where the preset's is another
    differs: str = ""  # what no setting of ours expresses

    def fits(self, row: Published, task_name: str) -> bool:
        """Return whether it is the setting of a row, as far as a task goes."""
        same = (self.table, self.protocol) == (row.table, row.protocol) and self.note in row.note
        named = any(fnmatch.fnmatchcase(task_name, pattern) for pattern in self.tasks)
        return same and named and fnmatch.fnmatchcase(row.model, self.model)


COLUMNS = tuple(name for name in Published.model_fields if name != "table")


@functools.cache
def _declared() -> Mapping[str, Any]:
    return tomllib.loads((files("mixer_bench.report") / "published.toml").read_text(encoding="utf-8"))


def units() -> Mapping[str, str]:
    """Return the unit of every quantity that can be published: each task's is %."""
    return {**dict.fromkeys(task.tasks(), PERCENT), **_declared()["quantities"]}


def reading_aid(quantity: str) -> str:
    """Say what one must know who compares a measurement of it with a published one; empty where there is nothing."""
    aids = _declared()["aids"]
    return "; ".join(aid["text"] for aid in aids if any(fnmatch.fnmatchcase(quantity, name) for name in aid["of"]))


@functools.cache
def groups() -> tuple[Group, ...]:
    """Return the declared settings of rows, in the order in which they count."""
    return tuple(Group.model_validate(table) for table in _declared()["groups"])


def group_of(row: Published, task_name: str) -> Group | None:
    """Return the setting that a row has for a task; None where it is not declared."""
    return next((group for group in groups() if group.fits(row, task_name)), None)


def of(card_name: str, quantity: str) -> list[Published]:
    """Return what is published of a card's quantity, in the order of the files."""
    return [row for row in read() if row.card == card_name and row.quantity == quantity]


@functools.cache
def read(folder: Path = PUBLISHED) -> tuple[Published, ...]:
    """Read every published number, file by file in the order of their names.

    Raises:
        UsageError: there is no file, or one has other columns, a wrong cell, an unknown mark, quantity or card, or the
            same number twice; names file and line.
    """
    tables = sorted(folder.glob("*.csv"))
    if not tables:
        raise UsageError(f"{folder}: there is no file of published numbers (*.csv) here")
    known = units()
    return tuple(row for file in tables for row in _rows(file, known))


def _rows(file: Path, known: Mapping[str, str]) -> list[Published]:
    # Bytes that are not UTF-8 become what no text can hold, so that their cell is refused.
    text = file.read_bytes().decode("utf-8", "surrogateescape")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Published] = []
    lines: dict[tuple[Any, ...], int] = {}  # by what tells a row from the others
    try:
        header = next(reader, [])
        if sorted(header) != sorted(COLUMNS):
            raise UsageError(f"the columns are {', '.join(header) or 'none'}; they must be {', '.join(COLUMNS)}")
        for cells in reader:
            if len(cells) != len(header):
                raise UsageError(f"{len(cells)} cells where the header has {len(header)}")
            values = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
            row = Published.model_validate({"table": file.stem, **values})
            _check(row, known)
            what = (row.model, row.pretrain, row.resolution, row.quantity, row.protocol, row.note)
            if lines.setdefault(what, reader.line_num) != reader.line_num:
                raise UsageError(f"says again what line {lines[what]} says; a note must tell them apart")
            rows.append(row)
    except (csv.Error, UsageError, ValidationError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else error
        raise UsageError(f"{file}, line {max(1, reader.line_num)}: {problem}") from None
    return rows


def _check(row: Published, known: Mapping[str, str]) -> None:
    if row.quantity not in known:
        raise unknown("quantity", row.quantity, known)
    if row.card is not None and row.card not in zoo.cards():
        raise unknown("card", row.card, zoo.cards())
    if (row.weights is None) != (row.card is None):
        raise UsageError("weights says whether a card's checkpoint is the row's: with a card, and only then")
    if known[row.quantity] == PERCENT and row.value > 100:  # noqa: PLR2004
        raise UsageError(f"{row.value} % is more than all")
