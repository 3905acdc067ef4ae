"""Text for a terminal: as wide as it is, words whole, nothing of others that steers it."""

from __future__ import annotations

import io
import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

LINE = 2_000  # characters of a message that are shown
WIDTH = 100  # columns of a table in a file or pipe
HEADING = 9  # characters of a line of a heading, more only where a word has more
WORDS = 24  # characters that a line of a column of words has, where the column has so many
NOTES = 12  # lines of notes below a table of fewer rows that stands alone
GAP = 2  # blank columns that belong to each column of a table


def coloured() -> bool:
    """Return whether stdout is to have colours: where it is a terminal that shows them and nobody refused.

    NO_COLOR (no-color.org) and FORCE_COLOR (force-color.org) are on where they are set and not empty.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return os.environ.get("TERM") != "dumb" and sys.stdout is not None and sys.stdout.isatty()


def console(colour: bool = False) -> Console:
    """Return what captures text, as wide as the terminal; with codes for its 16 colours only where they are asked for.

    What is captured may be written to a file, which must read well: only who prints it knows.
    """
    width = shutil.get_terminal_size((WIDTH, 24)).columns
    system: Literal["standard"] | None = "standard" if colour else None
    return Console(
        file=io.StringIO(), width=width, highlight=False, emoji=False, force_terminal=colour, color_system=system
    )


def captured(shown: Console) -> str:
    """Return what was printed to a ``console``, without empty ends of lines and of the whole."""
    text: str = shown.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n") + "\n"


def tell(text: str) -> None:
    """Print to stderr, if there is one: what is said beside a command's output."""
    if sys.stderr is not None:  # as in a program without a console
        print("\n".join(_shortened(plain(line)) for line in text.split("\n")), file=sys.stderr)  # noqa: T201


def show_notes() -> None:
    """Show what the package's modules note, such as that they fetch, as plain lines on stderr."""
    notes = logging.getLogger("mixer_bench")
    notes.setLevel(logging.INFO)
    notes.handlers = [logging.StreamHandler()]
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # what is wrong with an image is said by its name


def _shortened(line: str) -> str:
    """Return a line with its middle left out where that is very long: what it is about and the way out remain."""
    return line if len(line) <= LINE else f"{line[: LINE // 2]} ... {line[-LINE // 4 :]}"


def grid() -> Table:
    """Return an empty table as all verbs print them."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def show(
    shown: Console,
    headings: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    left: Collection[str],
    ends: Collection[int] = (),
) -> None:
    """Print a grid of cells, in as many blocks of columns as the width takes; each begins with the first column.

    Args:
        shown: a ``console``.
        headings: of the columns.
        rows: a text for each column; strings are made ``printable``.
        left: headings of columns of words, which begin at the left and, but for the first, break between words.
        ends: numbers of the rows that a rule follows.
    """
    texts = [[cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row] for row in rows]
    broken = [number > 0 and heading in left for number, heading in enumerate(headings)]
    folded = [_wrapped(heading, HEADING) for heading in headings]
    widths: list[int] = []
    for number, breaks in enumerate(broken):
        column = [folded[number], *(row[number].plain for row in texts)]
        lines = [line for text in column for line in text.split("\n")]
        widest = max(map(len, lines))
        words = max((len(word) for line in lines for word in line.split()), default=0)
        room = max(words, min(WORDS, shown.width - sum(widths[:1]) - 2 * GAP))
        widths.append(min(widest, room) if breaks else widest)
    for block in _blocks(widths, shown.width):
        table = grid()
        for n in block:
            side: Literal["left", "right"] = "left" if headings[n] in left else "right"
            least, exact = (widths[n], None) if broken[n] else (None, widths[n])
            table.add_column(folded[n], justify=side, min_width=least, width=exact, overflow="fold")
        for number, row in enumerate(texts):
            table.add_row(*(row[n] for n in block), end_section=number in ends)
        width = shown.width
        shown.width = max(width, sum(widths[n] + GAP for n in block))  # two columns without room go over the edge
        shown.print(table)
        shown.width = width


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False))


def _blocks(widths: Sequence[int], width: int) -> Iterator[list[int]]:
    """Yield the columns that stand beside each other: in each block the first, and of the others as many as fit."""
    block, used = [0], widths[0] + GAP
    for number, needed in enumerate(widths[1:], start=1):
        if len(block) > 1 and used + needed + GAP > width:
            yield block
            block, used = [0], widths[0] + GAP
        block.append(number)
        used += needed + GAP
    yield block


def notes(shown: Console, told: Sequence[str], most: int, way: str) -> None:
    """Print notes, each on a line of its own where that takes ``most`` lines at most, else one after the other.

    What even so has no room is counted, and of the first, if it is too long, the beginning is shown; ``way`` says where
    all are.
    """
    lines = [printable(note) for note in told]
    room = max(1, shown.width - 2)
    if sum(len(textwrap.wrap(line, room)) for line in lines) > most:
        kept = lines
        while len(textwrap.wrap(_flowing(kept, len(lines), way), room)) > most and kept:
            kept = kept[:-1]
        lines = [_flowing(kept, len(lines), way) if kept else _begun(lines, most * room, way)]
    for line in lines:
        shown.print(Padding(Text(line, "dim"), (0, 0, 0, 2)))


def _flowing(kept: Sequence[str], count: int, way: str) -> str:
    more = [f"{count - len(kept)} more notes: {way}"] if len(kept) < count else []
    return " · ".join([*kept, *more])


def _begun(lines: Sequence[str], characters: int, way: str) -> str:
    rest = f"... all notes: {way}" if len(lines) == 1 else f"... all {len(lines)} notes: {way}"
    return f"{textwrap.shorten(lines[0], max(1, characters - len(rest) - 1), placeholder='')} {rest}".strip()


def printable(text: str) -> str:
    """Return text on one line, without characters that steer a terminal: names may come from anywhere."""
    return plain(" ".join(text.split()))


def plain(line: str) -> str:
    """Return a line without characters that steer a terminal; blanks stay as they are."""
    if line.isprintable():  # nearly always, and asked a hundred times as fast
        return line
    return "".join(character if character.isprintable() else "?" for character in line)


def escaped(text: str) -> str:
    """Return text that Markdown shows literally, on one line."""
    for character in "\\|*_<>`[]&~$":
        text = text.replace(character, f"\\{character}")
    return printable(text)
