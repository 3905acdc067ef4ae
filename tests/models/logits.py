"""Checkpoints of Google's layouts with random weights, and a checkpoint's own classifier to compare logits with."""

import functools
from collections.abc import Callable

import numpy as np
import torch

from mixer_bench.models import checkpoints, names, networks, weights
from mixer_bench.models.card import Card
from tests import restated

CLASSES = 21
Arrays = dict[str, np.ndarray]


def mixer(layout: str, blocks: int, width: int, patch: int) -> Arrays:
    return restated.mixer_arrays(layout, blocks=blocks, width=width, side=224, patch=patch, classes=CLASSES)


vit_tiny = functools.partial(restated.vit_arrays, blocks=12, width=192, heads=3, side=224, patch=16, classes=CLASSES)
resnet50 = functools.partial(restated.bit_arrays, units=(3, 4, 6, 3), width=64, classes=CLASSES)


def nano_state() -> checkpoints.State:
    """mixer_nano's tensors, random, with a classifier of ten classes."""
    return networks.build(names.card("mixer_nano").architecture, 10, seed=7).state_dict()


# By name: what makes the arrays, and what defines their logits. Made once for all tests.
OFFICIAL: dict[str, tuple[Callable[[], Arrays], Callable[..., np.ndarray]]] = {
    "mixer_s32": (functools.partial(mixer, "newer", 8, 512, 32), restated.mixer_logits),
    "mixer_s32, older": (functools.partial(mixer, "older", 8, 512, 32), restated.mixer_logits),
    "mixer_b16": (functools.partial(mixer, "newer", 12, 768, 16), restated.mixer_logits),
    "vit_tiny": (vit_tiny, restated.vit_logits),
    "resnet50x1": (resnet50, restated.bit_logits),
}


@functools.cache
def official(name: str, side: int = 224) -> tuple[Arrays, np.ndarray, np.ndarray]:
    """Arrays, an image (of values that float32 can hold, so that both sides see the same) and its logits."""
    make, define = OFFICIAL[name]
    arrays = make()
    images = np.random.default_rng(1).uniform(-1, 1, (1, side, side, 3)).astype(np.float32).astype(np.float64)
    return arrays, images, define(arrays, images)


@torch.inference_mode()
def difference(network: torch.nn.Module, images: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference of logits, relative to the largest logit."""
    dtype = next(network.parameters()).dtype
    logits = network(torch.from_numpy(images).permute(0, 3, 1, 2).to(dtype)).double().numpy()
    return float(np.abs(logits - expected).max() / np.abs(expected).max())


def with_its_classifier(card: Card, on_note: Callable[[str], object] = print) -> torch.nn.Module:
    """A card's network with the classifier of its checkpoint: images to logits [N, classes]."""
    file = weights.place(card)
    state = networks.state_of(card, file, on_note)
    head = networks.head_of(card.architecture, card.classes)
    network = networks.build(card.architecture, num_classes=head.rows(state))
    checkpoints.load_into(network, state, head, file.name)
    return network.eval()
