"""The verb run: plan, say, execute."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence

from mixer_bench.results.store import Store
from mixer_bench.runs import plan, tracking
from mixer_bench.runs.forecast import Forecast, forecast
from mixer_bench.runs.options import Options
from mixer_bench.runs.plan import Plan
from mixer_bench.runs.request import request
from mixer_bench.runs.summary import Outcome, Summary
from mixer_bench.system import files, network, paths, processes
from mixer_bench.system.console import tell
from mixer_bench.system.machine import may_have_gpu
from mixer_bench.system.progress import ProgressLog, unheard

LONG_ON_CPU = 500_000  # images that a small network on a small CPU trains on in an hour, about
Say = Callable[[str], object]


def run_command(options: Options, *, quiet: bool = False) -> Summary:
    """Plan, do what is missing, and, unless ``quiet``, say so on stderr.

    Raises:
        MixerBenchError: the request is wrong, or results cannot be written.
    """
    say = unheard if quiet or processes.follows() else tell
    summary = do(options, say, functools.partial(ProgressLog, quiet=say is unheard), say)
    conclude(summary, options, say)
    return summary


def foretold(parts: Sequence[Options]) -> Forecast:
    """Return what parts of a request will take; nothing is fetched or done.

    Raises:
        MixerBenchError: the request is wrong.
    """
    from mixer_bench.runs.speeds import Speeds
    from mixer_bench.training import launch

    with network.unused():
        asked = [request(options) for options in parts]
        stores = [Store(options.output_dir) for options in parts]
        speeds = Speeds(launch.device(parts[0].device), stores[0], parts[0].compile)
        pairs = zip(asked, stores, strict=True)
        return Forecast.together([forecast(part, store, speeds, plan.gather(part)) for part, store in pairs])


def do(options: Options, remark: Say, log: Callable[[float], ProgressLog], say: Say = unheard) -> Summary:
    """Plan, and do what is missing.

    Args:
        options: what is asked for.
        remark: told what a person should know of a task or model.
        log: makes what shows the progress of so many units.
        say: told how much there is to do.

    Raises:
        MixerBenchError: the request is wrong, or results cannot be written.
    """
    network.allow(not options.offline)
    store = Store(options.output_dir)
    todo = plan.make(request(options), store)
    for error in todo.unavailable:
        remark(f"error: {error}")
    for text in plan.remarks(todo, options.preset):
        remark(text)
    outcome = Outcome(todo)
    if not processes.follows():
        _tidy(todo, store)
    if todo.missing or processes.started().size > 1:  # of several the first says what there is to do
        from mixer_bench.runs import machine, runner

        store.check_writable()
        say(f"{len(todo.asked)} runs asked for, {todo.missing} to do{_cost(todo)}")
        with machine.joined(options, store) as here, log(sum(group.units for group in todo.groups)) as shown:
            runner.execute(outcome, store, here, shown)
    return Summary.of(outcome, store)


def conclude(summary: Summary, options: Options, say: Say) -> None:
    """Say what became of what was asked for, and where it lies."""
    if summary.missing or summary.errors:
        for line in summary.words():
            say(line)
    elif summary.asked and not summary.kept_failures:
        say(f"all {summary.asked} runs are there already; nothing to compute")
    if summary.kept_failures:
        say(f"{summary.kept_failures} runs failed before and are left so (--overwrite {options.overwrite})")
    if summary.other_code:
        say(
            f"{summary.other_code} runs that were there were made by other code than is installed; --fresh does all "
            "of them again"
        )
    folder = options.output_dir
    curves = f"   curves: {tracking.way(options)}" if options.track is not None else ""
    say(f"records: {folder / 'runs'}   table: mixer-bench report --results {folder}{curves}")


def _tidy(todo: Plan, store: Store) -> None:
    """Remove what killed processes left of the runs asked for: halves, claims, checkpoints of those that are there."""
    for folder in {store.folder / "runs", *(store.place(run, "").parent for run in todo.asked)}:
        files.tidy(folder)
    to_do = {planned.run.key for group in todo.groups for planned in group.runs}
    there = {run.key for run in todo.asked if store.has(run)} - to_do
    for checkpoint in paths.cache_dir().glob("finetune/**/*.state.pt"):
        if there & {*checkpoint.name.split(".")}:
            with contextlib.suppress(OSError):
                checkpoint.unlink()


def _cost(todo: Plan) -> str:
    """What a plan costs that trains, in images."""
    trained = sum(group.trained for group in todo.groups)
    if not trained:
        return ""
    long = trained > LONG_ON_CPU and not may_have_gpu()
    hint = "; hours on a CPU: --preset small trains less, --protocol fewshot not at all" if long else ""
    return f"; {trained:,} images to train on, at most (--dry-run says how long){hint}"
