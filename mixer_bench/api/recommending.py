"""The function that says which backbone to take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mixer_bench.recommend.options import ASKED, Options
from mixer_bench.system import config_file, network
from mixer_bench.system.options import documented
from mixer_bench.system.progress import quiet, unheard

if TYPE_CHECKING:
    from mixer_bench.recommend.values import Recommendation


@documented(Options, *ASKED)
def recommend(task: str, model: str | Sequence[str] | None = None, **options: Any) -> Recommendation:
    """Return which backbone to take for images, as ``mixer-bench recommend`` does.

    The runs that it stands on are kept as any others are: the same call again computes nothing.

    Args:
        task: a folder of class folders, or a task's name.
        model: names: text with commas, or a sequence; None: those of the package and those whose weights are here.
        **options:

    Returns:
        Its ``candidates`` begin with the winner; accuracies and their intervals are in [0, 1], times in seconds or, of
        an image, in milliseconds, memory in bytes.

    Raises:
        DataError: lists all that is wrong with the images.
        MixerBenchError: an unknown name, or no model keeps the limits.
    """
    from mixer_bench.recommend.recommend import recommend as recommended

    asked, _ = config_file.resolved(Options, {"task": task, "model": model, **options})
    with network.as_before():
        return recommended(asked, unheard, quiet)
