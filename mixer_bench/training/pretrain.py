"""Pre-training a backbone of the zoo from scratch; how the embedded checkpoints were made.

The recipe is MLP-Mixer's (Tolstikhin et al. 2021, section 3, table 4 and appendix B): Adam with beta 0.9 / 0.999,
weight decay, linear warm-up then linear decay to 0, global gradient clip 1, random crops and flips. Departures, for a
network a hundred times smaller on a corpus a hundred times smaller: batch 128 instead of 4,096, crops of 25 % of the
area or more instead of 5 %, and no RandAugment, mixup or stochastic depth, which regularise runs of hundreds of
epochs. Every family is trained by the same recipe on the same images in the same order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mixer_bench.data.examples import Examples
from mixer_bench.data.readers import folder, hub
from mixer_bench.errors import DataError, UsageError
from mixer_bench.models import backbone, checkpoints, networks
from mixer_bench.models import device as device_module
from mixer_bench.models.card import Card, Pretraining
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.system import files, machine
from mixer_bench.system.progress import ProgressLog, unheard
from mixer_bench.task.sources import FolderSource, HubSource
from mixer_bench.training import augment
from mixer_bench.training.loop import Batch, Diverged, Loop, Progress, Schedule, train


def read_images(place: Path, columns: tuple[str, str]) -> dict[str, Examples]:
    """The splits in ``place``: class folders below train and val, or a data set in the hub's layout.

    Args:
        place: a folder.
        columns: names of the image and class columns of the hub's layout.
    """
    if folder.has_splits(place):
        found = folder.read(FolderSource(kind="folder", folder=str(place.resolve()), layout="splits"), place)
    elif place.is_dir():
        image, label = columns
        found = hub.read(HubSource(kind="hub", repo=str(place.resolve()), image=image, label=label), place)
    else:
        raise DataError(f"{place}: there is no such folder")
    return {name: Examples.of(rows) for name, rows in found.splits.items()}


TRAIN = ("train",)
VALIDATION = ("val", "valid", "validation", "test")


class Recipe(BaseModel):
    """All settings of a pre-training; the defaults made the embedded checkpoints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: PositiveInt = 20
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.1  # decoupled from the gradient, scaled by the learning rate (AdamW)
    warmup_epochs: NonNegativeFloat = 1.0
    clip: PositiveFloat = 1.0
    smallest_crop: Annotated[float, Field(gt=0, le=1)] = 0.25  # share of the area
    precision: Literal["fp32", "bf16"] = "bf16"
    seed: NonNegativeInt = 0


def with_progress(
    card: Card, splits: dict[str, Examples], recipe: Recipe, output: Path, device: torch.device, source: tuple[str, str]
) -> Path:
    """``pretrain`` with a bar, or lines, that show loss and time left; returns the weights' file.

    Raises:
        UsageError: the loss became infinite; or as ``pretrain``.
    """
    with ProgressLog(steps(splits, recipe)) as log:

        def on_log(progress: Progress) -> None:
            log.label(f"{card.name}: step {progress.step}/{log.total:.0f}, loss {progress.losses[-1][1]:.3f}")
            log.advance(progress.step - log.done)

        try:
            record = pretrain(card, splits, recipe, output, device, source, on_log)
        except Diverged as error:
            raise UsageError(f"{card.name}: {error}") from None
        log.line(f"{card.name}: validation accuracy {record.val_accuracy:.1%} after {record.cost}")
    return output / f"{card.name}.safetensors"


@dataclass(frozen=True)
class Corpus:
    """Labelled images to pre-train on, resized once to the network's input."""

    images: Tensor  # uint8 [N, 3, R, R]
    labels: Tensor  # int64 [N]
    fingerprint: str

    @staticmethod
    def of(examples: Examples, preprocessing: Preprocessing, device: torch.device) -> Corpus:
        """Preprocess ``examples`` and keep them on ``device``."""
        squares = np.stack([preprocessing.square(examples.images[i]) for i in range(len(examples))])
        return Corpus(
            torch.from_numpy(squares).permute(0, 3, 1, 2).contiguous().to(device),
            torch.from_numpy(examples.labels).to(device),
            examples.fingerprint,
        )


