"""Functions that look closer: at a task's images, and at a record class by class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mixer_bench.api.results import Place, place
from mixer_bench.errors import UsageError
from mixer_bench.models import names
from mixer_bench.runs.options import IMAGES, Options
from mixer_bench.system import config_file, files, network
from mixer_bench.system.options import documented
from mixer_bench.system.paths import expanded
from mixer_bench.system.progress import quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mixer_bench.audit.preprocessing import Audit as PreparationAudit
    from mixer_bench.audit.values import Audit
    from mixer_bench.results.by_class import PerClass
    from mixer_bench.system.progress import ProgressLog

HOW = ("limit", "resolution", "device", "precision", "batch_size", "offline", "fresh")
ASKED = ("task", "model", *IMAGES, "import_files", *HOW)
# Options of ``audit_preprocessing``, and what those are that nobody names.
PREPARED = (
    *("task", "model", "protocol", "shots", "seeds", "limit", "settings", "device", "precision", "subset", "offline"),
    *(*IMAGES, "import_files"),
)
UNSAID = {"protocol": ("knn",), "limit": 1000}


@documented(Options, *ASKED)
def audit(task: str, model: str, thumbnails: Place | None = None, **options: Any) -> Audit:
    """Look for wrong labels, copies and classes that are mixed up among all images of a task, train, val and test.

    Args:
        task: a folder of class folders, a list, or a task's name.
        model: the name of the model whose features are looked at: the better, the more is found.
        thumbnails: an HTML file to write that shows the images; None: none is written.
        **options:

    Returns:
        ``suspects``, images whose labels look wrong, with the probability that they are; ``wrong`` and ``wrong_ci95``,
        how many labels are wrong; ``twins``, images that are there more than once; ``mixed``, pairs of classes. All
        shares, probabilities and cosines are in [0, 1].

    Raises:
        DataError: there is one class only, or none has two images.
        MixerBenchError: the task or the model cannot be had.
    """
    asked, _ = config_file.resolved(Options, {"task": task, "model": model, **options})
    with network.as_before():
        return audited(asked, quiet, thumbnails)


def audited(options: Options, log: Callable[[float], ProgressLog], thumbnails: Place | None) -> Audit:
    """Audit what ``options`` name; ``log`` makes what shows the progress."""
    from mixer_bench.audit import audit as auditing
    from mixer_bench.audit import text
    from mixer_bench.runs.request import request

    network.allow(not options.offline)
    done, data = auditing.audit(request(options.model_copy(update={"protocol": ("knn",)})), log)
    if thumbnails is not None:
        files.deliver(expanded(thumbnails), text.page(done, data))
    return done


@documented(Options, *PREPARED)
def audit_preprocessing(task: str, model: str, figure: Place | None = None, **options: Any) -> PreparationAudit:
    """Measure what another normalisation, crop, filter, size, orientation or decoding of images costs a model.

    By a protocol that trains no network (default: knn), on 1,000 images a split unless ``limit`` says otherwise.

    Args:
        task: one task, as ``run`` takes it.
        model: one model.
        figure: a file to draw the differences in, .svg or .png; None: none is drawn.
        **options:

    Returns:
        ``prices``, an entry each way, the card's own first: ``accuracy``, its ``difference`` from the card's own and
        the interval ``ci95``, paired by test image; all are shares, not points.

    Raises:
        UsageError: several tasks, models or protocols, a protocol that trains the network, or another kind of figure.
        MixerBenchError: the task or the model cannot be had.
    """
    with network.as_before():
        return preprocessing_audited({"task": task, "model": model, **options}, quiet, figure)


def preprocessing_audited(
    named: Mapping[str, Any], log: Callable[[float], ProgressLog], figure: Place | None
) -> PreparationAudit:
    """Measure what other preparations cost on what options ``named`` say; ``log`` makes what shows the progress."""
    from mixer_bench.audit import preprocessing, prices
    from mixer_bench.report.figures.draw import rendered
    from mixer_bench.runs.request import request

    drawn = None if figure is None else expanded(figure)
    if drawn is not None and drawn.suffix not in (".svg", ".png"):
        raise UsageError(f"--figure {drawn}: must end in .svg or .png")
    said = {name: value for name, value in named.items() if value is not None}
    options, _ = config_file.resolved(Options, {**UNSAID, **said})
    network.allow(not options.offline)
    done = preprocessing.audit(request(options), log)
    if drawn is not None:
        kind = drawn.suffix[1:]
        with files.delivering(drawn) as file:
            file.write(rendered(prices.plot(done), [kind])[kind])
    return done


@documented(Options, "include", "import_files", "data_dir", "image", "label")
def per_class(record: Place, results: Place | None = None, task: str | None = None, **options: Any) -> PerClass:
    """Return what a record's predictions say class by class, and the images that were most surely taken for others.

    Args:
        record: a record's file, or the start of its key.
        results: results folder; None: MIXER_BENCH_RESULTS, else ``results``.
        task: where images of your own lie: a folder, a list, hf:owner/name.
        **options:

    Returns:
        ``classes`` with accuracies in [0, 1] and Wilson's 95 % intervals, ``confusion[label][prediction]`` in images,
        ``wrong``, the surest first, and ``reliability``, bins of confidence where scores are probabilities. Names of
        classes and images are those of the task where its images are here, and numbers elsewhere.

    Raises:
        ResultsError: there is no such record, or several, or its predictions are missing or damaged.
    """
    from mixer_bench.runs import explain
    from mixer_bench.runs import per_class as by_class
    from mixer_bench.runs.request import tasks_of

    asked, _ = config_file.resolved(Options, {"task": task, **options})
    names.import_files(asked.import_files)
    tasks = tasks_of(asked)
    with network.as_before():
        network.allow(False)
        file = explain.find(f"{record}", place(results))
        return by_class.per_class(file, tasks[0] if tasks else None, asked.data_dir, asked.include)[0]
