"""The verbs as calls: what the command line and ``import mixer_bench`` share."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixer_bench import data, options, plan, report, runner, zoo
from mixer_bench import task as task_module
from mixer_bench.data import folder
from mixer_bench.errors import MixerBenchError, UsageError
from mixer_bench.features import default_cache_dir
from mixer_bench.plan import Group, Overwrite, Plan, Request
from mixer_bench.progress import ProgressLog
from mixer_bench.record import Store
from mixer_bench.report import rows
from mixer_bench.task import Task

if TYPE_CHECKING:
    import pandas

    from mixer_bench.backbone import Backbone

Names = str | Sequence[str]


def run(  # noqa: PLR0913  the flags of the command
    task: Names,
    model: Names,
    protocol: Names = "fewshot",
    *,
    shots: Sequence[int] = (),
    seeds: int = 3,
    limit: int | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    data_dir: str | Path | None = None,
    output_dir: str | Path = "results",
    overwrite: Overwrite = "failed",
) -> pandas.DataFrame:
    """Measure models on tasks, as ``mixer-bench run`` does, and return the rows of these very runs.

    Returns:
        One row a run and metric, the columns of ``load_results``.

    Raises:
        MixerBenchError: an unknown name, missing data or weights, or a run that failed.
    """
    asked = request(
        tasks=_names(task),
        models=_names(model),
        protocols=_names(protocol),
        settings=settings or {},
        shots=shots,
        seeds=seeds,
        limit=limit,
        overwrite=overwrite,
        data_dir=Path(data_dir) if data_dir else None,
        include=[],
    )
    summary = run_command(asked, Path(output_dir), device=device, batch_size=batch_size, quiet=True)
    if summary["exit_code"]:
        raise MixerBenchError("; ".join([*summary["unavailable"], *(f"failed: {file}" for file in summary["failed"])]))
    found = load_results(output_dir)
    return found[found["key"].isin(summary["keys"])].reset_index(drop=True)


def load_results(folder: str | Path = "results") -> pandas.DataFrame:
    """All records of a results folder as a tidy table: one row a run and metric, values in [0, 1].

    Raises:
        MixerBenchError: a file there is no whole record.
    """
    import pandas  # noqa: PLC0415  half a second that `list` and `report` need not spend

    records, problems = Store(Path(folder)).records()
    if problems:
        raise MixerBenchError("; ".join(problems))
    return pandas.DataFrame(rows.tidy(records, report.cards_of(records)))


def load_task(name: str, data_dir: str | Path | None = None) -> data.TaskData:
    """The pictures and labels of a task, by its name or as a folder of pictures."""
    return data.load(_tasks([name], [])[0], Path(data_dir) if data_dir else None)


def load_model(name: str, device: str = "auto") -> Backbone:
    """A model ready to compute features, with its checkpoint's own preprocessing."""
    from mixer_bench import backbone  # noqa: PLC0415

    card = zoo.card(name)
    return backbone.load(card, card.preprocessing, backbone.pick_device(device))


def request(  # noqa: PLR0913  the flags of the command
    *,
    tasks: Sequence[str],
    models: Sequence[str],
    protocols: Sequence[str],
    settings: Mapping[str, Any],
    shots: Sequence[int],
    seeds: int,
    limit: int | None,
    overwrite: Overwrite,
    data_dir: Path | None,
    include: Sequence[Path],
) -> Request:
    """Names to tasks and cards.

    Raises:
        UsageError: an unknown name.
    """
    cards = {card.name: card for card in map(zoo.card, models)}
    return Request(
        tasks=_tasks(tasks, include),
        cards=list(cards.values()),
        protocols=list(dict.fromkeys(protocols)),
        settings=settings,
        shots=shots,
        seeds=seeds,
        limit=limit,
        overwrite=overwrite,
        data_dir=data_dir,
    )


def _names(names: Names) -> list[str]:
    return names.split(",") if isinstance(names, str) else list(names)


def _tasks(names: Sequence[str], include: Sequence[Path]) -> list[Task]:
    """Tasks by name; a name with a path separator, or ``.``, is a folder of pictures."""
    known = task_module.tasks(include)
    found: dict[str, Task] = {}
    for name in names:
        is_folder = name not in known and Path(name).is_dir() and (os.sep in name or name == ".")
        chosen = [folder.task_of(Path(name))] if is_folder else task_module.select([name], known)
        found.update((task.name, task) for task in chosen)
    return list(found.values())


