"""timm's networks: built, filled with weights, taken to other resolutions. Only this and timm_cards import timm."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from timm.layers import PatchEmbed, StdConv2d, resample_abs_pos_embed, set_fused_attn
from torch import nn

from mixer_bench.errors import UsageError, WeightsError
from mixer_bench.models import checkpoints, resolution, weights
from mixer_bench.models.card import Architecture, Card
from mixer_bench.models.checkpoints import Head
from mixer_bench.system.network import first_line
from mixer_bench.system.schema import brief

# What timm's networks have; its bare encoders, and networks of one's own, may lack it.
CONTRACT = ("reset_classifier", "num_features")


def build(architecture: Architecture, num_classes: int, seed: int = 0) -> nn.Module:
    """Build a network with random weights, drawn from ``seed`` whatever was drawn before.

    Whenever it is called, anything but one row an image is a ``WeightsError``: maps or tokens laid side by side would
    give an image the values of others.

    Raises:
        UsageError: timm has no such class or architecture, or it lacks what timm's networks have or the layers whose
            arithmetic is to be set.
    """
    # Written-out attention is the faster of timm's two on a CPU, in training by 1.4 (64 tokens, width 192).
    set_fused_attn(torch.cuda.is_available())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _constructed(architecture, num_classes)
    if lacking := [name for name in CONTRACT if not hasattr(network, name)]:
        raise UsageError(f"{architecture.name} has no {' nor '.join(lacking)}, as networks of timm have")
    arithmetic: tuple[tuple[type[nn.Module], str, Any], ...] = (
        (nn.GELU, "approximate", architecture.gelu and ("tanh" if architecture.gelu == "tanh" else "none")),
        (StdConv2d, "eps", architecture.standardisation_eps),
    )
    for layer, attribute, value in arithmetic:
        layers = [module for module in network.modules() if isinstance(module, layer)]
        if value is not None and not layers:
            raise UsageError(f"{architecture.name} has no {layer.__name__} to set up as its weights ask")
        for module in layers if value is not None else ():
            setattr(module, attribute, value)
    network.register_forward_hook(functools.partial(_check_rows, architecture.name))
    return network


def _check_rows(name: str, _network: nn.Module, images: tuple[Any, ...], output: Any) -> None:
    """Refuse an output that is not [N, D] of N images."""
    shape = list(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if not (isinstance(shape, list) and len(shape) == 2 and shape[0] == len(images[0])):  # noqa: PLR2004
        raise WeightsError(
            f"{name} gives {shape} for {len(images[0])} images, not one row of numbers an image: have it pool, such as "
            "with global_pool = 'avg' in the model_args of config.json"
        )


def _constructed(architecture: Architecture, num_classes: int) -> nn.Module:
    of_timm = getattr(timm.models, architecture.class_ or "", None)  # named in files of strangers, too: no function
    make: Callable[..., nn.Module] | None = of_timm if isinstance(of_timm, type) else None
    if architecture.timm is not None:
        make = functools.partial(timm.create_model, architecture.timm)
    if make is None:
        raise UsageError(f"timm.models has no network class {architecture.class_!r}")
    try:
        return make(num_classes=num_classes, **architecture.args)
    except Exception as error:  # noqa: BLE001  arguments may be anything, and networks raise whatever that leads to
        what = f"{architecture.name} with {brief(architecture.args)}"
        raise UsageError(f"timm cannot build {what}: {type(error).__name__}: {first_line(error)}") from None


def headless(network: nn.Module) -> nn.Module:
    """Take the classifier off: images to the features before it ([N, D], "pre_logits")."""
    timm_network: Any = network
    timm_network.reset_classifier(0)
    return network


def with_classifier(network: nn.Module, architecture: Architecture, num_classes: int) -> nn.Module:
    """Give a headless ``network`` a new linear classifier whose weights and biases are zero."""
    timm_network: Any = network
    timm_network.reset_classifier(num_classes)
    of_head = head_of(architecture).shapes
    for name, parameter in network.named_parameters():
        # What is before the last layer, such as LeViT's normalisation, stays: zeros there would never learn.
        if None in of_head.get(name, ()):
            nn.init.zeros_(parameter)
    return network


def head_of(architecture: Architecture, classes: int | None = None) -> Head:
    """Return the classifier's tensors: what a network with a head has and one without has not."""
    with torch.device("meta"):
        of_two, of_three = (build(architecture, count).state_dict() for count in (2, 3))
        bare = headless(build(architecture, num_classes=2))
    # Where networks for two and for three classes differ, the number of classes stands.
    shapes = {
        name: tuple(a if a == b else None for a, b in zip(of_two[name].shape, of_three[name].shape, strict=True))
        for name in sorted(of_two.keys() - bare.state_dict().keys())
    }
    return Head(shapes, classes, hidden=isinstance(bare, timm.models.VisionTransformer))


