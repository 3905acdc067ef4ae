"""The verb run over executors: cells, who does them, one display, and what became of all."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mixer_bench.errors import UsageError
from mixer_bench.executors import Cell, Ended, Executor, Site, cells, get
from mixer_bench.executors.board import Board
from mixer_bench.results.store import Store
from mixer_bench.runs import budget, command, forecast_text, tracking
from mixer_bench.runs.forecast import Forecast
from mixer_bench.runs.options import Options
from mixer_bench.runs.summary import Summary
from mixer_bench.system import claims, files, processes
from mixer_bench.system.console import tell
from mixer_bench.system.progress import ProgressLog, duration, unheard

Say = Callable[[str], object]
PAUSE = 1.0  # seconds between two looks at what others are doing
SHOWN = 3  # labels of what is waited for


def foretell(options: Options, *, quiet: bool = False) -> Forecast:
    """Work out what ``options`` ask for will take, and, unless ``quiet``, say so on stderr.

    Raises:
        MixerBenchError: the request is wrong.
    """
    tracking.check(options.track)
    if options.budget is not None:
        _, told = _within_budget(options)
    elif options.shard is not None:
        which, count = cells.shard_of(options.shard)
        part = cells.shard(cells.cells(cells.resolved(options), count), which, count)
        told = command.foretold([cell.options for cell in part])
    else:
        told = command.foretold([options])
    if not quiet and not processes.follows():
        for line in (*(f"error: {error}" for error in told.unavailable), *told.remarks):
            tell(line)
        tell(forecast_text.text(told))
    return told


def run(options: Options, *, quiet: bool = False) -> Summary:
    """Do what ``options`` ask for where they say, and, unless ``quiet``, say so on stderr.

    Raises:
        MixerBenchError: the request is wrong, or, where one process does it, results cannot be written.
    """
    tracking.check(options.track)
    if options.budget is not None:
        options, told = _within_budget(options)
        (unheard if quiet else tell)(told.remarks[0])
    which, count = cells.shard_of(options.shard) if options.shard is not None else (1, 1)
    executor = _executor(options)
    if executor is None and options.shard is None:
        return command.run_command(options, quiet=quiet)
    say = unheard if quiet else tell
    whole = cells.resolved(options)
    workers = 1 if executor is None else executor.workers
    fewest = workers if options.executor == "local" else options.jobs or 1
    todo = cells.shard(cells.cells(whole, fewest if options.shard is None else count), which, count)
    for model, protocol in cells.untrained(whole):
        say(f"{model}: no network that {protocol} could train; left out")
    if not todo and options.shard is not None:
        say(f"shard {options.shard}: the others have all there is to do")
    if executor is None or not todo:
        log = functools.partial(ProgressLog, quiet=quiet)
        summary = Summary.together(command.do(cell.options, say, log, say) for cell in todo)
    else:
        Store(options.output_dir).check_writable()
        files.tidy(options.output_dir / "runs")
        say(f"{len(todo)} cells to do, {min(workers, len(todo))} at once ({options.executor})")
        summary = _Driving(executor, quiet).through(todo)
    command.conclude(summary, options, say)
    return summary


def _within_budget(options: Options) -> tuple[Options, Forecast]:
    """Return what fits into the budget, and the forecast for it; UsageError where nothing does, or nobody can know."""
    if options.executor != "local":
        raise UsageError(
            f"--budget goes by the speed of this machine, and --executor {options.executor} works on others: leave one "
            "out (--seeds, --rates and --shots trim by hand)"
        )
    executor = _executor(options)
    return budget.trimmed(options, 1 if executor is None else executor.workers)


def trains_together(options: Options) -> bool:
    """Return whether several processes train one network, each run in turn.

    Raises:
        UsageError: runs are to be shared out as well, or several processes would each trim them to a budget.
    """
    together = options.gpus_per_run > 1 or processes.started().size > 1
    if options.budget is not None and (together or options.shard is not None):
        raise UsageError(
            "--budget goes by the speed of one process, and others would trim otherwise: leave out --shard, "
            "--gpus-per-run and torchrun"
        )
    if together and (options.executor, options.jobs or 1, options.shard) != ("local", 1, None):
        raise UsageError(
            "--executor, --jobs and --shard share out runs, --gpus-per-run and torchrun let several processes do each "
            "together: leave one of them out"
        )
    return together


def _executor(options: Options) -> Executor | None:
    """Return what does the work; None where that is this process."""
    if trains_together(options):
        return None
    site = Site(options.device, options.jobs, options.executor_set, options.output_dir / "logs")
    executor = get(options.executor)(site)
    return None if options.executor == "local" and executor.workers == 1 else executor


@dataclass
class _Driving:
    """Cells on their way through an executor."""

    executor: Executor
    quiet: bool
    ended: dict[Path, Ended] = field(default_factory=dict)  # by claim
    seen: dict[Path, tuple[object, float]] = field(default_factory=dict)  # claims of others: their stamp, since when

    def through(self, todo: Sequence[Cell]) -> Summary:
        """Do all cells; what other processes do is waited for, and what they left is done."""
        left, busy = list(todo), list[Cell]()
        with Board(todo, self.executor.workers, self.quiet) as board:
            while left or busy:
                busy += self._round(left, board)
                left, busy = self._freed(busy, board)
        return Summary.together(
            ended.summary or Summary(errors=(ended.error,), exit_code=ended.exit_code)
            for ended in (self.ended[cell.claim] for cell in todo)
        )

    def _round(self, todo: Sequence[Cell], board: Board) -> list[Cell]:
        """Do cells; return those that other processes do."""
        busy = []
        with contextlib.closing(self.executor.run(todo)) as events:
            for told in events:
                cell = todo[told.number] if told.number >= 0 else None
                board.show(cell, told)
                if cell is None or told.ended is None:
                    continue
                if told.ended.busy:
                    busy.append(cell)
                    continue
                self.ended[cell.claim] = told.ended
                if told.ended.error:
                    board.line(told.ended.error)
        return busy

    def _freed(self, busy: list[Cell], board: Board) -> tuple[list[Cell], list[Cell]]:
        """Wait until other processes no longer do one of these cells; return what is free, and what is not."""
        if busy:
            labels = [cell.label for cell in busy]
            board.line(
                f"waiting for another process that does {'; '.join(labels[:SHOWN])}{' ...' * (len(labels) > SHOWN)}"
            )
        while True:
            free, others = list[Cell](), list[Cell]()
            for cell in busy:
                with claims.claimed(cell.claim) as ours:
                    (free if ours else others).append(cell)
            others = [cell for cell in others if not self._is_stale(cell, board)]
            if free or not others:
                return [_rest_of(cell) for cell in free], others
            time.sleep(PAUSE)

    def _is_stale(self, cell: Cell, board: Board) -> bool:
        """Return whether nobody believes any more that another process does a cell; say so, once."""
        file, now = claims.place_of(cell.claim), time.monotonic()
        stamp = files.stamp(file)
        if stamp != self.seen.get(cell.claim, (None, now))[0] or stamp is None:
            self.seen[cell.claim] = (stamp, now)
        unseen = now - self.seen[cell.claim][1]
        if unseen < claims.STALE:
            return False
        error = (
            f"{cell.label}: {file} was not renewed for {duration(unseen)}: its holder is stopped or lost, with a lock "
            "that the file server keeps; remove the file if nobody works there"
        )
        self.ended[cell.claim] = Ended(error=error, exit_code=1)
        board.line(error)
        return True


def _rest_of(cell: Cell) -> Cell:
    """Return what asks for what another process left of a cell: what it made is new, whatever was asked for."""
    overwrite = "failed" if cell.options.overwrite == "always" else cell.options.overwrite
    options = cell.options.model_copy(update={"fresh": False, "overwrite": overwrite})
    return cell.model_copy(update={"options": options})
