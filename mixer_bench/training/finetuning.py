"""What the finetune protocol does: the search for a learning rate, the final training, and looking at images.

Everything a training depends on is in its identity, so that a search that another run of the same settings made, or one
that was broken off, is not made again.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from mixer_bench.data.examples import Development, Examples
from mixer_bench.models.backbone import normalise_
from mixer_bench.models.device import autocast
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.results.record import Selection
from mixer_bench.stats import metrics
from mixer_bench.system import files
from mixer_bench.training import augment, distributed
from mixer_bench.training.images import Corpus, Shelf, corpus
from mixer_bench.training.loop import Batch, Diverged, Loop, Progress, Schedule, train
from mixer_bench.training.settings import VERSION, Config
from mixer_bench.training.trainable import Fitted, TrainableBackbone

SEARCH_SEED = 0
ENTRIES = 100  # of a loss curve, about
JUDGED = 256  # images at once, where nothing is trained
SHELF = Shelf(2)  # what is trained on, and what is judged
NATIVE = 224  # the input that `margin` speaks of


class _Tried(BaseModel):
    """What became of one rate of the grid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: float | None  # on val; None: diverged
    said: str = ""


def finetune(backbone: TrainableBackbone, development: Development, config: Config, seed: int) -> Fitted:
    """Choose the learning rate on val, train on train and val with ``seed``.

    Raises:
        Diverged: the loss became infinite or undefined, at every rate or in the final training.
    """
    sides = _sides(backbone.preprocessing, config)
    both = Examples.joined([development.train, development.val])
    pixels = _images(backbone, both, sides)
    selection, tried, searched = _search(backbone, development, config, pixels)
    if all(score is None for score in selection.scores):
        raise Diverged("the training diverged at every rate: " + "; ".join(tried))
    everything = torch.arange(len(both))
    training = _Training(backbone, development.num_classes, config, pixels, everything, selection.chosen, seed)
    network, done = training.run("final")
    backbone.keep(network)
    notes = [*tried]
    if done.micro:
        notes.append(f"memory ran out: batches of {config.batch_size} were trained on {done.micro} images at once")

    def scores(examples: Examples) -> np.ndarray:
        judged = _images(backbone, examples, sides)
        return _probabilities(network, backbone, judged, torch.arange(len(examples)))

    return Fitted(
        scores,
        selection if len(config.learning_rates) > 1 else None,
        notes=tuple(notes),
        curve=tuple((int(step), loss) for step, loss in done.losses),
        images=searched + done.step * config.batch_size,
        finished=training.forget,
    )


def _sides(preprocessing: Preprocessing, config: Config) -> Preprocessing:
    """How images are resized before crops are cut from them: whole, and a margin larger than the input."""
    stored = round(preprocessing.resolution * config.margin / NATIVE)
    return preprocessing.model_copy(update={"resolution": stored, "crop_pct": 1.0})


def _images(backbone: TrainableBackbone, examples: Examples, sides: Preprocessing) -> Corpus:
    """The images on the device, decoded once for all rates, seeds and models that resize them alike."""
    # What is done to the numbers comes later, so models that differ by it alone share the images.
    alike = sides.model_copy(update={"mean": (0.0,) * 3, "std": (1.0,) * 3}).model_dump_json()
    identity = (examples.fingerprint, alike, str(backbone.device))
    return SHELF.get(identity, functools.partial(corpus, examples, sides, backbone.device))


def _search(
    backbone: TrainableBackbone, development: Development, config: Config, pixels: Corpus
) -> tuple[Selection, list[str], int]:
    """The rate with the best score on val, what was noted, and how many images were trained on here and now."""
    grid, count = tuple(sorted(config.learning_rates)), len(development.train)
    on_val = torch.arange(count, count + len(development.val))
    labels = development.val.labels
    if len(grid) == 1:
        return Selection.best("learning rate", grid, [0.0], 0), [], 0
    tried, images = [], 0
    for rate in grid:
        training = _Training(backbone, development.num_classes, config, pixels, torch.arange(count), rate, SEARCH_SEED)
        found = training.noted()
        if found is None:
            try:
                network, _ = training.run(f"rate {rate:g}")
                predicted = _probabilities(network, backbone, pixels, on_val).argmax(1)
                score = metrics.get(development.metric).score(predicted, labels, development.num_classes)
                found = _Tried(score=score)
            except Diverged as error:
                found = _Tried(score=None, said=f"learning rate {rate:g} diverged: {error}")
            training.note(found)
            images += config.steps * config.batch_size
        else:
            backbone.heard(f"rate {rate:g}: known", config.steps * config.batch_size, trained=False)
        tried.append(found)
    selection = Selection.best("learning rate", grid, [one.score for one in tried], len(labels))
    return selection, [one.said for one in tried if one.said], images


