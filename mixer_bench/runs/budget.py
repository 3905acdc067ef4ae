"""A request that is to end within a time: what it is trimmed of, in which order, and what records say of that."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence

from mixer_bench.errors import UsageError
from mixer_bench.results.store import Store
from mixer_bench.runs import plan
from mixer_bench.runs.forecast import Forecast, forecast
from mixer_bench.runs.options import Options, seconds_of
from mixer_bench.runs.request import Request, request
from mixer_bench.runs.variants import rates_of, variants_of
from mixer_bench.system import network
from mixer_bench.system.progress import duration


def trimmed(options: Options, workers: int = 1) -> tuple[Options, Forecast]:
    """Return options whose predicted time on ``workers`` devices is within their budget, and the forecast for them.

    What does not fit has fewer seeds, down to one; then fewer rates for each training, down to one, which needs no
    search; then fewer shots, the largest numbers first. The budget of what is returned says what was trimmed: records
    note it.

    Raises:
        UsageError: even the least does not fit.
        MixerBenchError: the request is wrong.
    """
    from mixer_bench.runs.speeds import Speeds
    from mixer_bench.training import launch

    asked, store = request(options), Store(options.output_dir)
    most = seconds_of(options.budget or "")
    known = dict[int, Forecast]()
    with network.unused():
        gathered = plan.gather(asked)
        speeds = Speeds(launch.device(options.device), store, options.compile)
        ways = _ways(asked, gathered)

        def seconds(way: int) -> float:
            if way not in known:
                known[way] = forecast(dataclasses.replace(asked, options=ways[way]), store, speeds, gathered)
            return known[way].seconds / workers

        fits = bisect.bisect_left(range(len(ways)), True, key=lambda way: seconds(way) <= most)
    if fits == len(ways):
        raise UsageError(
            f"--budget {options.budget}: even {_words(options, ways[-1]) or 'all of it'} takes about "
            f"{duration(seconds(fits - 1))} on {speeds.name}; name fewer tasks or models, or another --preset"
        )
    words = _words(options, ways[fits])
    text = f"{options.budget}: {words}" if words else options.budget
    time = f"about {duration(seconds(fits))} on {speeds.name}"
    told = dataclasses.replace(known[fits], remarks=(f"budget {text}; {time}", *known[fits].remarks))
    return ways[fits].model_copy(update={"budget": text}), told


def _ways(asked: Request, gathered: plan.Gathered) -> Sequence[Options]:
    """Return the options as they are, and then trimmed more and more."""
    tasks = [(task, len(images.train) + len(images.val)) for task, images in gathered.images]
    every = [variant for task, examples in tasks for variant in variants_of(asked, task, examples)]
    ways = [asked.options]
    if any(variant.protocol.seeded for variant in every):
        ways += [asked.options.model_copy(update={"seeds": seeds}) for seeds in range(asked.options.seeds - 1, 0, -1)]
    grids = [len(rates) for variant in every if (rates := rates_of(variant.config))]
    ways += [ways[-1].model_copy(update={"rates": rates}) for rates in range(max(grids, default=1) - 1, 0, -1)]
    shots = sorted({count for variant in every for count in [variant.config.model_dump().get("shots")] if count})
    ways += [ways[-1].model_copy(update={"shots": tuple(shots[:count])}) for count in range(len(shots) - 1, 0, -1)]
    return ways


def _words(before: Options, after: Options) -> str:
    """Return what was trimmed."""
    told = [f"{after.seeds} of {before.seeds} seeds"] if after.seeds != before.seeds else []
    told += [f"at most {after.rates} rates a search"] if after.rates != before.rates else []
    told += [f"shots {', '.join(map(str, after.shots))} alone"] if after.shots != before.shots else []
    return ", ".join(told)
