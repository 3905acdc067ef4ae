"""Which models are compared, how long an image takes each, and which are too slow or too large to be of use."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mixer_bench.errors import MixerBenchError, UsageError, WeightsError
from mixer_bench.models import weights, zoo
from mixer_bench.models.card import Card
from mixer_bench.models.device import device_name
from mixer_bench.profile import profile
from mixer_bench.profile.speed import Effort
from mixer_bench.results.profiles import Profile
from mixer_bench.results.store import Store
from mixer_bench.system import network
from mixer_bench.system.machine import Precision
from mixer_bench.system.progress import ProgressLog

BATCHES = (1, 16)  # the second is near the fastest on most devices
EFFORT = Effort(warmup=1, repeats=3, latency_repeats=(10, 50), latency_seconds=1.0)


class Speed(NamedTuple):
    """What an image costs in use."""

    latency_ms: float | None = None  # median of batch 1; None: no network
    memory: int | None = None  # bytes at batch 1, weights included; None: no network, or not known

    def unfit(self, latency_ms: float | None, memory: int | None) -> str:
        """Return which limit it exceeds, in words; nothing where it keeps both."""
        if latency_ms is not None and self.latency_ms is not None and self.latency_ms > latency_ms:
            return f"{self.latency_ms:.3g} ms an image, at most {latency_ms:g} were asked for"
        if memory is not None and self.memory is not None and self.memory > memory:
            return f"{self.memory / 1e6:,.0f} MB, at most {memory / 1e6:,.0f} were asked for"
        return ""


def here() -> tuple[list[str], list[str]]:
    """Return the zoo's models whose weights are on this machine, ``pixels`` too, and those that could be fetched."""
    there, absent = [], []
    with network.unused():
        for name, card in zoo.cards().items():
            try:
                weights.place(card)
            except (UsageError, WeightsError):
                absent += [name] if card.weights.startswith(("hf-hub:", "https:")) else []
            else:
                there.append(name)
    return there, absent


def speeds(
    cards: Sequence[Card],
    device: str,
    precision: Precision,
    store: Store,
    log: Callable[[float], ProgressLog],
) -> tuple[dict[str, Speed], list[str]]:
    """Return each card's speed in the precision that accuracy is measured in, and what went wrong, in words.

    What was profiled here before is not measured again; what is measured is kept as a profile.

    Raises:
        ResultsError: profiles cannot be written.
    """
    where = dataclasses.replace(profile.machine(device, precision), effort=EFFORT)
    networks = {card.name: card.network for card in cards if card.network is not None}
    jobs = {
        card.network.digest: profile.Job(card.name, card.network, "native", card.preprocessing.resolution)
        for card in cards
        if card.network is not None
    }
    known = _known(where, store)
    outcome = profile.Outcome()
    missing = [job for digest, job in jobs.items() if (digest, job.resolution) not in known]
    if missing:
        with log(len(missing)) as shown:
            profile.execute(missing, where, BATCHES, store.folder, shown, outcome)
    known |= {(each.network, each.resolution): each for each in outcome.profiles}
    found = {name: known.get((net.digest, jobs[net.digest].resolution)) for name, net in networks.items()}
    return {card.name: _speed(found.get(card.name)) for card in cards}, [*map(str, outcome.unavailable)]


def _known(where: profile.Machine, store: Store) -> dict[tuple[str, int], Profile]:
    """Return the profiles made on this device in this precision, by network and side."""
    import torch

    name, threads = device_name(where.device), torch.get_num_threads()
    return {
        (each.network, each.resolution): each
        for each in store.profiles()[0]
        if (each.device_name, each.precision, each.compiled) == (name, where.precision, False)
        and (where.device.type != "cpu" or each.threads == threads)
    }


def _speed(measured: Profile | None) -> Speed:
    if measured is None:
        return Speed()
    single = [batch.peak_memory for batch in measured.sweep if batch.batch == 1]
    return Speed(measured.latency_ms.median, single[0] if single else None)


def none_fits(speeds_by_name: Mapping[str, Speed], reasons: Mapping[str, str]) -> MixerBenchError:
    """Return the error for limits that no model keeps: it names the fastest, the smallest and what they need."""
    timed = {name: speed for name, speed in speeds_by_name.items() if speed.latency_ms is not None}
    fastest = min(timed, key=lambda name: timed[name].latency_ms or 0.0)
    return MixerBenchError(
        f"no model fits: the fastest is {fastest}, {reasons[fastest]}; "
        "allow more (--latency, --memory), or name smaller models (--model)"
    )
