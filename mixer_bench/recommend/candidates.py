"""Which models are compared, how long an image takes each, and which are too slow or too large to be of use."""

from __future__ import annotations

import dataclasses
import itertools
import math
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
EFFORT = Effort(warmup=1, repeats=3, latency_repeats=(10, 50), latency_seconds=1.0, product_seconds=0.01)


class Speed(NamedTuple):
    """What an image costs in use."""

    latency_ms: float | None = None  # median of batch 1; None: no network
    memory: int | None = None  # bytes at batch 1, weights included; None: no network, or not known

    def unfit(self, latency_ms: float | None, memory: int | None) -> str:
        """Return which limit a network exceeds, in words; nothing where it keeps both."""
        if latency_ms is not None and not (self.latency_ms or math.inf) <= latency_ms:
            told = "time not known" if self.latency_ms is None else f"{self.latency_ms:.3g} ms"
            return f"{told} an image, at most {latency_ms:g} ms were asked for"
        if memory is not None and not (self.memory or math.inf) <= memory:
            told = "memory not known" if self.memory is None else f"{self.memory / 1e6:,.0f} MB"
            return f"{told}, at most {memory / 1e6:,.0f} MB were asked for"
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
    in_time: Callable[[], bool],
    log: Callable[[float], ProgressLog],
) -> tuple[dict[str, Speed], list[str]]:
    """Return each card's speed in the precision that accuracy is measured in, and what went wrong, in words.

    What was profiled here before is not measured again; what is measured is kept as a profile. Cards that share a
    network share its speed.

    Args:
        cards: with or without a network.
        device: its name.
        precision: that accuracy is measured in.
        store: keeps profiles.
        in_time: whether there is time to profile another.
        log: makes what shows the progress of so many profiles.

    Raises:
        ResultsError: profiles cannot be written.
    """
    where = dataclasses.replace(profile.machine(device, precision), effort=EFFORT)
    side = {card.name: card.preprocessing.resolution for card in cards}
    networks = {card.name: card.network for card in cards if card.network is not None}
    jobs = {(net.digest, side[name]): profile.Job(name, net, "native", side[name]) for name, net in networks.items()}
    known, outcome = _known(where, store), profile.Outcome()
    missing = [job for key, job in jobs.items() if key not in known]
    if missing:
        with log(len(missing)) as shown:
            for job in itertools.takewhile(lambda _: in_time(), missing):
                profile.execute([job], where, BATCHES, store.folder, shown, outcome)
    known |= {(each.network, each.resolution): each for each in outcome.profiles}
    of_name = {name: known.get((net.digest, side[name])) for name, net in networks.items()}
    return {card.name: _speed(of_name.get(card.name)) for card in cards}, [*map(str, outcome.unavailable)]


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
