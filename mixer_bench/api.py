"""The verbs as calls: what the command line and ``import mixer_bench`` share."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mixer_bench import data, environment, places, plan, report, runner, weights, zoo
from mixer_bench.errors import MixerBenchError, ResultsError, UsageError, WeightsError
from mixer_bench.plan import PROTOCOLS, Group, Overwrite, Plan, Request, is_frozen
from mixer_bench.progress import ProgressLog
from mixer_bench.record import Precision, Record, Run
from mixer_bench.report import rows
from mixer_bench.report.about import About
from mixer_bench.store import Store, read_record
from mixer_bench.task_names import Columns, Names, chosen_tasks, parts

if TYPE_CHECKING:
    import pandas

    from mixer_bench.backbone import Backbone

LONG_ON_CPU = 500_000  # images that a small network on a small CPU trains on in an hour, about


def run(  # noqa: PLR0913  the flags of the command
    task: Names,
    model: Names,
    protocol: Names = PROTOCOLS,
    *,
    preset: str | None = None,
    shots: int | Sequence[int] = (),
    seeds: int = 3,
    limit: int | None = None,
    settings: Mapping[str, Any] | None = None,
    resolution: int | None = None,
    device: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    batch_size: int | None = None,
    data_dir: str | Path | None = None,
    output_dir: str | Path = "results",
    overwrite: Overwrite = "failed",
    image: str | None = None,
    label: str | None = None,
    source: str | None = None,
) -> pandas.DataFrame:
    """Measure models on tasks, as ``mixer-bench run`` does, and return the rows of these very runs.

    Returns:
        One row a run and metric, the columns of ``load_results``.

    Raises:
        MixerBenchError: an unknown name, missing data or weights, or a run that failed.
    """
    asked = request(
        tasks=parts(task),
        models=parts(model),
        protocols=parts(protocol),
        settings=settings or {},
        shots=(shots,) if isinstance(shots, int) else shots,
        seeds=seeds,
        limit=limit,
        overwrite=overwrite,
        data_dir=Path(data_dir) if data_dir else None,
        include=[],
        columns=Columns(image, label),
        source=source,
        resolution=resolution,
        precision=precision_for(precision, device),
        preset=preset,
    )
    done = run_command(asked, Path(output_dir), device=device, batch_size=batch_size, quiet=True)
    if done.exit_code:
        raise MixerBenchError(
            "; ".join([*map(str, done.outcome.unavailable), *(f"failed: {f}" for f in done.failures)])
        )
    store = Store(Path(output_dir))
    return _frame([read_record(store.place(run, ".json")) for run in done.plan.asked])


def load_results(folder: str | Path = "results") -> pandas.DataFrame:
    """All records of a results folder as a tidy table: one row a run and metric, values in [0, 1].

    Raises:
        ResultsError: no such folder, or a file there is no whole record.
    """
    store = Store(Path(folder))
    if not (store.folder / "runs").is_dir():
        raise ResultsError(f"{store.folder}: there are no results here")
    records, problems = store.records()
    if problems:
        raise ResultsError("; ".join(problems))
    return _frame(records)


def _frame(records: Sequence[Record]) -> pandas.DataFrame:
    import pandas  # noqa: PLC0415  half a second that `list` and `report` need not spend

    return pandas.DataFrame(rows.tidy(records, About(report.cards_of(records))), columns=list(rows.COLUMNS))


def load_task(name: str, data_dir: str | Path | None = None) -> data.TaskData:
    """The pictures and labels of a task, by its name or as a folder, a list or a hub address."""
    return data.load(chosen_tasks([name])[0], Path(data_dir) if data_dir else None)


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
    columns: Columns,
    source: str | None = None,
    resolution: int | None = None,
    precision: Precision = "fp32",
    preset: str | None = None,
) -> Request:
    """Names to tasks and cards.

    Raises:
        UsageError: an unknown name.
    """
    if not (tasks and models and protocols):
        raise UsageError("a task, a model and a protocol must be named")
    # By weights as well as by name: two checkpoints in files of one name are two models.
    cards = {(card.name, card.weights): card for card in map(zoo.card, models)}
    found = chosen_tasks(tasks, include, columns, source)
    return Request(
        tasks=found,
        cards=list(cards.values()),
        protocols=list(dict.fromkeys(protocols)),
        settings=settings,
        shots=shots,
        seeds=seeds,
        limit=limit,
        resolution=resolution,
        precision=precision,
        preset=preset,
        overwrite=overwrite,
        data_dir=data_dir,
    )


def precision_for(asked: Precision | Literal["auto"], device: str) -> Precision:
    """The precision that ``asked`` means on ``device``: "auto" is half precision on a GPU and fp32 on a CPU."""
    if asked != "auto":
        return asked
    if device == "cpu" or (device == "auto" and not environment.may_have_gpu()):
        return "fp32"
    from mixer_bench import backbone  # noqa: PLC0415  seconds that a machine without a GPU need not spend

    return backbone.half_precision(backbone.pick_device(device))


@dataclass(frozen=True)
class Done:
    """What was asked for and what became of it."""

    plan: Plan
    outcome: runner.Outcome

    @property
    def failures(self) -> list[Path]:
        """The files of the runs that failed now."""
        return self.outcome.failed

    @property
    def exit_code(self) -> int:
        """0 all asked for is there, 1 a run failed now or before, 3 data or weights are missing."""
        return self.outcome.exit_code or (1 if self.plan.kept_failures else 0)

    def summary(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "asked": len(self.plan.asked),
            "finished": self.outcome.finished,
            "failed": [str(file) for file in self.failures],
            "unavailable": [str(error) for error in self.outcome.unavailable],
            "images": self.outcome.images,
            "trained_images": self.outcome.trained,
            "keys": [run.key for run in self.plan.asked],
            "exit_code": self.exit_code,
        }


@dataclass(frozen=True)
class Training:
    """How networks are trained here: nothing in it moves a score."""

    save_model: bool = False  # keep the trained network beside the record
    compile: bool = False  # torch.compile


def run_command(
    asked: Request,
    results: Path,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    dry_run: bool = False,
    quiet: bool = False,
    training: Training = Training(),
) -> Done:
    """Plan, do what is missing, and, unless ``quiet``, say so on stderr."""
    store = Store(results)
    quiet = quiet or environment.follows()
    todo = plan.make(asked, store)

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr)  # noqa: T201

    for error in todo.unavailable:
        say(f"error: {error}")
    for model, protocol in todo.untrained:
        say(f"{model}: no network that {protocol} could train; left out")
    outcome = runner.Outcome(unavailable=list(todo.unavailable))
    if dry_run:
        _say_plan(todo, say)
    elif todo.missing:
        store.check_writable()
        say(f"{len(todo.asked)} runs asked for, {todo.missing} to do{_cost(todo)}")
        outcome = _execute(todo, store, device, batch_size, quiet, training)
        seen = [f"{outcome.images:,} images through a network"] if outcome.images or not outcome.trained else []
        seen += [f"{outcome.trained:,} images trained on"] if outcome.trained else []
        say(f"{outcome.finished} runs done, {len(outcome.failed)} failed; {', '.join(seen)}")
    elif todo.asked and not todo.kept_failures:
        say(f"all {len(todo.asked)} runs are there already; nothing to compute")
    for file in outcome.failed:
        say(f"failed: {file}")
    if todo.kept_failures:
        say(f"{todo.kept_failures} runs failed before and are left so (--overwrite {asked.overwrite})")
    if not dry_run:
        say(f"records: {results / 'runs'}   table: mixer-bench report --results {results}")
    return Done(todo, outcome)


def _cost(todo: Plan) -> str:
    """What a plan costs that trains, in pictures."""
    trained = sum(group.trained for group in todo.groups)
    if not trained:
        return ""
    long = trained > LONG_ON_CPU and not environment.may_have_gpu()
    hint = "; hours on a CPU: --preset small trains less, --protocol fewshot not at all" if long else ""
    return f"; {trained:,} images to train on, at most (--dry-run says where){hint}"


def _say_plan(todo: Plan, say: Any) -> None:
    for group in todo.groups:
        kinds = sorted({planned.run.protocol for planned in group.runs})
        trained = f", {group.trained:,} images to train on" if group.trained else ""
        say(f"{group.label}: {len(group.runs)} runs ({', '.join(kinds)}), at most {group.images:,} images{trained}")
    say(f"{len(todo.asked)} runs asked for, {todo.missing} to do{_cost(todo)}; nothing done (--dry-run)")


def _execute(
    todo: Plan, store: Store, device: str, batch_size: int | None, quiet: bool, training: Training
) -> runner.Outcome:
    import torch  # noqa: PLC0415  only when there is something to compute

    from mixer_bench import backbone, distributed  # noqa: PLC0415
    from mixer_bench.backbone import Trainable  # noqa: PLC0415

    where = backbone.pick_device(distributed.own_device(device))
    here = distributed.join(where)

    def trainable(group: Group, run: Run, heard: runner.Heard) -> Trainable:
        return Trainable(
            card=group.card,
            preprocessing=run.preprocessing,
            device=where,
            precision=run.precision,
            identity=run.weights,
            scratch=places.cache_dir() / "finetune",
            on_heard=heard,
            saved_to=store.place(run, ".safetensors") if training.save_model else None,
            compiling=training.compile,
        )

    def load(group: Group) -> Backbone:
        # Of the runs that use features: trained ones may be in another precision.
        run = next(planned.run for planned in group.runs if is_frozen(planned.run.protocol))
        if weights.identity(group.card) != run.weights:
            raise WeightsError(f"{run.model}: its weights have changed since this run began; run again")
        return backbone.load(group.card, run.preprocessing, where, run.precision)

    machine = runner.Machine(
        device=str(where),
        device_name=backbone.device_name(where),
        threads=torch.get_num_threads(),
        cache=places.cache_dir(),
        load=load,
        trainable=trainable,
        leads=here.leads,
        batch_size=batch_size,
    )
    try:
        with ProgressLog(sum(group.units for group in todo.groups), quiet=quiet) as log:
            return runner.execute(todo, store, machine, log)
    finally:
        distributed.leave()
