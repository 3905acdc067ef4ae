"""Text for a terminal: 100 columns at most, and nothing that steers it. Prints nothing."""

from __future__ import annotations

import io
import logging
import shutil
import sys
from collections.abc import Collection, Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

LINE = 2_000  # characters of a message that are shown
WIDTH = 100  # columns a table may take on a wide screen or in a file


def console() -> Console:
    """Return what captures text, as wide as the terminal and ``WIDTH`` at most.

    Colours are left to the terminal this may not reach: what is captured must also read well in a file.
    """
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
    return Console(file=io.StringIO(), width=width, highlight=False, emoji=False, color_system=None)


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


def show(shown: Console, headings: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[str]) -> None:
    """Print a grid of cells; the columns whose headings are in ``left`` begin at the left, the others end alike."""
    table = grid()
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    shown.print(table)


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