def body(card: Card, on_note: Callable[[str], object]) -> nn.Module:
    """Load a card's network with its weights, without the classifier, at the resolution the card names.

    ``on_note`` is told what a reader of the results should know of the loading.

    Raises:
        WeightsError: the checkpoint is missing, damaged, partial, or another network's.
    """
    assert card.architecture is not None
    try:
        network = headless(build(card.architecture, num_classes=1))
    except UsageError as error:
        raise UsageError(f"{card.name}: {error}") from None
    if (file := weights.place(card)) is not None:
        state = state_of(card, file, on_note)
        checkpoints.load_into(network, state, head_of(card.architecture, card.classes), file.name)
    return network if card.enlarged is None else _enlarged(network, card, card.enlarged)


def classifier(card: Card) -> tuple[np.ndarray, np.ndarray]:
    """Return the checkpoint's own classifier: weights [classes, D] and biases [classes], float32.

    Raises:
        WeightsError: it has none, or one that is no linear layer on the features; or as ``body``.
    """
    assert card.architecture is not None
    file = weights.place(card)
    if file is None:
        raise WeightsError(f"{card.name}: its weights are random; no classifier was trained")
    state, head = state_of(card, file, lambda _: None), head_of(card.architecture, card.classes)
    if not (classes := head.rows(state)):
        raise WeightsError(f"{card.name}: its checkpoint has no classifier")
    whole: Any = build(card.architecture, num_classes=classes).eval()
    checkpoints.load_into(whole, state, head, file.name)
    layer = whole.get_classifier()
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    side = card.preprocessing.resolution
    with torch.inference_mode():
        images = torch.linspace(-1, 1, 3 * side * side).reshape(1, 3, side, side)
        logits, features = whole(images), headless(copy.deepcopy(whole))(images)
        if weight is None or bias is None or weight[0].numel() != features.shape[1]:
            raise WeightsError(f"{card.name}: its classifier is no linear layer on the features")
        weight = weight.reshape(classes, -1)
        if not torch.allclose(features @ weight.T + bias, logits, rtol=1e-3, atol=1e-3 * float(logits.abs().max())):
            raise WeightsError(f"{card.name}: there is more between its features and its logits than a linear layer")
    return weight.detach().float().numpy().copy(), bias.detach().float().numpy().copy()


def whole(architecture: Architecture, classes: int, state: checkpoints.State, source: str) -> nn.Module:
    """Return a network with its classifier, in evaluation mode, that has the tensors ``state`` of ``source``.

    Raises:
        WeightsError: they are another network's.
    """
    network = build(architecture, num_classes=classes).eval()
    checkpoints.load_into(network, state, head_of(architecture, classes), source)
    return network


def state_of(card: Card, file: Path, on_note: Callable[[str], object]) -> checkpoints.State:
    """Read the tensors of a card's file, under timm's names; arguments and errors are those of ``body``."""
    assert card.architecture is not None
    try:
        state = checkpoints.read(file, card.key)
    except WeightsError as error:
        if card.weights.startswith("https:"):
            raise WeightsError(f"{error}; remove {file} first") from None
        raise
    if file.suffix == ".safetensors":
        return state  # such files are sorted by name, so that order says nothing
    last = next(reversed(state.values()), torch.empty(0))
    with torch.device("meta"):
        whole = build(card.architecture, num_classes=len(last) if last.ndim == 1 and len(last) else 1).state_dict()
    renamed, by_order = checkpoints.named_alike(state, whole)
    if by_order:
        on_note(
            f"the file's {len(state)} tensors have other names and were taken in their order; that they were trained "
            f"in {card.architecture.timm or card.name} is not proven"
        )
    return renamed


def _enlarged(network: nn.Module, card: Card, architecture: Architecture) -> nn.Module:
    """Put the weights of ``network`` into the larger one that the card's resolution asks for."""
    larger = headless(build(architecture, num_classes=1))
    grid, new_grid = (
        next(module.grid_size[0] for module in sized.modules() if isinstance(module, PatchEmbed))
        for sized in (network, larger)
    )
    if card.preprocessing.resolution % new_grid:
        raise UsageError(f"{card.name} at {card.preprocessing.resolution} px: its patches do not divide the image")
    prefix = 0 if getattr(network, "no_embed_class", False) else getattr(network, "num_prefix_tokens", 0)
    resize = functools.partial(resample_abs_pos_embed, new_size=[new_grid] * 2, num_prefix_tokens=prefix)
    shapes = {name: tensor.shape for name, tensor in larger.state_dict().items()}
    larger.load_state_dict(resolution.enlarged(network.state_dict(), shapes, (grid, new_grid), resize))
    return larger