class _Training:
    """One training of the network on some of the images, at one rate, with one seed."""

    def __init__(
        self,
        backbone: TrainableBackbone,
        num_classes: int,
        config: Config,
        pixels: Corpus,
        members: Tensor,
        rate: float,
        seed: int,
    ) -> None:
        self._backbone, self._num_classes, self._config = backbone, num_classes, config
        self._pixels, self._members, self._rate, self._seed = pixels, members, rate, seed
        values = {
            "version": VERSION,
            "weights": backbone.identity,
            "preprocessing": backbone.preprocessing.model_dump(mode="json"),
            "images": pixels.fingerprint,
            "members": hashlib.sha256(members.numpy().tobytes()).hexdigest(),
            "classes": num_classes,
            "config": config.model_dump(mode="json", exclude={"learning_rates"}),
            "rate": rate,
            "seed": seed,
            "precision": backbone.precision,
        }
        self._identity = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
        self._place = backbone.scratch / self._identity[:32]

    def _file(self, suffix: str) -> Path:
        return self._place.with_suffix(suffix)

    def noted(self) -> _Tried | None:
        """What became of the same training before."""
        try:
            return _Tried.model_validate_json(self._file(".json").read_bytes())
        except (OSError, ValidationError):
            return None

    def note(self, found: _Tried) -> None:
        """Keep what became of it."""
        distributed.wait()
        if distributed.world().leads:
            files.write(self._file(".json"), found.model_dump_json())
            self._file(".state.pt").unlink(missing_ok=True)
        distributed.wait()

    def run(self, words: str) -> tuple[nn.Module, Progress]:
        """Train from the pretrained weights, or go on from a checkpoint.

        Raises:
            Diverged: the loss became infinite or undefined.
        """
        config, network = self._config, self._backbone.network(self._num_classes)
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=self._rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=True,
        )
        every = max(1, config.steps // ENTRIES)
        schedule = Schedule(self._rate, config.steps, config.warmup, config.decay, config.decay_at)
        precision: Literal["fp32", "bf16"] = "bf16" if self._backbone.precision == "bf16" else "fp32"
        loop = Loop(schedule, config.clip, precision, every, every * 10, config.batch_size)
        told = 0

        def on_log(progress: Progress) -> None:
            nonlocal told
            if (before := progress.step - every) > told:  # of a training that was broken off
                self._backbone.heard(f"{words}: goes on", (before - told) * config.batch_size, trained=False)
                told = before
            loss = progress.losses[-1][1]
            self._backbone.heard(
                f"{words}: step {progress.step}/{config.steps}, loss {loss:.3f}",
                (progress.step - told) * config.batch_size,
            )
            told = progress.step

        trained = self._backbone.compiled(network)
        done = train(trained, optimizer, self.batch_at, loop, self._file(".state.pt"), self._identity, on_log)
        return network, done

    def forget(self) -> None:
        """Remove the checkpoint of a training that is done."""
        if distributed.world().leads:
            self._file(".state.pt").unlink(missing_ok=True)

    def batch_at(self, step: int) -> Batch:
        """This process's part of the step's batch: random only by seed and step, whatever came before."""
        config, here = self._config, distributed.world()
        part = here.share(config.batch_size)
        generator = _generator(self._seed, 1, step)
        chosen = self._chosen(step)
        own = chosen if config.mixup else chosen[part]
        images = self._pixels.images(own).float()
        self._pixels.expect(self._chosen(step + 1)[slice(None) if config.mixup else part])
        count = config.batch_size
        images = self._view(images, generator, count, slice(None) if config.mixup else part)
        images = normalise_(images, self._backbone.preprocessing)
        labels = self._pixels.labels[own.to(self._pixels.labels.device)]
        if not config.mixup:
            return images, labels
        images, other, weight = augment.mixed(images, config.mixup, generator)
        shares = nn.functional.one_hot(labels, self._num_classes).float()
        shares = shares * weight + shares[other.to(shares.device)] * (1 - weight)
        return images[part], shares[part]

    def _view(self, images: Tensor, generator: torch.Generator, count: int, part: slice) -> Tensor:
        config, side = self._config, self._backbone.preprocessing.resolution
        if config.crop == "random":
            images = augment.random_crop(images, side, generator, count, part)
        elif config.crop == "inception":
            images = augment.random_resized_crop(images, (config.smallest_crop, 1.0), generator, side, count, part)
        else:
            images = augment.central_crop(images, side)
        return augment.random_flip(images, generator, count, part) if config.flip else images.clone()

    def _chosen(self, step: int) -> Tensor:
        """Positions of the batch's images: one epoch's random order after another, cut into batches."""
        size, count = self._config.batch_size, len(self._members)
        epochs = range(step * size // count, ((step + 1) * size - 1) // count + 1)
        orders = torch.cat([_order(self._seed, epoch, count) for epoch in epochs])
        start = step * size - epochs.start * count
        return self._members[orders[start : start + size]]


@functools.lru_cache(maxsize=8)
def _order(seed: int, epoch: int, count: int) -> Tensor:
    return torch.randperm(count, generator=_generator(seed, 0, epoch))


def _generator(*key: int) -> torch.Generator:
    """A generator of its own for each key, so that no draw depends on how many came before."""
    digest = hashlib.sha256(repr(("finetune", *key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


@torch.inference_mode()
def _probabilities(network: nn.Module, backbone: TrainableBackbone, pixels: Corpus, members: Tensor) -> np.ndarray:
    """Softmax of the logits of each image's central crop, float [N, classes]; each image is looked at once."""
    network.eval()
    own = members[distributed.world().share(len(members))]
    rows = []
    for indices in own.split(JUDGED):
        images = augment.central_crop(pixels.images(indices).float(), backbone.preprocessing.resolution).clone()
        with autocast(backbone.device, backbone.precision):
            logits = network(normalise_(images, backbone.preprocessing))
        rows.append(logits.double().softmax(1).cpu().numpy())
    found = distributed.gathered(np.concatenate(rows), len(members), backbone.device)
    if not np.isfinite(found).all():
        raise Diverged("the trained network gives infinite or undefined scores")
    return found
