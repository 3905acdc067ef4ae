"""The verb run: plan, say, execute."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from mixer_bench.results import made
from mixer_bench.results.store import Store, read_record
from mixer_bench.runs import machine, plan, runner
from mixer_bench.runs.options import Options
from mixer_bench.runs.plan import Plan
from mixer_bench.runs.request import request
from mixer_bench.runs.runner import Outcome
from mixer_bench.system import files, network, paths, processes
from mixer_bench.system import machine as system
from mixer_bench.system.console import tell
from mixer_bench.system.progress import ProgressLog
from mixer_bench.training import presets

LONG_ON_CPU = 500_000  # images that a small network on a small CPU trains on in an hour, about
Say = Callable[[str], object]


def run_command(options: Options, *, dry_run: bool = False, quiet: bool = False) -> Outcome:
    """Plan, do what is missing, and, unless ``quiet``, say so on stderr.

    Raises:
        MixerBenchError: the request is wrong, or results cannot be written.
    """
    network.allow(not options.offline)
    store = Store(options.output_dir)
    quiet = quiet or processes.follows()
    todo = plan.make(request(options), store)

    def say(text: str) -> None:
        if not quiet:
            tell(text)

    for error in todo.unavailable:
        say(f"error: {error}")
    for model, protocol in todo.untrained:
        say(f"{model}: no network that {protocol} could train; left out")
    for text in dict.fromkeys(_resolutions(todo, options.preset or presets.DEFAULT)):
        say(text)
    outcome = Outcome(todo)
    if not dry_run and not processes.follows():
        _tidy(todo, store)
    if dry_run:
        _say_plan(todo, say)
    elif todo.missing or processes.started().size > 1:  # of several the first says what there is to do
        store.check_writable()
        say(f"{len(todo.asked)} runs asked for, {todo.missing} to do{_cost(todo)}")
        with (
            machine.joined(options, store) as here,
            ProgressLog(sum(group.units for group in todo.groups), quiet=quiet) as log,
        ):
            runner.execute(outcome, store, here, log)
        _say_outcome(outcome, say)
    elif todo.asked and not todo.kept_failures:
        say(f"all {len(todo.asked)} runs are there already; nothing to compute")
    if todo.kept_failures:
        say(f"{todo.kept_failures} runs failed before and are left so (--overwrite {options.overwrite})")
    if not quiet and (other := _of_other_code(todo, store)):
        say(f"{other} runs that were there were made by other code than is installed; --fresh does all of them again")
    if not dry_run:
        say(f"records: {store.folder / 'runs'}   table: mixer-bench report --results {store.folder}")
    return outcome


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


def _of_other_code(todo: Plan, store: Store) -> int:
    """Count the runs that stay as they are though other code made them."""
    done = {id(planned.run) for group in todo.groups for planned in group.runs}
    kept = [store.place(run, ".json") for run in todo.asked if id(run) not in done and store.has(run)]
    records = map(read_record, kept)
    return sum(bool(made.other_code(made.Made.of(record), record.run.protocol)) for record in records)


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


def _say_outcome(outcome: Outcome, say: Say) -> None:
    seen = [f"{outcome.images:,} images through a network"] if outcome.images or not outcome.trained else []
    seen += [f"{outcome.trained:,} images trained on"] if outcome.trained else []
    left = outcome.plan.missing - outcome.finished - outcome.elsewhere - len(outcome.failed)
    elsewhere = f", {outcome.elsewhere} by another process" if outcome.elsewhere else ""
    not_done = f", {left} not done" if left else ""
    say(f"{outcome.finished} runs done{elsewhere}, {len(outcome.failed)} failed{not_done}; {', '.join(seen)}")
    for error in outcome.unusable:
        say(f"error: {error}")
    for file in outcome.failed:
        say(f"failed: {file}")
