"""Functions that measure, and those that get things ready for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mixer_bench.api.reporting import as_rows
from mixer_bench.api.results import place
from mixer_bench.errors import MixerBenchError, UsageError
from mixer_bench.executors import driver
from mixer_bench.models import names
from mixer_bench.profile.options import Options as ProfileOptions
from mixer_bench.results.store import read_record
from mixer_bench.runs.options import IMAGES, Options
from mixer_bench.system import config_file, network
from mixer_bench.system.options import documented
from mixer_bench.system.progress import unheard

if TYPE_CHECKING:
    import pandas

    from mixer_bench.data.doctor import Finding
    from mixer_bench.profile.profile import Outcome as Profiled
    from mixer_bench.results.profiles import Profile
    from mixer_bench.runs.checkup import Checkup
    from mixer_bench.runs.explain import Explained
    from mixer_bench.runs.forecast import Forecast
    from mixer_bench.runs.prepare import Preparation

Texts = str | Sequence[str]


@documented(Options)
def run(task: Texts, model: Texts, protocol: Texts | None = None, **options: Any) -> pandas.DataFrame:
    """Measure models on tasks, as ``mixer-bench run`` does, and return the rows of these very runs.

    What is there already is not computed again. An argument that is None is left to the environment or its default.
    ``forecast`` takes the same and says beforehand how long that will be.

    Args:
        task: names, groups, globs, folders, lists: text with commas, or a sequence.
        model: names, likewise.
        protocol: names, likewise; None: few-shot and fine-tuning.
        **options:

    Returns:
        One row a run and metric, with the columns of ``load_results``; values and intervals are in [0, 1].

    Raises:
        MixerBenchError: an unknown name, missing data or weights, or a run that failed; says which and what to do.
    """
    asked, _ = config_file.resolved(Options, {"task": task, "model": model, "protocol": protocol, **options})
    if asked.gpus_per_run > 1:
        raise UsageError("gpus_per_run: several processes are started by the command line or by torchrun")
    with network.as_before():
        done = driver.run(asked, quiet=True)
    if done.exit_code:
        failed = [f"failed: {file}" for file in done.failed]
        raise MixerBenchError("; ".join([*done.unavailable, *done.errors, *failed]))
    return as_rows([read_record(Path(file)) for file in done.records], [str(asked.output_dir)] * len(done.records))


@documented(Options)
def forecast(task: Texts, model: Texts, protocol: Texts | None = None, **options: Any) -> Forecast:
    """Tell what ``run`` of the same would do, how long it takes here and what must be fetched; ``run --dry-run``.

    Args:
        task: as in ``run``.
        model: as in ``run``.
        protocol: as in ``run``.
        **options:

    Returns:
        ``asked`` and ``missing`` runs, ``seconds`` of those whose time is known, ``pieces``, one a model and task,
        ``fetched``, what is to be fetched with its bytes, and ``unavailable``, the errors of what nobody can fetch.

    Raises:
        MixerBenchError: the request is wrong, or nothing of it fits into its budget.
    """
    asked, _ = config_file.resolved(Options, {"task": task, "model": model, "protocol": protocol, **options})
    with network.as_before():
        return driver.foretell(asked, quiet=True)


@documented(ProfileOptions)
def profile(model: Texts, **options: Any) -> list[Profile]:
    """Measure throughput, latency, memory and FLOPs of models on this machine; weights are not needed, nor fetched.

    Args:
        model: names, as ``run`` takes them.
        **options:

    Returns:
        A profile a network and resolution, as kept in the results folder: images a second, milliseconds, bytes.

    Raises:
        MixerBenchError: an unknown model, or one that cannot be measured here; what could be is in the results folder.
    """
    asked, _ = config_file.resolved(ProfileOptions, {"model": model, **options})
    done = profiled(asked, quiet=True)
    if done.unavailable:
        raise MixerBenchError("; ".join(map(str, done.unavailable)))
    return done.profiles


def profiled(options: ProfileOptions, quiet: bool) -> Profiled:
    """Measure what ``options`` name; what cannot be measured is in the outcome. ``quiet``: no progress."""
    from mixer_bench.profile import profile as profiling
    from mixer_bench.results.store import Store
    from mixer_bench.system.progress import ProgressLog

    if not options.model:
        raise UsageError("--model: name a model")
    names.import_files(options.import_files)
    jobs, outcome = profiling.jobs(options.model, options.resolution)
    if jobs:
        Store(options.output_dir).check_writable()
        machine = profiling.machine(options.device, options.precision, options.compile)
        with ProgressLog(len(jobs), quiet=quiet) as log:
            profiling.execute(jobs, machine, options.batch_sizes or None, options.output_dir, log, outcome)
    return outcome


@documented(Options, *IMAGES, "import_files")
def prepare(task: Texts | None = None, model: Texts | None = None, **options: Any) -> Preparation:
    """Fetch and check images and weights ahead; ``run(..., offline=True)`` then needs no network.

    Broken off, it goes on. Where nothing official is at hand the makers' archives are fetched into the data folder.

    Args:
        task: names, groups, globs, folders, lists; None: only models.
        model: names; None: only tasks.
        **options:

    Returns:
        ``manifests``, the list of each task's images by name, and ``models``, those that are whole.

    Raises:
        MixerBenchError: one of them cannot be had or is damaged; the others are prepared.
    """
    asked, _ = config_file.resolved(Options, {"task": task, "model": model, **options})
    with network.as_before():
        done = prepared(asked, unheard, quiet=True)
    if done.unavailable:
        raise MixerBenchError("; ".join(map(str, done.unavailable)))
    return done


def prepared(options: Options, say: Callable[[str], None], quiet: bool) -> Preparation:
    """Prepare what ``options`` name; ``say`` is told of each, what cannot be had is in what is returned."""
    from mixer_bench.runs import prepare as preparing
    from mixer_bench.runs.request import tasks_of

    if not (options.task or options.model):
        raise UsageError("name what is to be prepared: --task, --model or both")
    names.import_files(options.import_files)
    done = preparing.Preparation(options.data_dir, say, quiet=quiet)
    done.prepare_tasks(tasks_of(options) if options.task else [], download=options.source)
    done.prepare_models(options.model)
    return done


class Examined(NamedTuple):
    """What is here and right: images by their sources, or models by their own classifiers."""

    findings: Sequence[Finding]  # one a task and source
    notes: Sequence[str]
    checkups: Sequence[Checkup]  # one a model


@documented(Options, *IMAGES, "import_files", "device")
def doctor(
    task: Texts | None = None, model: Texts | None = None, cross_check: bool = False, **options: Any
) -> Examined:
    """Look which sources of tasks are here, and whether they are what the task files say. Fetches nothing.

    With ``model`` models are judged by their own classifiers instead, on a folder ``task`` of class folders called by
    WordNet's numbers (n01440764) or by outputs (0 to 999): a few hundred of ImageNet's images, or fewer.

    Args:
        task: names, groups, globs; None: all.
        model: names; None: images are looked at.
        cross_check: compare all images of VTAB's slices where two sources of them are here.
        **options:

    Raises:
        MixerBenchError: an unknown task or model, or a model without a classifier of ImageNet's classes.
    """
    from mixer_bench.data import doctor as examining
    from mixer_bench.runs.request import tasks_of

    asked, _ = config_file.resolved(Options, {"task": task or (None if model else "*"), "model": model, **options})
    names.import_files(asked.import_files)
    if asked.model:
        return Examined((), (), _checked_up(asked))
    with network.as_before():
        network.allow(False)
        tasks = tasks_of(asked)
        findings = examining.examine(tasks, asked.data_dir, cross_check)
        return Examined(findings, examining.whole_vtab(tasks, asked.data_dir), ())


def _checked_up(options: Options) -> list[Checkup]:
    from mixer_bench.runs import checkup
    from mixer_bench.system.paths import expanded

    if len(options.task) != 1:
        raise UsageError("--model M goes with one folder of images of known classes: --task ./FOLDER")
    return [checkup.examine(model, expanded(options.task[0]), options.device) for model in options.model]


@documented(Options, "include", "import_files", "data_dir", "image", "label")
def explain(
    record: str | Path, results: str | Path | None = None, task: str | None = None, **options: Any
) -> Explained:
    """Tell whether a stored record is what would be measured today, and if not, what has changed.

    Args:
        record: a record's file, or the start of its key.
        results: results folder; None: MIXER_BENCH_RESULTS, else ``results``.
        task: where images of your own lie: a folder, a list, hf:owner/name.
        **options:

    Returns:
        ``text`` for people, and ``current``: whether this code would give the record.

    Raises:
        ResultsError: there is no such record, or several.
        MixerBenchError: its task, model or protocol is not here any more.
    """
    from mixer_bench.runs import explain as explaining
    from mixer_bench.runs.request import tasks_of

    asked, _ = config_file.resolved(Options, {"task": task, **options})
    names.import_files(asked.import_files)
    return explaining.explain(explaining.find(f"{record}", place(results)), tasks_of(asked), asked)
