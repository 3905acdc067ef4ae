"""Pre-training a backbone of the zoo from scratch; how the embedded checkpoints were made.

The recipe is MLP-Mixer's (Tolstikhin et al. 2021, section 3, table 4 and appendix B): Adam with beta 0.9 / 0.999,
weight decay, linear warm-up then linear decay to 0, global gradient clip 1, random crops and flips. Departures, for a
network a hundred times smaller on a corpus a hundred times smaller: batch 128 instead of 4,096, crops of 25 % of the
area or more instead of 5 %, and no RandAugment, mixup or stochastic depth, which regularise runs of hundreds of
epochs. Every family is trained by the same recipe on the same images in the same order.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mixer_bench.data.examples import Examples
from mixer_bench.data.readers import folder, hub
from mixer_bench.errors import DataError, UsageError
from mixer_bench.models import checkpoints, networks
from mixer_bench.models import device as device_module
from mixer_bench.models.backbone import normalise_
from mixer_bench.models.card import Architecture, Card, Pretraining
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.system import claims, files, machine
from mixer_bench.system.paths import real
from mixer_bench.system.progress import ProgressLog
from mixer_bench.system.schema import Frozen, sealed_text
from mixer_bench.task.sources import FolderSource, HubSource
from mixer_bench.training import augment, framing
from mixer_bench.training.augment import Draws, Images
from mixer_bench.training.checkpoint import Checkpoint, Diverged, Progress
from mixer_bench.training.images import Batches, Corpus, Order
from mixer_bench.training.loop import Batch, Loop, Schedule, train

TRAIN = ("train",)
VALIDATION = ("val", "valid", "validation", "test")
JUDGED = 250  # images at once, where nothing is trained


class Recipe(Frozen):
    """All settings of a pre-training; the defaults made the embedded checkpoints."""

    epochs: PositiveInt = 20
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.1  # decoupled from the gradient, scaled by the learning rate (AdamW)
    warmup_epochs: NonNegativeFloat = 1.0
    clip: PositiveFloat = 1.0
    smallest_crop: Annotated[float, Field(gt=0, le=1)] = 0.25  # share of the area
    precision: Literal["fp32", "bf16"] = "bf16"
    seed: NonNegativeInt = 0


def read_images(place: Path, columns: tuple[str, str]) -> dict[str, Examples]:
    """Read the splits in ``place``: class folders below train and val, or a data set in the hub's layout.

    Args:
        place: a folder.
        columns: names of the image and class columns of the hub's layout.
    """
    if folder.has_splits(place):
        contents = folder.read(FolderSource(kind="folder", folder=str(real(place)), layout="splits"), place)
    elif place.is_dir():
        image, label = columns
        contents = hub.read(HubSource(kind="hub", repo=str(real(place)), image=image, label=label), place)
    else:
        raise DataError(f"{place}: there is no such folder")
    return {name: Examples.of(rows, upright=True) for name, rows in contents.splits.items()}


@device_module.exact_fp32()
def pretrain(
    card: Card,
    splits: dict[str, Examples],
    recipe: Recipe,
    output: Path,
    device: torch.device,
    source: tuple[str, str],
    show: Callable[[float], ProgressLog],
) -> Path:
    """Train ``card``'s network from random weights; return the weights' file, beside which lies the record.

    Killed, the same call goes on from the last checkpoint to the same weights; on one device the seed decides all.

    Args:
        card: the architecture and its preprocessing.
        splits: one named train, and one to validate on named val, valid, validation or test.
        recipe: all settings.
        output: folder for the checkpoint, the weights (``<name>.safetensors``, float16) and the record (``.json``).
        device: where to train.
        source: name and terms of use of the images, for the record.
        show: makes what shows loss and time left.

    Raises:
        DataError: a split is missing.
        UsageError: ``output`` holds a training with other settings, there is no network, or the loss became infinite.
    """
    if card.architecture is None or ":" in card.name:
        raise UsageError(f"{card.name!r} has no network to train, or is derived from a card; name the card itself")
    loop = _loop(recipe, len(_split(splits, TRAIN)))
    frame = framing.of_card(card.preprocessing)
    corpus, held_out = (Corpus(_split(splits, names), frame, device) for names in (TRAIN, VALIDATION))
    network, batches = _begun(card, card.architecture, recipe, corpus, device)
    flops = _flops_of_step(network, batches.at(0)) * loop.schedule.steps
    checkpoint = Checkpoint(output / f"{card.name}.state.pt", _identity(card, recipe, corpus))
    weights = output / f"{card.name}.safetensors"
    waiting = f"waiting for another process that trains {card.name} here"
    with show(loop.schedule.steps) as log, claims.awaited(checkpoint.file, lambda: log.line(waiting)):
        done = _trained(network, batches, loop, checkpoint, recipe, log, card.name)
        # The weights are judged as they are shipped: rounded to float16.
        accuracy = _accuracy(network.half().float(), held_out, card.preprocessing)
        record = _record(card, recipe, done, flops, (accuracy, len(held_out)), device, source)
        checkpoints.write(networks.headless(network), weights, torch.float16)
        files.write(weights.with_suffix(".json"), sealed_text(record, indent=1))
        log.line(f"{card.name}: validation accuracy {accuracy:.1%} after {record.cost}")
    return weights


def _begun(
    card: Card, architecture: Architecture, recipe: Recipe, corpus: Corpus, device: torch.device
) -> tuple[nn.Module, Batches]:
    """Return the network with random weights, and the images in the order in which it sees them."""
    network = networks.build(architecture, int(corpus.labels.max()) + 1, recipe.seed)
    order = Order(len(corpus), recipe.batch_size, (recipe.seed,), drops_rest=True)
    batches = Batches(corpus, order, card.preprocessing, functools.partial(_view, card, recipe))
    return device_module.placed(network, device), batches


def _view(card: Card, recipe: Recipe, frames: Images, draws: Draws) -> Tensor:
    """Return random crops and flips of squares, float32 [n, 3, R, R]."""
    assert isinstance(frames, Tensor), "frames of a card are squares"
    area = (recipe.smallest_crop, 1.0)
    crops = augment.random_resized_crop(frames.float(), area, draws, card.preprocessing.resolution)
    return augment.random_flip(crops, draws)


def _split(splits: dict[str, Examples], names: tuple[str, ...]) -> Examples:
    for name in names:
        if name in splits:
            return splits[name]
    raise DataError(f"pre-training needs a split named {' or '.join(names)}; the data has {sorted(splits)}")


def _loop(recipe: Recipe, images: int) -> Loop:
    # The last, smaller batch of an epoch is left out, as usual; the order leaves out others each time.
    epoch = images // recipe.batch_size
    if not epoch:
        raise DataError(f"{images} training images are fewer than one batch of {recipe.batch_size}")
    schedule = Schedule(recipe.learning_rate, recipe.epochs * epoch, round(recipe.warmup_epochs * epoch), "linear")
    return Loop(schedule, recipe.clip, recipe.precision, batch_size=recipe.batch_size)


def _trained(
    network: nn.Module,
    batches: Batches,
    loop: Loop,
    checkpoint: Checkpoint,
    recipe: Recipe,
    log: ProgressLog,
    name: str,
) -> Progress:
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.999), weight_decay=recipe.weight_decay, fused=True
    )

    def on_log(progress: Progress) -> None:
        log.label(f"{name}: step {progress.step}/{log.total:.0f}, loss {progress.losses[-1][1]:.3f}")
        log.advance(progress.step - log.done)

    try:
        return train(network, optimizer, batches.at, loop, checkpoint, on_log)
    except Diverged as error:
        raise UsageError(f"{name}: {error}") from None


def _record(
    card: Card,
    recipe: Recipe,
    done: Progress,
    flops: int,
    validation: tuple[float, int],
    device: torch.device,
    source: tuple[str, str],
) -> Pretraining:
    changed = recipe.model_dump(exclude_defaults=True)
    # How to do it again; DIR stands for the images.
    command = [f"mixer-bench pretrain {card.name} --data DIR", *(f"--set {key}={changed[key]}" for key in changed)]
    return Pretraining(
        data=source[0],
        terms=source[1],
        recipe=recipe.model_dump(),
        images_seen=done.step * recipe.batch_size,
        device="CPU-core" if device.type == "cpu" else device_module.device_name(device),
        device_seconds=round(done.device_seconds, 1),
        flops=float(flops),
        val_accuracy=validation[0],
        val_images=validation[1],
        loss_curve=[(int(step), loss) for step, loss in done.losses],
        command=" ".join(command),
        environment=machine.describe(str(device), torch.get_num_threads()),
    )


def _flops_of_step(network: nn.Module, batch: Batch) -> int:
    """Count the FLOPs (a multiply-add is two) of one forward and backward pass, by torch's own counter."""
    counted = copy.deepcopy(network)  # batch normalisation would remember the batch
    with FlopCounterMode(display=False) as counter:
        nn.functional.cross_entropy(counted(batch[0]), batch[1]).backward()
    return int(counter.get_total_flops())


@torch.no_grad()
def _accuracy(network: nn.Module, corpus: Corpus, preprocessing: Preprocessing) -> float:
    network.eval()
    right = torch.zeros((), dtype=torch.int64, device=corpus.labels.device)  # summed there: no batch is waited for
    for positions in torch.arange(len(corpus)).split(JUDGED):
        logits = network(normalise_(corpus.squares(positions).float(), preprocessing))
        right += (logits.argmax(1) == corpus.labels[device_module.on_device(positions, corpus.labels.device)]).sum()
    return right.item() / len(corpus)


def _identity(card: Card, recipe: Recipe, corpus: Corpus) -> str:
    assert card.architecture is not None
    parts = [card.architecture.identity, card.preprocessing.model_dump(), recipe.model_dump(), corpus.fingerprint]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
