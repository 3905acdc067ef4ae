"""The verb run: plan, say, execute."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

from mixer_bench.results.store import Store
from mixer_bench.runs import machine, plan, runner
from mixer_bench.runs.options import Options
from mixer_bench.runs.plan import Plan
from mixer_bench.runs.request import request
from mixer_bench.runs.runner import Outcome
from mixer_bench.runs.summary import Summary
from mixer_bench.system import files, network, paths, processes
from mixer_bench.system import machine as system
from mixer_bench.system.console import tell
from mixer_bench.system.progress import ProgressLog, unheard
from mixer_bench.training import presets

LONG_ON_CPU = 500_000  # images that a small network on a small CPU trains on in an hour, about
Say = Callable[[str], object]


def run_command(options: Options, *, dry_run: bool = False, quiet: bool = False) -> Summary:
    """Plan, do what is missing, and, unless ``quiet``, say so on stderr.

    Raises:
        MixerBenchError: the request is wrong, or results cannot be written.
    """
    say = unheard if quiet or processes.follows() else tell
    summary = do(options, say, functools.partial(ProgressLog, quiet=say is unheard), say, dry_run)
    conclude(summary, options, say, dry_run)
    return summary


def do(
    options: Options, remark: Say, log: Callable[[float], ProgressLog], say: Say = unheard, dry_run: bool = False
) -> Summary:
    """Plan, and do what is missing.

    Args:
        options: what is asked for.
        remark: told what a person should know of a task or model.
        log: makes what shows the progress of so many units.
        say: told how much there is to do.
        dry_run: only say that.

    Raises:
        MixerBenchError: the request is wrong, or results cannot be written.
    """
    network.allow(not options.offline)
    store = Store(options.output_dir)
    todo = plan.make(request(options), store)
    for error in todo.unavailable:
        remark(f"error: {error}")
    for model, protocol in todo.untrained:
        remark(f"{model}: no network that {protocol} could train; left out")
    for text in dict.fromkeys(_resolutions(todo, options.preset or presets.DEFAULT)):
        remark(text)
    outcome = Outcome(todo)
    if not dry_run and not processes.follows():
        _tidy(todo, store)
    if dry_run:
        _say_plan(todo, say)
    elif todo.missing or processes.started().size > 1:  # of several the first says what there is to do
        store.check_writable()
        say(f"{len(todo.asked)} runs asked for, {todo.missing} to do{_cost(todo)}")
        with machine.joined(options, store) as here, log(sum(group.units for group in todo.groups)) as shown:
            runner.execute(outcome, store, here, shown)
    return Summary.of(outcome, store)


def conclude(summary: Summary, options: Options, say: Say, dry_run: bool = False) -> None:
    """Say what became of what was asked for, and where it lies."""
    if (summary.missing or summary.errors) and not dry_run:
        for line in summary.words():
            say(line)
    elif summary.asked and not summary.kept_failures and not dry_run:
        say(f"all {summary.asked} runs are there already; nothing to compute")
    if summary.kept_failures:
        say(f"{summary.kept_failures} runs failed before and are left so (--overwrite {options.overwrite})")
    if summary.other_code:
        say(
            f"{summary.other_code} runs that were there were made by other code than is installed; --fresh does all "
            "of them again"
        )
    if not dry_run:
        folder = options.output_dir
        say(f"records: {folder / 'runs'}   table: mixer-bench report --results {folder}")


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


def _resolutions(todo: Plan, preset: str) -> Iterator[str]:
    """Say which models are trained at another resolution than the preset's source trains at."""
    for group in todo.groups:
        side, own = group.source_resolution(preset), group.card.preprocessing.resolution
        if side not in (None, own):
            yield f"{group.card.name}: preset {preset} is of {side} px, this run of {own} (--resolution {side})"


def _cost(todo: Plan) -> str:
    """What a plan costs that trains, in images."""
    trained = sum(group.trained for group in todo.groups)
    if not trained:
        return ""
    long = trained > LONG_ON_CPU and not system.may_have_gpu()
    hint = "; hours on a CPU: --preset small trains less, --protocol fewshot not at all" if long else ""
    return f"; {trained:,} images to train on, at most (--dry-run says where){hint}"


def _say_plan(todo: Plan, say: Say) -> None:
    for group in todo.groups:
        kinds = sorted({planned.run.protocol for planned in group.runs})
        trained = f", {group.trained:,} images to train on" if group.trained else ""
        say(f"{group.label}: {len(group.runs)} runs ({', '.join(kinds)}), at most {group.images:,} images{trained}")
    say(f"{len(todo.asked)} runs asked for, {todo.missing} to do{_cost(todo)}; nothing done (--dry-run)")
