"""One display for all that work at once: a line each and one for the whole; plain lines in a pipe."""

from __future__ import annotations

from collections.abc import Sequence

from mixer_bench.executors import Cell, Told
from mixer_bench.system.console import plain
from mixer_bench.system.progress import ProgressLog

SHOWN = 3  # labels in a plain line
EVEN = 0.1  # of the time is thought to go evenly into all cells, whatever they weigh


class Board(ProgressLog):
    """Progress of cells; use as a context."""

    def __init__(self, cells: Sequence[Cell], workers: int, quiet: bool = False) -> None:
        """Start the clock."""
        super().__init__(1.0, quiet=quiet)
        whole = sum(cell.weight for cell in cells) or 1.0
        self._units = {cell.claim: (1 - EVEN) * cell.weight / whole + EVEN / len(cells) for cell in cells}
        self._shares = dict.fromkeys(self._units, 0.0)
        self._at_work: dict[int, str] = {}
        self._rows = [self._bar.add_task("", total=1.0, visible=False) for _ in range(workers)]
        self._ended, self._said = 0, set[str]()
        self.label(f"0 of {len(cells)} cells done")

    def show(self, cell: Cell | None, told: Told) -> None:
        """Show what is told of a cell; None where nobody knows of which."""
        if told.line and (cell is None or told.line not in self._said):  # cells of one model have the same said of it
            self._said.add(told.line)
            self.line(told.line)
        if cell is None or told.line:
            return
        before = self._shares[cell.claim]
        self._shares[cell.claim] = share = 1.0 if told.ended else max(told.share, before)
        if told.ended:
            self._ended += not told.ended.busy
            self._at_work.pop(told.worker, None)
        else:
            self._at_work[told.worker] = told.label or cell.label
        if told.worker < len(self._rows):
            label = self._at_work.get(told.worker, "")
            self._bar.update(self._rows[told.worker], description=plain(label), completed=share, visible=bool(label))
        shown = "; ".join([*self._at_work.values()][:SHOWN]) if self._bar.disable else ""
        more_shown = " ..." if self._bar.disable and len(self._at_work) > SHOWN else ""
        self.label(f"{self._ended} of {len(self._units)} cells done{'; ' * bool(shown)}{shown}{more_shown}")
        self.advance((share - before) * self._units[cell.claim])
