"""The function that looks for what is wrong with a task's images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mixer_bench.runs.options import IMAGES, Options
from mixer_bench.system import config_file, network
from mixer_bench.system.options import documented
from mixer_bench.system.progress import quiet

if TYPE_CHECKING:
    from collections.abc import Callable

    from mixer_bench.audit.values import Audit
    from mixer_bench.system.progress import ProgressLog

HOW = ("limit", "resolution", "device", "precision", "batch_size", "offline", "fresh")
ASKED = ("task", "model", *IMAGES, "import_files", *HOW)


@documented(Options, *ASKED)
def audit(task: str, model: str, **options: Any) -> Audit:
    """Look for wrong labels, copies and classes that are mixed up among all images of a task, train, val and test.

    Args:
        task: a folder of class folders, a list, or a task's name.
        model: the name of the model whose features are looked at: the better, the more is found.
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
        return audited(asked, quiet)


def audited(options: Options, log: Callable[[float], ProgressLog]) -> Audit:
    """Audit what ``options`` name; ``log`` makes what shows the progress."""
    from mixer_bench.audit import audit as auditing
    from mixer_bench.runs.request import request

    network.allow(not options.offline)
    return auditing.audit(request(options.model_copy(update={"protocol": ("knn",)})), log)
