"""The verb run: plan, say, execute."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixer_bench.errors import WeightsError
from mixer_bench.models import weights
from mixer_bench.results.record import Run
from mixer_bench.results.store import Store
from mixer_bench.runs import machine as machine_module
from mixer_bench.runs import plan, runner
from mixer_bench.runs.plan import Group, Plan, is_frozen
from mixer_bench.runs.request import Request
from mixer_bench.system import machine as environment
from mixer_bench.system import paths
from mixer_bench.system.progress import ProgressLog

if TYPE_CHECKING:
    from mixer_bench.models.backbone import Backbone


LONG_ON_CPU = 500_000  # images that a small network on a small CPU trains on in an hour, about


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
    """What a plan costs that trains, in images."""
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
    import torch

    from mixer_bench.models import backbone
    from mixer_bench.models import device as device_module
    from mixer_bench.training import distributed
    from mixer_bench.training.network import Trainable

    where = device_module.pick_device(distributed.own_device(device))
    here = distributed.join(where)

    def trainable(group: Group, run: Run, heard: machine_module.Heard) -> Trainable:
        return Trainable(
            card=group.card,
            preprocessing=run.preprocessing,
            device=where,
            precision=run.precision,
            identity=run.weights,
            scratch=paths.cache_dir() / "finetune",
            heard=heard,
            saved_to=store.place(run, ".safetensors") if training.save_model else None,
            compiling=training.compile,
        )

    def load(group: Group) -> Backbone:
        # Of the runs that use features: trained ones may be in another precision.
        run = next(planned.run for planned in group.runs if is_frozen(planned.run.protocol))
        if weights.identity(group.card) != run.weights:
            raise WeightsError(f"{run.model}: its weights have changed since this run began; run again")
        return backbone.load(group.card, run.preprocessing, where, run.precision)

    machine = machine_module.Machine(
        device=str(where),
        device_name=device_module.device_name(where),
        threads=torch.get_num_threads(),
        cache=paths.cache_dir(),
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