def run_command(
    asked: Request,
    results: Path,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    dry_run: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Plan, do what is missing, and say so on stderr; returns the summary that ``--json`` prints."""
    store = Store(results)
    todo = plan.make(asked, store)

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr)  # noqa: T201

    for error in todo.unavailable:
        say(f"error: {error}")
    outcome = runner.Outcome(unavailable=list(todo.unavailable))
    if dry_run:
        _say_plan(todo, say)
    elif todo.missing:
        store.check_writable()
        say(f"{len(todo.asked)} runs asked for, {todo.missing} to do")
        outcome = _execute(todo, store, device, batch_size)
        say(f"{outcome.finished} runs done, {len(outcome.failed)} failed; {outcome.images:,} images through a network")
    elif todo.asked and not todo.kept_failures:
        say(f"all {len(todo.asked)} runs are there already; nothing to compute")
    for file in outcome.failed:
        say(f"failed: {file}")
    if todo.kept_failures:
        say(f"{todo.kept_failures} runs failed before and are left so (--overwrite {asked.overwrite})")
    if not dry_run:
        say(f"records: {results / 'runs'}   table: mixer-bench report --results {results}")
    return {
        "asked": len(todo.asked),
        "finished": outcome.finished,
        "failed": [str(file) for file in outcome.failed],
        "unavailable": [str(error) for error in outcome.unavailable],
        "images": outcome.images,
        "keys": [run.key for run in todo.asked],
        "exit_code": outcome.exit_code or (1 if todo.kept_failures else 0),
    }


def _say_plan(todo: Plan, say: Any) -> None:
    for group in todo.groups:
        kinds = sorted({planned.run.protocol for planned in group.runs})
        say(f"{group.label}: {len(group.runs)} runs ({', '.join(kinds)}), at most {group.images:,} images")
    say(f"{len(todo.asked)} runs asked for, {todo.missing} to do; nothing done (--dry-run)")


def _execute(todo: Plan, store: Store, device: str, batch_size: int | None) -> runner.Outcome:
    import torch  # noqa: PLC0415  only when there is something to compute

    from mixer_bench import backbone  # noqa: PLC0415

    where = backbone.pick_device(device)

    def load(group: Group) -> Backbone:
        return backbone.load(group.card, group.runs[0].run.preprocessing, where)

    machine = runner.Machine(str(where), torch.get_num_threads(), default_cache_dir(), load, batch_size)
    units = sum(group.images + len(group.runs) for group in todo.groups)
    with ProgressLog(units) as log:
        return runner.execute(todo, store, machine, log)


def pretrain_command(
    model: str,
    pictures: Path,
    output: Path,
    settings: Mapping[str, str],
    columns: tuple[str, str],
    source: tuple[str, str],
    device: str,
    threads: int | None,
) -> Path:
    """Read the pictures, pre-train with progress, and return the weights' file."""
    import torch  # noqa: PLC0415

    from mixer_bench import backbone, pretrain  # noqa: PLC0415
    from mixer_bench.data import hub  # noqa: PLC0415
    from mixer_bench.training import Diverged, Progress  # noqa: PLC0415

    card = zoo.card(model)
    recipe = options.validated("setting of the recipe", pretrain.Recipe, settings)
    if threads is not None:
        torch.set_num_threads(threads)
    where = backbone.pick_device(device)
    splits = folder.read_given(pictures) if folder.has_splits(pictures) else hub.read_splits(pictures, *columns)
    with ProgressLog(pretrain.steps(splits, recipe)) as log:

        def on_log(progress: Progress) -> None:
            log.label(f"{card.name}: step {progress.step}/{log.total:.0f}, loss {progress.losses[-1][1]:.3f}")
            log.advance(progress.step - log.done)

        try:
            record = pretrain.pretrain(card, splits, recipe, output, where, source, on_log)
        except Diverged as error:
            raise UsageError(f"{card.name}: {error}") from None
        log.line(f"{card.name}: validation accuracy {record.val_accuracy:.1%} after {record.cost}")
    return output / f"{card.name}.safetensors"