def pretrain(
    card: Card,
    splits: dict[str, Examples],
    recipe: Recipe,
    output: Path,
    device: torch.device,
    source: tuple[str, str],
    on_log: Callable[[Progress], object] = unheard,
) -> Pretraining:
    """Train ``card``'s network from random weights; leaves ``<name>.safetensors`` and ``<name>.json`` in ``output``.

    Killed at any moment, the same call goes on from the last checkpoint and ends with the same weights; on one device
    the seed decides everything.

    Args:
        card: the architecture and its preprocessing.
        splits: one named train, and one to validate on named val, valid, validation or test.
        recipe: all settings.
        output: folder for the checkpoint, the weights (float16) and the record.
        device: where to train.
        source: name and terms of use of the images, for the record.
        on_log: told of the progress, now and then.

    Raises:
        DataError: a split is missing.
        UsageError: ``output`` holds a training with other settings; the model has no network.
        Diverged: the loss became infinite.
    """
    if card.architecture is None or ":" in card.name:
        raise UsageError(f"{card.name!r} has no network to train, or is derived from a card; name the card itself")
    corpus, held_out = (Corpus.of(_split(splits, names), card.preprocessing, device) for names in (TRAIN, VALIDATION))
    classes = int(corpus.labels.max()) + 1
    network = networks.build(card.architecture, classes, recipe.seed).to(device)
    loop = _loop(recipe, len(corpus.labels))
    batch_at = _batches(corpus, card.preprocessing, recipe)
    flops = _flops_of_step(network, batch_at(0)) * loop.schedule.steps
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.999), weight_decay=recipe.weight_decay, fused=True
    )
    done = train(
        network,
        optimizer,
        batch_at,
        loop,
        output / f"{card.name}.state.pt",
        _identity(card, recipe, corpus),
        on_log,
    )
    # The weights are judged as they are shipped: rounded to float16.
    accuracy = _accuracy(network.half().float(), held_out, card.preprocessing)
    record = Pretraining(
        data=source[0],
        terms=source[1],
        recipe=recipe.model_dump(),
        images_seen=done.step * recipe.batch_size,
        device="CPU-core" if device.type == "cpu" else device_module.device_name(device),
        device_seconds=round(done.device_seconds, 1),
        flops=float(flops),
        val_accuracy=accuracy,
        val_images=len(held_out.labels),
        loss_curve=[(int(step), loss) for step, loss in done.losses],
        command=_command(card, recipe),
        environment=machine.describe(str(device), torch.get_num_threads()),
    )
    checkpoints.write(networks.headless(network), output / f"{card.name}.safetensors", torch.float16)
    files.write(output / f"{card.name}.json", json.dumps(record.model_dump(mode="json"), indent=1) + "\n")
    return record


def _split(splits: dict[str, Examples], names: tuple[str, ...]) -> Examples:
    for name in names:
        if name in splits:
            return splits[name]
    raise DataError(f"pre-training needs a split named {' or '.join(names)}; the data has {sorted(splits)}")


def steps(splits: dict[str, Examples], recipe: Recipe) -> int:
    """How many steps a pre-training on ``splits`` takes; raises as ``pretrain`` does."""
    return _loop(recipe, len(_split(splits, TRAIN))).schedule.steps


def _loop(recipe: Recipe, images: int) -> Loop:
    # The last, smaller batch of an epoch is left out, as usual; the permutation leaves out others each time.
    epoch = images // recipe.batch_size
    if not epoch:
        raise DataError(f"{images} training images are fewer than one batch of {recipe.batch_size}")
    schedule = Schedule(recipe.learning_rate, recipe.epochs * epoch, round(recipe.warmup_epochs * epoch), "linear")
    return Loop(schedule, recipe.clip, recipe.precision)


def _batches(corpus: Corpus, preprocessing: Preprocessing, recipe: Recipe) -> Callable[[int], Batch]:
    """The augmented batch of each step: shuffled anew every epoch, random only by seed, epoch and step."""
    epoch_steps = len(corpus.labels) // recipe.batch_size
    order: dict[int, Tensor] = {}

    def batch_at(step: int) -> Batch:
        epoch, place = divmod(step, epoch_steps)
        if epoch not in order:
            order.clear()
            order[epoch] = torch.randperm(len(corpus.labels), generator=_generator(recipe.seed, 0, epoch))
        chosen = order[epoch][place * recipe.batch_size : (place + 1) * recipe.batch_size].to(corpus.labels.device)
        generator = _generator(recipe.seed, 1, step)
        images = corpus.images[chosen].float()
        images = augment.random_resized_crop(images, (recipe.smallest_crop, 1.0), generator)
        return backbone.normalise_(augment.random_flip(images, generator), preprocessing), corpus.labels[chosen]

    return batch_at


def _generator(*key: int) -> torch.Generator:
    """A generator of its own for each key, so that no draw depends on how many came before."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _flops_of_step(network: nn.Module, batch: Batch) -> int:
    """FLOPs (a multiply-add is two) of one forward and backward pass, by torch's own counter."""
    with FlopCounterMode(display=False) as counter:
        nn.functional.cross_entropy(network(batch[0]), batch[1]).backward()
    network.zero_grad(set_to_none=True)
    return int(counter.get_total_flops())


@torch.no_grad()
def _accuracy(network: nn.Module, corpus: Corpus, preprocessing: Preprocessing) -> float:
    network.eval()
    right = 0
    for images, labels in zip(corpus.images.split(250), corpus.labels.split(250), strict=True):
        logits = network(backbone.normalise_(images.float(), preprocessing))
        right += int((logits.argmax(1) == labels).sum())
    return right / len(corpus.labels)


def _identity(card: Card, recipe: Recipe, corpus: Corpus) -> str:
    assert card.architecture is not None
    parts: list[Any] = [card.architecture.identity, card.preprocessing.model_dump(), recipe.model_dump()]
    return hashlib.sha256(json.dumps([*parts, corpus.fingerprint], sort_keys=True).encode()).hexdigest()


def _command(card: Card, recipe: Recipe) -> str:
    """How to do it again; DIR stands for the images."""
    changed = recipe.model_dump(exclude_defaults=True)
    return " ".join([f"mixer-bench pretrain {card.name} --data DIR", *(f"--set {k}={v}" for k, v in changed.items())])
