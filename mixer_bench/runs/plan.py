"""Which runs are asked for, which of them are missing, and what they will cost. Computes nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from mixer_bench import data
from mixer_bench.data.examples import TaskData
from mixer_bench.errors import Absent, DataError, MixerBenchError, UsageError, WeightsError
from mixer_bench.models import imagenet_classes, weights
from mixer_bench.models import origin as origin_module
from mixer_bench.models.card import Card, Origin
from mixer_bench.results.record import Run
from mixer_bench.results.store import Store
from mixer_bench.runs.options import Options
from mixer_bench.runs.request import Request
from mixer_bench.runs.variants import Variant, trained_by, variants_of
from mixer_bench.stats import metrics
from mixer_bench.system import files
from mixer_bench.system.grouping import grouped
from mixer_bench.task.sources import at_least
from mixer_bench.task.task import Task, shown_subset
from mixer_bench.training import presets

Asked = TypeVar("Asked", Card, Task)
Thing = TypeVar("Thing")
TRAINING_STEP = 3  # forward, and backward to inputs and to weights


class State(NamedTuple):
    """What there is of a run: a stamp of each file."""

    record: tuple[int, int] | None
    failure: tuple[int, int] | None

    @staticmethod
    def of(run: Run, store: Store) -> State:
        """Return what there is now."""
        return State(files.stamp(store.place(run, ".json")), files.stamp(store.place(run, ".failed.json")))


class Planned(NamedTuple):
    """A run, and what its protocol is called with."""

    run: Run
    variant: Variant
    before: State  # what there was of it


class Share(NamedTuple):
    """Runs of one model that one process does together: all those that features serve, or one that trains."""

    group: Group
    runs: list[Planned]
    trains: bool

    def outcome(self, store: Store) -> Path:
        """Return the place that stands for it where processes share the work."""
        place = store.place(self.runs[0].run, "")
        return place if self.trains else place.with_name("frozen")


class Model(NamedTuple):
    """A card at the resolution asked for, its weights' identity, and what records say of it."""

    card: Card
    identity: str
    origin: Origin


@dataclass(frozen=True)
class Group:
    """Missing runs of one model on one task: they share data and features."""

    card: Card
    task: Task
    data: TaskData
    runs: tuple[Planned, ...]
    origin: Origin

    @property
    def frozen(self) -> list[Planned]:
        """The runs that leave the backbone's weights as they are, so that features serve them."""
        return [planned for planned in self.runs if not planned.variant.protocol.trains]

    @property
    def trained_alone(self) -> list[Share]:
        """The runs that train, each for itself."""
        return [Share(self, [planned], trains=True) for planned in self.runs if planned.variant.protocol.trains]

    @property
    def images(self) -> int:
        """Images of all three splits, where features of them are wanted."""
        return sum(map(len, self.data.splits.values())) if self.frozen else 0

    @property
    def trained(self) -> int:
        """Images that are trained on, at most."""
        return trained_by(planned.variant for planned in self.runs)

    def source_resolution(self, preset: str) -> int | None:
        """Return the side of the input that a preset's source trains at, pixels; None where no run has presets."""
        if not any(variant.protocol.defaults for _, variant, _ in self.runs):
            return None
        return presets.preset(preset).resolution_of(self.task, len(self.data.train) + len(self.data.val))

    @property
    def units(self) -> float:
        """How long it takes, in forward passes of an image: a training step is about three."""
        return self.images + TRAINING_STEP * self.trained + len(self.runs)

    @property
    def label(self) -> str:
        """The group in words."""
        return f"{self.card.name} on {self.task.name}"


@dataclass(frozen=True)
class Plan:
    """What there is to do. ``unavailable`` holds an error for each task or model that cannot be had."""

    groups: tuple[Group, ...]
    asked: tuple[Run, ...]
    kept_failures: int
    unavailable: tuple[MixerBenchError, ...]
    stands_on: tuple[tuple[str, TaskData], ...] = ()  # tasks that could have others, and the images they have
    left_out: tuple[str, ...] = ()  # what models and tasks have not that protocols need

    @property
    def missing(self) -> int:
        """How many runs there are to do."""
        return sum(len(group.runs) for group in self.groups)

    @property
    def parts(self) -> list[list[Share]]:
        """All that is to do. A part's models see equal squares of one task: each image is decoded once for them."""
        parts: list[list[Share]] = []
        for groups in grouped(self.groups, lambda group: id(group.data)).values():
            frozen = [Share(group, group.frozen, trains=False) for group in groups if group.frozen]
            parts += grouped(frozen, lambda share: share.runs[0].run.preprocessing.squares).values()
            parts += ([share] for group in groups for share in group.trained_alone)
        return parts


@dataclass(frozen=True)
class Gathered:
    """The models and images of a request, as far as they are to be had."""

    models: list[Model]
    images: list[tuple[Task, TaskData]]
    unavailable: list[tuple[Card | Task, MixerBenchError]]


def gather(request: Request) -> Gathered:
    """Find what is asked for; what is missing is fetched where the network may be used."""
    unavailable: list[tuple[Card | Task, MixerBenchError]] = []
    # Two files of one name are two models, so cards are kept by place and not by name.
    models = [*_those_there(functools.partial(_model, request), request.cards, unavailable)]
    # A task's images are read once and serve all models.
    images = [*_those_there(functools.partial(_images, request), request.tasks, unavailable)]
    return Gathered(models, images, unavailable)


