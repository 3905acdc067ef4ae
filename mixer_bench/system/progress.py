"""How far the work is: a bar with the time left on a terminal, plain lines in a pipe."""

from __future__ import annotations

import io
import sys
import time
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mixer_bench.system.console import plain

LINE_EVERY = 10.0  # seconds between plain lines
MINUTES_FROM, HOURS_FROM, DAYS_FROM = 180, 3 * 3600, 72 * 3600  # seconds that are told as minutes, hours, days


def unheard(_: object) -> None:
    """Ignore what is told."""


def duration(seconds: float) -> str:
    """Return a time in words: "42 s", "12 min", "3.5 h", "1,200 days"."""
    if seconds < HOURS_FROM:
        return f"{seconds:.0f} s" if seconds < MINUTES_FROM else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < DAYS_FROM else f"{seconds / 86400:,.0f} days"


class Pace:
    """How fast a training goes, and how long its run still takes."""

    def __init__(self, images: float) -> None:
        """Start the clock; ``images`` are to be trained on."""
        self._left, self._seen, self._start = images, 0.0, time.monotonic()

    def skip(self, images: float) -> None:
        """Leave out images that need not be trained on."""
        self._left -= images

    def trained(self, images: float) -> str:
        """Count images that were trained on; returns the speed so far and the time left, in words."""
        self._left -= images
        self._seen += images
        speed = self._seen / max(time.monotonic() - self._start, 1e-9)
        return f"{speed:,.0f} img/s, {duration(max(0.0, self._left) / speed)} left"


class ProgressLog:
    """Work of ``total`` units of about equal length; use as a context."""

    def __init__(self, total: float, stream: TextIO | None = None, quiet: bool = False) -> None:
        """Start the clock; nothing is shown when ``quiet``."""
        self.total, self.done, self._label = total, 0.0, ""
        out = stream or sys.stderr or io.StringIO()  # of a program without a console
        # Whether it is a terminal is asked of the stream: FORCE_COLOR, common in CI, asks for colours, not for bars.
        self._console = Console(file=out, highlight=False, emoji=False, force_terminal=out.isatty(), quiet=quiet)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total)
        self._start = self._last = time.monotonic()

    def __enter__(self) -> Self:
        """Show the bar where there is a terminal."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._bar.stop()

    def label(self, text: str) -> None:
        """Say what is being worked on."""
        self._label = text
        self._bar.update(self._task, description=plain(text))

    def now(self, text: str) -> None:
        """Say what is being worked on, that it is, and nothing more is done yet."""
        self.label(text)
        self.advance(0)

    def advance(self, units: float = 1) -> None:
        """Count what more is done."""
        self.done += units
        self._bar.update(self._task, advance=units)
        if self._bar.disable and time.monotonic() - self._last >= LINE_EVERY:
            self.line(self._label)

    def line(self, text: str) -> None:
        """Print a line that stays; in a pipe with the share done and the time left."""
        if self._bar.disable:
            self._last = time.monotonic()
            share = min(1.0, self.done / self.total) if self.total else 1.0
            spent = self._last - self._start
            left = f", {duration(spent * (1 - share) / share)} left" if 0 < share < 1 else ""
            text = f"[{share:4.0%}{left}] {text}"
        self._console.print(plain(text), markup=False, soft_wrap=True)


def quiet(total: float) -> ProgressLog:
    """Return what shows nothing of work of ``total`` units."""
    return ProgressLog(total, quiet=True)
