"""Text for a terminal: 100 columns at most, and nothing that steers it. Prints nothing."""

from __future__ import annotations

import io
import shutil

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 100  # columns a table may take on a wide screen or in a file


def console() -> Console:
    """What captures text, as wide as the terminal and ``WIDTH`` at most.

    Colours are left to the terminal this may not reach: what is captured must also read well in a file.
    """
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
    return Console(file=io.StringIO(), width=width, highlight=False, color_system=None)


def captured(shown: Console) -> str:
    """What was printed to a ``console``, without empty ends of lines and of the whole."""
    text: str = shown.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n") + "\n"


def grid() -> Table:
    """An empty table as all verbs print them."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def printable(text: str) -> str:
    """On one line, and without characters that steer a terminal: names may come from anywhere."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))


def escaped(text: str) -> str:
    """As Markdown shows it literally, on one line."""
    for character in "\\|*_<>`[]&~$":
        text = text.replace(character, f"\\{character}")
    return printable(text)