def make(request: Request, store: Store, gathered: Gathered | None = None) -> Plan:
    """Return every run asked for, and those of them that ``store`` does not have; ``gathered`` is ``gather``'s."""
    groups: list[Group] = []
    asked: list[Run] = []
    left_out: set[str] = set()
    gathered = gathered or gather(request)
    for task, images in gathered.images:
        every = [*variants_of(request, task, len(images.train) + len(images.val))]
        for model in gathered.models:
            lacks = [lacking(variant, model.card, task, images) for variant in every]
            fitting = [variant for variant, lack in zip(every, lacks, strict=True) if not lack]
            left_out |= {*filter(None, lacks)}
            runs = [_run(request, model, task, images, variant) for variant in fitting]
            asked += runs
            planned = [Planned(run, variant, State.of(run, store)) for run, variant in zip(runs, fitting, strict=True)]
            if wanted := [each for each in planned if _is_wanted(each.before, request.options)]:
                groups.append(Group(model.card, task, images, tuple(wanted), model.origin))
    started = {id(planned.run) for group in groups for planned in group.runs}
    kept = sum(store.has_failed(run) and not store.has(run) for run in asked if id(run) not in started)
    unavailable = tuple(error for _, error in gathered.unavailable)
    stands_on = tuple((task.name, images) for task, images in gathered.images if len(task.source) > 1)
    return Plan(tuple(groups), tuple(asked), kept, unavailable, stands_on, tuple(sorted(left_out)))


def lacking(variant: Variant, card: Card, task: Task, images: TaskData) -> str:
    """Say what a protocol needs and is not there: a classifier of the task's classes, images to learn from, a network.

    Empty where all is there.
    """
    if variant.protocol.trained_classes:
        named = task.classes is not None or imagenet_classes.are_synsets(images.class_names)
        trained = not card.weights.startswith(("random", "none"))
        if named and trained and card.classes in (None, imagenet_classes.COUNT):
            return ""
        return f"{card.name}: no classifier of {task.name}'s classes that {variant.name} could judge"
    if not len(images.train):
        return f"{task.name}: has test alone, nothing that {variant.name} could learn from; take --protocol head"
    if variant.protocol.trains and card.architecture is None:
        return f"{card.name}: no network that {variant.name} could train"
    return ""


def remarks(todo: Plan, preset: str | None) -> Iterator[str]:
    """Give what a person should know of a plan: which images, what is left out, what is trained as no source does."""
    for task, images in todo.stands_on:
        yield f"{task}: {shown_subset(task, images.subset)}, {images.source}"
    yield from (f"{lack}; left out" for lack in todo.left_out)
    told = set()
    for group in todo.groups:
        name = preset or presets.DEFAULT
        side, own = group.source_resolution(name), group.card.preprocessing.resolution
        if side not in (None, own) and (group.card.name, side, own) not in told:
            told.add((group.card.name, side, own))
            yield f"{group.card.name}: preset {name} is of {side} px, this run of {own} (--resolution {side})"


def _those_there(
    get: Callable[[Asked], Thing], asked: Iterable[Asked], errors: list[tuple[Card | Task, MixerBenchError]]
) -> Iterator[Thing]:
    """What ``get`` gives of each, with the errors noted: one missing task or model does not stop the others."""
    for each in asked:
        try:
            thing = get(each)
        except (DataError, UsageError, WeightsError, Absent) as error:
            errors.append((each, error))
        else:
            yield thing


def _model(request: Request, card: Card) -> Model:
    at = card.at(request.options.resolution)
    return Model(at, weights.identity(at), origin_module.origin(at, fetch=True))


def _images(request: Request, task: Task) -> tuple[Task, TaskData]:
    options = request.options
    images = data.load(task, options.data_dir)
    if options.subset and not at_least(images.subset, options.subset):  # as splits that were drawn here
        raise DataError(f"task {task.name!r}: its images are {images.subset}, {options.subset} is asked for (--subset)")
    return task, images.limited(options.limit)


def _run(request: Request, model: Model, task: Task, images: TaskData, variant: Variant) -> Run:
    # Without a network nothing is rounded, and training in fp16 would need scaled gradients.
    exact = model.card.architecture is None or (request.precision == "fp16" and variant.protocol.trains)
    return Run(
        model=model.card.name,
        weights=model.identity,
        preprocessing=model.card.preprocessing.for_task(task.resize),
        task=task.name,
        task_version=task.version,
        data=images.fingerprint,
        subset=images.subset,
        limit=request.options.limit,
        metric=task.metric,
        metric_version=metrics.get(task.metric).version,
        protocol=variant.name,
        protocol_version=variant.protocol.version,
        config=variant.config.model_dump(mode="json"),
        seed=variant.seed,
        precision="fp32" if exact else request.precision,
    )


def _is_wanted(before: State, options: Options) -> bool:
    if options.fresh or options.overwrite == "always":
        return True
    return not before.record and (options.overwrite == "failed" or not before.failure)
