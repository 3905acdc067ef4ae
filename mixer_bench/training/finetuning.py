"""Training on a task: the search for a learning rate, the final training, and looking at images.

Everything a training depends on is in its identity, so that a search that another run of the same settings made, or one
that was broken off, is not made again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mixer_bench.data.examples import Development, Examples
from mixer_bench.errors import UsageError
from mixer_bench.models.backbone import normalise_
from mixer_bench.models.device import autocast, fetched, fitting
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.stats import metrics
from mixer_bench.system import code
from mixer_bench.system.machine import Precision
from mixer_bench.training import distributed, dropout, framing, momentum
from mixer_bench.training.checkpoint import Checkpoint, Diverged, Progress
from mixer_bench.training.framing import Frame
from mixer_bench.training.images import Batches, Corpus, Order, shelved
from mixer_bench.training.loop import Loop, Schedule, train
from mixer_bench.training.search import Tried, search
from mixer_bench.training.settings import VERSION, Config
from mixer_bench.training.trainable import Fitted, Point, TrainableBackbone

SEARCH_SEED = 0
ENTRIES = 100  # of a loss curve, about
JUDGED = 256  # images at once, where nothing is trained


@dataclass(frozen=True)
class Method:
    """What of a pretrained network is trained."""

    name: str  # with its version: trainings of another name are never taken for these
    prepare: Callable[[nn.Module, int], nn.Module]  # network with a classifier of zeros, seed -> network to train


FULL = Method(f"finetune {VERSION}", lambda network, _seed: network)


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
    notes, searched, rate = list[str](), None, config.learning_rates[0]
    if config.rungs:

        def trial(rate: float, begin: int, end: int) -> _Training:
            return _Training(task, config.of_search, rate, SEARCH_SEED, len(development.train), begin, end)

        searched = search(config, trial, len(development.val))
        notes, rate = searched.notes, searched.selection.chosen
    count = len(task.corpus if config.final == "train+val" else development.train)
    final = _Training(task, config, rate, seed, count, 0, config.steps, final=True)
    network, done = final.run("final")
    backbone.keep(network)
    if config.dropout and not task.has_dropout:
        notes.append(f"dropout {config.dropout:g}: the network has no place for it and was trained without")
    if done.micro:
        notes.append(_halved(config.batch_size, done.micro))
    return Fitted(
        lambda examples: task.probabilities(network, examples),
        searched.selection if searched else None,
        scale="probabilities",
        notes=tuple(notes),
        curve=tuple((int(step), loss) for step, loss in done.losses),
        images=(searched.images if searched else 0) + done.step * config.batch_size,
        finished=final.forget,
    )


def _halved(batch: int, at_once: int) -> str:
    processes = distributed.world().size
    each = f" in each of {processes} processes" if processes > 1 else ""
    return f"memory ran out: batches of {batch} were trained on {at_once} images at once{each}"


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

    @torch.inference_mode()
    def probabilities(self, network: nn.Module, examples: Examples) -> np.ndarray:
        """Return the softmax of images as they are framed at test, float [N, classes]; each is looked at once."""
        network.eval()
        backbone, corpus = self.backbone, self._shelved(examples, framing.judged_by)
        positions = torch.arange(len(examples))

        def rows(at_once: int) -> list[np.ndarray]:
            begun = []
            for part in positions[distributed.world().share].split(at_once):
                images = corpus.squares(part)
                begun.append(softmax(network, images, backbone.preprocessing, backbone.precision))
            return [shares() for shares in begun]

        looked_at, _ = fitting(rows, JUDGED, backbone.device)
        nothing = np.empty((0, self.development.num_classes))  # of a process whose share is empty
        shares = distributed.gathered(np.concatenate([nothing, *looked_at]), len(positions))
        if not np.isfinite(shares).all():
            raise Diverged("the trained network gives infinite or undefined scores")
        return shares


@torch.inference_mode()
def softmax(
    network: nn.Module, images: Tensor, preprocessing: Preprocessing, precision: Precision
) -> Callable[[], np.ndarray]:
    """Begin to look at images as they are framed at test, which nothing else uses, [n, 3, S, S] of 0..255.

    Returns:
        What waits for their softmax, float64 [n, classes].
    """
    with autocast(images.device, precision):
        logits = network(normalise_(images.float(), preprocessing))
    begun = fetched(logits.float())
    return lambda: torch.from_numpy(begun()).double().softmax(1).numpy()


@dataclass(frozen=True)
class _Training:
    """One training on the first ``count`` images of a task, at one rate, with one seed, up to step ``end``."""

    task: _Task
    config: Config
    rate: float
    seed: int
    count: int
    begin: int  # how far it was told of before
    end: int
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
            "config": self.config.model_dump(mode="json", exclude={"learning_rates", "search", "search_steps"}),
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

    @property
    def note(self) -> Path:
        """The place of what became of it, at its end or where it was stopped."""
        return self.file(".json" if self.end == self.config.steps else f".{self.end}.json")

    def known(self) -> None:
        """Tell the backbone that it need not be made."""
        self.task.backbone.heard(f"rate {self.rate:g}: known", self._images(self.begin, self.end), trained=False)

    def _images(self, begin: int, end: int) -> int:
        return max(0, end - begin) * self.config.batch_size

    def tried(self) -> Tried:
        """Train, and score on val."""
        development = self.task.development
        network, _ = self.run(f"rate {self.rate:g}")
        predicted = self.task.probabilities(network, development.val).argmax(1)
        metric = metrics.get(development.metric)
        score = metric.score(predicted, development.val.labels, development.num_classes)
        point = Point(self._curve, self.end, {f"val_{development.metric}": score})
        self.task.backbone.heard(f"rate {self.rate:g}: {score:.3f} on val", 0, points=[point])
        return Tried(score=score)

    def run(self, words: str) -> tuple[nn.Module, Progress]:
        """Train from the pretrained weights, or go on from a checkpoint.

        Raises:
            Diverged: the loss became infinite or undefined.
        """
        task, config = self.task, self.config
        network = task.network(self.seed)
        optimizer = momentum.sgd(network, config, self.rate)
        every = max(1, config.steps // ENTRIES)
        schedule = Schedule(self.rate, config.steps, config.warmup, config.decay, config.decay_at, config.count_from)
        loop = Loop(schedule, config.clip, task.backbone.precision, every, 10, self.end, batch_size=config.batch_size)
        order = Order(self.count, config.batch_size, ("finetune", self.seed))
        preprocessing = task.backbone.preprocessing
        view = framing.View(config, preprocessing.resolution)
        batches = Batches(task.corpus, order, preprocessing, view, config.mixup, task.development.num_classes)
        checkpoint = Checkpoint(self.state, self.identity)
        trained = task.backbone.compiled(network)
        device = task.backbone.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):  # of whoever called
            done = train(trained, optimizer, batches.at, loop, checkpoint, self._telling(words, every, schedule))
        return network, done

    @property
    def _curve(self) -> str:
        return "final" if self.final else f"search_{self.rate:g}"

    def _telling(self, words: str, every: int, schedule: Schedule) -> Callable[[Progress], None]:
        """Return a listener that tells the backbone how far the training is."""
        told, drawn, backbone = self.begin, 0, self.task.backbone

        def on_log(progress: Progress) -> None:
            nonlocal told, drawn
            if (before := progress.step - every) > told:  # of a training that was broken off
                backbone.heard(f"{words}: goes on", self._images(told, before), trained=False)
                told = before
            new = [(int(step), loss) for step, loss in progress.losses[drawn:]]
            points = [Point(self._curve, step, {"loss": loss, "rate": schedule.rate(step - 1)}) for step, loss in new]
            drawn = len(progress.losses)
            now = f"{words}: step {progress.step}/{self.config.steps}, loss {new[-1][1]:.3f}"
            backbone.heard(now, self._images(told, progress.step), points=points)
            told = max(told, progress.step)

        return on_log

    def forget(self) -> None:
        """Remove the checkpoint of a training that is done."""
        if distributed.world().leads:
            with contextlib.suppress(OSError):  # of a cache that became read-only
                self.state.unlink(missing_ok=True)
