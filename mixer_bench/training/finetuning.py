"""Training on a task: the search for a learning rate, the final training, and looking at images.

Everything a training depends on is in its identity, so that a search that another run of the same settings made, or one
that was broken off, is not made again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import nn

from mixer_bench.data.examples import Development, Examples
from mixer_bench.errors import ResultsError, UsageError
from mixer_bench.models.backbone import normalise_
from mixer_bench.models.device import autocast
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.results.record import Selection
from mixer_bench.stats import metrics
from mixer_bench.system import claims, code, files
from mixer_bench.system.schema import Sealed, read_file, sealed_text
from mixer_bench.training import distributed, dropout, framing, momentum
from mixer_bench.training.checkpoint import Checkpoint, Diverged, Progress
from mixer_bench.training.framing import Frame
from mixer_bench.training.images import Batches, Corpus, Order, shelved
from mixer_bench.training.loop import Loop, Schedule, train
from mixer_bench.training.settings import VERSION, Config
from mixer_bench.training.trainable import Fitted, TrainableBackbone

LOG = logging.getLogger(__name__)
SEARCH_SEED = 0
ENTRIES = 100  # of a loss curve, about
JUDGED = 256  # images at once, where nothing is trained


@dataclass(frozen=True)
class Method:
    """What of a pretrained network is trained."""

    name: str  # with its version: trainings of another name are never taken for these
    prepare: Callable[[nn.Module, int], nn.Module]  # network with a classifier of zeros, seed -> network to train


FULL = Method(f"finetune {VERSION}", lambda network, _seed: network)


class _Tried(Sealed):
    """What became of one rate of the grid."""

    score: Annotated[float, Field(ge=0, le=1)] | None  # on val; None: diverged
    said: str = ""


def finetune(
    backbone: TrainableBackbone, development: Development, config: Config, seed: int, method: Method = FULL
) -> Fitted:
    """Choose the learning rate on val, then train on train and val together with ``seed``.

    Args:
        backbone: gives the network, and says where and how it is trained.
        development: train and val; the search learns from train alone.
        config: all settings of the training.
        seed: of the final training; the search has its own.
        method: what is trained: the whole network, or what a protocol of its own prepares.

    Raises:
        Diverged: the loss became infinite or undefined, at every rate or in the final training.
        UsageError: several processes are to train a network with dropout.
    """
    task = _Task(backbone, development, config, method)
    grid = tuple(sorted(config.learning_rates))
    notes, searched, selection = [], 0, None
    if len(grid) > 1:
        searched, tried = task.search(grid)
        selection = Selection.best("learning rate", grid, [rate.score for rate in tried], len(development.val))
        notes = [rate.said for rate in tried if rate.said]
        if all(score is None for score in selection.scores):
            raise Diverged("the training diverged at every rate: " + "; ".join(notes))
    count = len(task.corpus if config.final == "train+val" else development.train)
    final = _Training(task, selection.chosen if selection else grid[0], seed, count, final=True)
    network, done = final.run("final")
    backbone.keep(network)
    if config.dropout and not task.has_dropout:
        notes.append(f"dropout {config.dropout:g}: the network has no place for it and was trained without")
    if done.micro:
        processes = distributed.world().size
        each = f" in each of {processes} processes" if processes > 1 else ""
        notes.append(
            f"memory ran out: batches of {config.batch_size} were trained on {done.micro} images at once{each}"
        )
    return Fitted(
        lambda examples: task.probabilities(network, examples),
        selection,
        notes=tuple(notes),
        curve=tuple((int(step), loss) for step, loss in done.losses),
        images=searched + done.step * config.batch_size,
        finished=final.forget,
    )


class _Task:
    """What all trainings of a run share."""

    def __init__(self, backbone: TrainableBackbone, development: Development, config: Config, method: Method) -> None:
        self.backbone, self.development, self.config, self.method = backbone, development, config, method
        self.corpus = self._shelved(Examples.joined([development.train, development.val]), framing.trained_on)
        self.has_dropout = False  # as the network of the last training turned out

    def _shelved(self, examples: Examples, frame: Callable[[Config, Preprocessing], Frame]) -> Corpus:
        return shelved(examples, frame(self.config, self.backbone.preprocessing), self.backbone.device)

    def network(self, seed: int) -> nn.Module:
        """Return the network to train, with the dropout asked for where it has a place for it.

        Raises:
            UsageError: several processes are to train it, which would not drop what one does.
        """
        network = self.method.prepare(self.backbone.network(self.development.num_classes), seed)
        self.has_dropout = bool(self.config.dropout) and dropout.switch_on(network, self.config.dropout)
        if self.has_dropout and distributed.world().size > 1:
            raise UsageError("several processes do not drop what one would; train in one, or with --set dropout=0")
        return network

    def search(self, grid: tuple[float, ...]) -> tuple[int, list[_Tried]]:
        """Return how many images were trained on here and now, and what became of each rate.

        Of several runs at once that search alike each tries some of the rates.
        """
        trainings = [_Training(self, rate, SEARCH_SEED, len(self.development.train)) for rate in grid]
        images = self.config.steps * self.config.batch_size
        searched, tried = 0, dict[int, _Tried]()

        def waiting(numbers: list[int]) -> None:
            LOG.info("waiting for another process that tries rate %s", ", ".join(f"{grid[n]:g}" for n in numbers))

        turns = claims.turns([training.file(".json") for training in trainings], waiting)
        with contextlib.closing(distributed.led(turns)) as led:
            for number in led:
                training = trainings[number]
                known = distributed.the_firsts(training.noted())
                if known:
                    training.forget()  # who noted it may have been killed before that
                    self.backbone.heard(f"rate {training.rate:g}: known", images, trained=False)
                else:
                    searched += images
                tried[number] = known or training.tried()
        return searched, [tried[number] for number in range(len(grid))]

    @torch.inference_mode()
    def probabilities(self, network: nn.Module, examples: Examples) -> np.ndarray:
        """Return the softmax of images as they are framed at test, float [N, classes]; each is looked at once."""
        network.eval()
        backbone, rows = self.backbone, []
        corpus, positions = self._shelved(examples, framing.judged_by), torch.arange(len(examples))
        for part in positions[distributed.world().share].split(JUDGED):
            images = corpus.squares(part).float()
            with autocast(backbone.device, backbone.precision):
                logits = network(normalise_(images, backbone.preprocessing))
            rows.append(logits.cpu().double().softmax(1).numpy())  # MPS has no float64
        nothing = np.empty((0, self.development.num_classes))  # of a process whose share is empty
        shares = distributed.gathered(np.concatenate([nothing, *rows]), len(positions))
        if not np.isfinite(shares).all():
            raise Diverged("the trained network gives infinite or undefined scores")
        return shares


@dataclass(frozen=True)
class _Training:
    """One training on the first ``count`` images of a task, at one rate, with one seed."""

    task: _Task
    rate: float
    seed: int
    count: int
    final: bool = False

    @functools.cached_property
    def identity(self) -> str:
        """The hash of all that decides what becomes of it."""
        task, backbone = self.task, self.task.backbone
        values = {
            "method": task.method.name,
            "code": code.installed("finetune"),
            "weights": backbone.identity,
            "preprocessing": backbone.preprocessing.model_dump(mode="json"),
            "images": task.corpus.fingerprint,
            "count": self.count,
            "classes": task.development.num_classes,
            "metric": task.development.metric,
            "config": task.config.model_dump(mode="json", exclude={"learning_rates"}),
            "rate": self.rate,
            "seed": self.seed,
            "precision": backbone.precision,
        }
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def file(self, suffix: str) -> Path:
        """Return where something of it is kept."""
        return (self.task.backbone.scratch / self.identity[:32]).with_suffix(suffix)

    @property
    def state(self) -> Path:
        """The place of its checkpoint; that of a final training names the run."""
        return self.file(f".{self.task.backbone.run}.state.pt" if self.final else ".state.pt")

    def noted(self) -> _Tried | None:
        """Return what became of the same training before."""
        try:
            tried = read_file(self.file(".json"), _Tried, "note of a search", "it is made again")
        except ResultsError:
            return None
        return tried if tried.sealed else None

    def tried(self) -> _Tried:
        """Train, score on val, and note what became of it."""
        development = self.task.development
        try:
            network, _ = self.run(f"rate {self.rate:g}")
            predicted = self.task.probabilities(network, development.val).argmax(1)
            score = metrics.get(development.metric).score(predicted, development.val.labels, development.num_classes)
            tried = _Tried(score=score)
        except Diverged as error:
            tried = _Tried(score=None, said=f"learning rate {self.rate:g} diverged: {error}")
        distributed.vote()
        if distributed.world().leads:
            with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
                files.write(self.file(".json"), sealed_text(tried))
            self.forget()
        distributed.vote()
        return tried

    def run(self, words: str) -> tuple[nn.Module, Progress]:
        """Train from the pretrained weights, or go on from a checkpoint.

        Raises:
            Diverged: the loss became infinite or undefined.
        """
        task, config = self.task, self.task.config
        network = task.network(self.seed)
        optimizer = momentum.sgd(network, config, self.rate)
        every = max(1, config.steps // ENTRIES)
        schedule = Schedule(self.rate, config.steps, config.warmup, config.decay, config.decay_at, config.count_from)
        loop = Loop(schedule, config.clip, task.backbone.precision, every, 10, config.batch_size)
        order = Order(self.count, config.batch_size, ("finetune", self.seed))
        preprocessing = task.backbone.preprocessing
        view = framing.View(config, preprocessing.resolution)
        batches = Batches(task.corpus, order, preprocessing, view, config.mixup, task.development.num_classes)
        checkpoint = Checkpoint(self.state, self.identity)
        trained = task.backbone.compiled(network)
        device = task.backbone.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):  # of whoever called
            done = train(trained, optimizer, batches.at, loop, checkpoint, self._telling(words, every))
        return network, done

    def _telling(self, words: str, every: int) -> Callable[[Progress], None]:
        """Return a listener that tells the backbone how far the training is."""
        told, backbone, config = 0, self.task.backbone, self.task.config

        def on_log(progress: Progress) -> None:
            nonlocal told
            if (before := progress.step - every) > told:  # of a training that was broken off
                backbone.heard(f"{words}: goes on", (before - told) * config.batch_size, trained=False)
                told = before
            loss = progress.losses[-1][1]
            now = f"{words}: step {progress.step}/{config.steps}, loss {loss:.3f}"
            backbone.heard(now, (progress.step - told) * config.batch_size)
            told = progress.step

        return on_log

    def forget(self) -> None:
        """Remove the checkpoint of a training that is done."""
        if distributed.world().leads:
            with contextlib.suppress(OSError):  # of a cache that became read-only
                self.state.unlink(missing_ok=True)
