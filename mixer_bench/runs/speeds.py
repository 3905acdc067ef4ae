"""How fast this machine is at what runs are made of: networks, images, and the arithmetic of probes."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mixer_bench.data.decoding import pool
from mixer_bench.data.examples import Examples
from mixer_bench.models import names, networks
from mixer_bench.models.backbone import Backbone, normalise_
from mixer_bench.models.card import Card
from mixer_bench.models.device import autocast, device_name, exact_fp32, is_out_of_memory, placed
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.profile.speed import seconds
from mixer_bench.results.store import Store
from mixer_bench.runs import cost
from mixer_bench.runs.machine import CPU_BATCH_SIZE, GPU_BATCH_SIZE
from mixer_bench.system import machine
from mixer_bench.system.machine import Precision

BATCHES = 10  # of random images, by which a network is measured
LONGEST = 1.5  # seconds that these may take, where an image takes no longer
PATIENCE = 30.0  # seconds in all, after which further networks go by their FLOPs
IMAGES = 32  # of a task, whose preparing is measured
SIDE = 512  # of the matrices whose product is measured
USUAL = "mixer_nano"  # measured where no network that was asked for can be
PROFILE = "measured by profile"


class Measured(NamedTuple):
    """Seconds of an image in a network, and how they are known."""

    seconds: float
    how: str
    flops: int = 0
    name: str = ""  # of the card that was measured; empty: none was


class Speeds:
    """Speeds of one device, each measured when it is first asked for."""

    def __init__(self, device: torch.device, store: Store, compiled: bool = False) -> None:
        """Look for profiles of ``device`` in ``store``, of networks that are ``compiled`` or of eager ones."""
        self._device, self._compiled = device, compiled
        here = (device_name(device), torch.get_num_threads())
        self._profiles = {
            (profile.network, profile.resolution, profile.precision): 1 / profile.throughput
            for profile in store.profiles()[0]
            if (profile.device_name, profile.threads if device.type == "cpu" else here[1]) == here
            and profile.compiled == compiled
        }
        self._networks: dict[tuple[str, int, Precision, bool], Measured] = {}
        self._prepared: dict[tuple[str, str], float] = {}
        self._left = PATIENCE

    @property
    def name(self) -> str:
        """The device in words."""
        name = device_name(self._device)
        return name if self.overlaps else machine.with_threads(name, torch.get_num_threads())

    @property
    def overlaps(self) -> bool:
        """Whether images are prepared while the device works."""
        return self._device.type != "cpu"

    def image(self, card: Card, precision: Precision, trains: bool) -> Measured:
        """Return the seconds an image takes to go forward through a card's network, or forward and backward.

        Raises:
            UsageError: the network cannot be built.
        """
        assert card.network is not None
        flops = cost.counted(card).flops
        key = (card.network.digest, card.preprocessing.resolution, precision, trains)
        if not trains and key[:3] in self._profiles:
            return Measured(self._profiles[key[:3]], PROFILE)
        if key not in self._networks:
            timed = self._calibrated(card, precision, trains) if self._left > 0 else None
            self._networks[key] = timed or self._by_flops(flops, precision, trains)
        return self._networks[key]

    def _by_flops(self, flops: int, precision: Precision, trains: bool) -> Measured:
        """Return what a network takes that is as fast for its FLOPs as the measured one that is most like it."""
        alike = [timed for key, timed in self._networks.items() if key[2:] == (precision, trains) and timed.name]
        usual = alike or [self._timed(names.card(USUAL), precision, trains)]
        nearest = min(usual, key=lambda timed: abs(math.log(timed.flops / flops)))
        return Measured(nearest.seconds * flops / nearest.flops, f"by FLOPs from {nearest.name}'s speed", flops)

    def _calibrated(self, card: Card, precision: Precision, trains: bool) -> Measured | None:
        """Measure a network; None where it does not fit into memory."""
        start = time.perf_counter()
        try:
            return self._timed(card, precision, trains)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None
        finally:
            self._left -= time.perf_counter() - start

    @exact_fp32()
    def _timed(self, card: Card, precision: Precision, trains: bool) -> Measured:
        """Time batches of random images, after one of a single image that says how many fit into the time."""
        work = self._training(card, precision) if trains else self._extraction(card, precision)
        work(1)
        once = seconds(self._device, partial(work, 1))
        most = GPU_BATCH_SIZE if self.overlaps else CPU_BATCH_SIZE
        batch = max(1, min(most, int(LONGEST / BATCHES / once)))
        count = max(1, min(BATCHES, int(LONGEST / once)))
        work(batch)
        times = [seconds(self._device, partial(work, batch)) for _ in range(count)]
        # Compiling takes longer than all batches: a plan of compiled networks without profiles is one of eager ones.
        how = f"by {count} {'batch' if count == 1 else 'batches'} here{', eager' if self._compiled else ''}"
        return Measured(statistics.median(times) / batch, how, cost.counted(card).flops, card.name)

    def _extraction(self, card: Card, precision: Precision) -> Callable[[int], object]:
        assert card.network is not None
        body = networks.headless(networks.build(card.network, 1))
        backbone = Backbone(body, card.preprocessing, self._device, precision)
        backbone.deviation = 0.0  # the comparison with fp32 is made once
        side = card.preprocessing.resolution
        squares = np.random.default_rng(0).integers(0, 256, (GPU_BATCH_SIZE, side, side, 3), dtype=np.uint8)
        return lambda count: backbone.features(squares[:count])

    def _training(self, card: Card, precision: Precision) -> Callable[[int], object]:
        assert card.network is not None
        network = placed(networks.build(card.network, 2), self._device).train()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.0, momentum=0.9, fused=True)
        side = card.preprocessing.resolution

        def step(count: int) -> None:
            pixels = torch.full((count, side, side, 3), 128, dtype=torch.uint8, device=self._device)
            images = normalise_(pixels.permute(0, 3, 1, 2).float(), card.preprocessing)
            optimizer.zero_grad(set_to_none=True)
            with autocast(self._device, precision):
                logits: Tensor = network(images)
                loss = nn.functional.cross_entropy(logits, torch.zeros(count, dtype=torch.int64, device=self._device))
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()

        return step

    def preparing(self, examples: Examples, preprocessing: Preprocessing) -> float:
        """Return the seconds an image of ``examples`` takes to be decoded and resized by all processors together.

        Raises:
            DataError: an image cannot be decoded.
        """
        key = (examples.fingerprint, preprocessing.model_dump_json(include={"resolution", "resize", "crop_pct"}))
        if key not in self._prepared:
            spread = np.linspace(0, len(examples) - 1, min(IMAGES, len(examples))).astype(int).tolist()
            preprocessing.square(examples.images[spread[0]])  # the very first one loads and compiles what it needs
            start = time.perf_counter()
            list(pool().map(lambda index: preprocessing.square(examples.images[index]), spread))
            self._prepared[key] = (time.perf_counter() - start) / len(spread)
        return self._prepared[key]

    @cached_property
    def arithmetic(self) -> float:
        """The seconds of a multiply-add of float64 in a product of matrices."""
        left = np.ones((SIDE, SIDE))
        times = []
        for _ in range(BATCHES):
            start = time.perf_counter()
            left @ left
            times.append(time.perf_counter() - start)
        return statistics.median(times) / SIDE**3
