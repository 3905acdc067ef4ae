"""timm's networks: built, filled with weights, described by cards. The only module that imports timm."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import PatchEmbed, StdConv2d, resample_abs_pos_embed, set_fused_attn
from torch import nn

from mixer_bench.errors import UsageError, WeightsError
from mixer_bench.models import checkpoints, resolution, weights
from mixer_bench.models.card import Architecture, Card
from mixer_bench.models.checkpoints import PRE_LOGITS, Head


def build(architecture: Architecture, num_classes: int, seed: int = 0) -> nn.Module:
    """A network with random weights, drawn from ``seed`` whatever was drawn before.

    Raises:
        UsageError: timm has no such class or architecture, or it lacks the layers whose arithmetic is to be set.
    """
    # Written-out attention is the faster of timm's two on a CPU, in training by 1.4 (64 tokens, width 192).
    set_fused_attn(torch.cuda.is_available())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _constructed(architecture, num_classes)
    if architecture.gelu is not None:
        for gelu in _all(network, nn.GELU, architecture):
            gelu.approximate = "tanh" if architecture.gelu == "tanh" else "none"
    if architecture.standardisation_eps is not None:
        for convolution in _all(network, StdConv2d, architecture):
            convolution.eps = architecture.standardisation_eps
    return network


def _all(network: nn.Module, kind: type[nn.Module], architecture: Architecture) -> list[Any]:
    found = [module for module in network.modules() if isinstance(module, kind)]
    if not found:
        raise UsageError(
            f"{architecture.timm or architecture.class_} has no {kind.__name__} to set up as its weights ask"
        )
    return found


def _constructed(architecture: Architecture, num_classes: int) -> nn.Module:
    try:
        return _made(architecture, num_classes)
    except (TypeError, ValueError, RuntimeError, LookupError, AssertionError, AttributeError) as error:
        what = f"{architecture.timm or architecture.class_} with {architecture.args}"
        raise UsageError(f"timm cannot build {what}: {type(error).__name__}: {error}") from None


def _made(architecture: Architecture, num_classes: int) -> nn.Module:
    if architecture.timm is not None:
        registered: nn.Module = timm.create_model(architecture.timm, num_classes=num_classes, **architecture.args)
        return registered
    network = getattr(timm.models, architecture.class_ or "", None)
    if network is None:
        raise UsageError(f"timm.models has no network class {architecture.class_!r}")
    built: nn.Module = network(num_classes=num_classes, **architecture.args)
    return built


def headless(network: nn.Module) -> nn.Module:
    """``network`` without its classifier: images to the features before it ([N, D], "pre_logits")."""
    timm_network: Any = network  # every network of timm can do this; torch's type does not know
    timm_network.reset_classifier(0)
    return network


def body(card: Card, on_note: Callable[[str], object]) -> nn.Module:
    """A card's network with its weights, without the classifier, at the resolution the card names.

    Args:
        card: with an architecture.
        on_note: told what a reader of the results should know of the loading.

    Raises:
        WeightsError: the checkpoint is missing, damaged, partial, or another network's.
    """
    assert card.architecture is not None
    network = headless(build(card.architecture, num_classes=1))
    if (file := weights.place(card)) is not None:
        head = head_of(card.architecture, card.classes)
        checkpoints.load_into(network, _state(card, file, on_note), head, file.name)
    return _at_resolution(network, card, lambda larger: headless(build(larger, num_classes=1)))


def classifier(card: Card, on_note: Callable[[str], object]) -> nn.Module:
    """A card's network with the classifier of its checkpoint: images to logits [N, classes].

    Raises:
        WeightsError: as ``body``; or the checkpoint has no classifier, or one that timm's network cannot hold.
    """
    assert card.architecture is not None
    if (file := weights.place(card)) is None:
        raise WeightsError(f"{card.name} has no checkpoint, so no classifier")
    state = _state(card, file, on_note)
    head = head_of(card.architecture, card.classes)
    if any(name.startswith(PRE_LOGITS) for name in state) or not head.rows(state):
        raise WeightsError(f"{file.name} has no classifier, or one with a hidden layer, which timm's networks have not")
    network = build(card.architecture, num_classes=head.rows(state))
    checkpoints.load_into(network, state, head, file.name)
    return _at_resolution(network, card, functools.partial(build, num_classes=head.rows(state)))


def with_classifier(network: nn.Module, architecture: Architecture, num_classes: int) -> nn.Module:
    """A headless ``network`` with a new linear classifier whose weights and biases are zero."""
    timm_network: Any = network
    timm_network.reset_classifier(num_classes)
    names = head_of(architecture).names
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name in names:
                parameter.zero_()
    return network


def head_of(architecture: Architecture, classes: int | None = None) -> Head:
    """The classifier's tensors: what a network with a head has and one without has not."""
    with torch.device("meta"):
        whole = set(build(architecture, num_classes=2).state_dict())
        bare: Any = headless(build(architecture, num_classes=2))
    names = tuple(sorted(whole - set(bare.state_dict())))
    # MobileNet's family has a layer of its own between the pooled features and the classifier.
    width = getattr(bare, "head_hidden_size", None) or bare.num_features
    return Head(names, int(width), classes, hidden=isinstance(bare, timm.models.VisionTransformer))


def _state(card: Card, file: Path, on_note: Callable[[str], object]) -> checkpoints.State:
    """The tensors of a card's file, under timm's names."""
    assert card.architecture is not None
    try:
        state = checkpoints.read(file)
    except WeightsError as error:
        if card.weights.startswith("https:"):
            raise WeightsError(f"{error}; remove {file} first") from None
        raise
    if file.suffix == ".safetensors":
        return state  # such files are sorted by name, so that order says nothing
    last = next(reversed(state.values()), torch.empty(0))
    with torch.device("meta"):
        whole = build(card.architecture, num_classes=len(last) if last.ndim == 1 and len(last) else 1).state_dict()
    named, by_order = checkpoints.named_alike(state, whole)
    if by_order:
        on_note(
            f"the file's {len(state)} tensors have other names and were taken in their order; that they were trained "
            f"in {card.architecture.timm or card.name} is not proven"
        )
    return named


def _at_resolution(network: nn.Module, card: Card, make: Callable[[Architecture], nn.Module]) -> nn.Module:
    """``network``, or the larger one with its weights where the card names another resolution."""
    if card.enlarged is None:
        return network
    larger = make(card.enlarged)
    grid, new_grid = _grid(network), _grid(larger)
    side = card.preprocessing.resolution
    if side % new_grid:
        raise UsageError(f"{card.name} at {side} px: its patches do not divide the image")
    state, shapes = network.state_dict(), {name: tensor.shape for name, tensor in larger.state_dict().items()}
    timm_network: Any = network
    prefix = 0 if getattr(timm_network, "no_embed_class", False) else getattr(timm_network, "num_prefix_tokens", 0)
    resize = functools.partial(resample_abs_pos_embed, new_size=[new_grid] * 2, num_prefix_tokens=prefix)
    larger.load_state_dict(resolution.enlarged(state, shapes, (grid, new_grid), resize))
    return larger


def _grid(network: nn.Module) -> int:
    """Patches a side."""
    patches: Any = next(module for module in network.modules() if isinstance(module, PatchEmbed))
    return int(patches.grid_size[0])
