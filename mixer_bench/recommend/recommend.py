"""From a folder of images to the backbone to take, kept beside the records that it stands on."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence

from mixer_bench.data.readers.sound import refuse
from mixer_bench.errors import ResultsError, UsageError
from mixer_bench.models import names
from mixer_bench.recommend import candidates, inspection
from mixer_bench.recommend.costs import Clock
from mixer_bench.recommend.options import Options
from mixer_bench.recommend.values import Recommendation
from mixer_bench.recommend.work import PROTOCOL, Work
from mixer_bench.results.store import Store
from mixer_bench.runs import plan
from mixer_bench.runs.options import seconds_of
from mixer_bench.runs.plan import Gathered
from mixer_bench.runs.request import Request, request
from mixer_bench.system import code, files, network, paths
from mixer_bench.system.progress import ProgressLog
from mixer_bench.system.schema import CANONICAL, read_file, sealed_text
from mixer_bench.task.task import Task

Log = Callable[[float], ProgressLog]


def recommend(options: Options, tell: Callable[[str], object], log: Log) -> Recommendation:
    """Return which of the candidates to take for a task, and keep that beside the records that it stands on.

    Candidates are compared on growing parts of train and val by linear probes, each on images that it was not fitted
    on; the winner and those that cannot be told from it are then measured on test, once, as any run is.

    Args:
        options: of one task.
        tell: told what a person should know meanwhile.
        log: makes what shows the progress of so many units.

    Raises:
        DataError: lists all that is wrong with the images.
        UsageError: an unknown name, or not one task.
        MixerBenchError: no candidate keeps the limits, or none could be measured.
    """
    clock = Clock(seconds_of(options.budget))
    network.allow(not options.offline)
    names.import_files(options.import_files)
    options, remarks = _inspected(options)
    store = Store(options.output_dir)
    store.check_writable()
    asked_for, more = (list(options.model), []) if options.model else candidates.here()
    typed = _typed(asked_for)
    asked = request(options.run(model=[*typed.values()], protocol=(PROTOCOL,)))
    if len(asked.tasks) > 1:
        named = ", ".join(task.name for task in asked.tasks)
        raise UsageError(f"recommend takes one task; {options.task[0]} stands for {named}")
    gathered = plan.gather(asked)
    for thing, error in gathered.unavailable:
        if isinstance(thing, Task):
            raise error
    if not len(gathered.images[0][1].train):
        raise UsageError(f"{asked.tasks[0].name}: has test alone, nothing that a probe could learn from")
    place = store.folder / "recommendations" / f"{_key(options, asked, gathered)}.json"
    with contextlib.suppress(ResultsError):  # not there yet, or damaged: it is made again
        kept = read_file(place, Recommendation, "recommendation", "run again")
        there = {file.stem.rpartition("-")[2] for file in (store.folder / "runs").rglob("*.json")}
        if {each.record for each in kept.candidates if each.record} <= there:
            return kept
    made = Work(options, typed, asked, gathered, store, clock, tell, log).done()
    made = made.model_copy(update={"remarks": (*remarks, *made.remarks), "more": tuple(more)})
    files.write(place, sealed_text(made))
    return made


def _typed(asked_for: Sequence[str]) -> dict[str, str]:
    """Return models as they were asked for, by their names; UsageError where two have one name."""
    typed: dict[str, str] = {}
    for model in names.matching(asked_for):
        card = names.card(model)
        other = typed.setdefault(card.name, model)
        if names.card(other).weights != card.weights:
            raise UsageError(f"{other} and {model} are both called {card.name}; call one otherwise: &name=NAME")
    return typed


def _inspected(options: Options) -> tuple[Options, tuple[str, ...]]:
    """Return options whose task is spelled as a run does it, and what a person should know of a folder of images."""
    if len(options.task) != 1:
        raise UsageError("recommend takes one folder of images, or one task")
    place = paths.expanded(options.task[0])
    if not place.is_dir():
        return options, ()
    told = inspection.inspect(place, skip_bad=options.skip_bad, follow_links=options.follow_links)
    left_out = "images that cannot be decoded or are in two splits are left out with --skip-bad"
    refuse(told.problems, left_out if told.avoidable else "")
    named = options.task[0] if paths.separated(options.task[0]) or options.task[0].startswith(".") else f"./{place}"
    return options.model_copy(update={"task": (named,)}), told.remarks


def _key(options: Options, asked: Request, gathered: Gathered) -> str:
    """Return the hash of all that decides what is recommended, but for how busy the machine is."""
    told = options.model_dump(mode="json", include={"budget", "latency", "memory", "shots", "device"})
    models = sorted((model.card.name, model.identity) for model in gathered.models)
    data = gathered.images[0][1].fingerprint
    made_with = {**code.installed(PROTOCOL), "recommend": code.digests()["recommend"]}
    values = [told, asked.precision, models, data, made_with]
    return hashlib.sha256(CANONICAL.encode(values).encode()).hexdigest()[:16]
