"""timm's networks: built, filled with weights, described by cards. The only module that imports timm."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import PatchEmbed, StdConv2d, resample_abs_pos_embed, set_fused_attn
from torch import nn

from mixer_bench import checkpoints, highres, weights
from mixer_bench.card import GOOGLES, Architecture, Card, Family
from mixer_bench.checkpoints import PRE_LOGITS, Head
from mixer_bench.errors import UsageError, WeightsError, unknown
from mixer_bench.preprocessing import Preprocessing

CHANNELS = 3
FAMILIES: Mapping[str, Family] = {
    "mixer_": "mixer",
    "vit_": "vit",
    "deit": "vit",
    "resnet": "resnet",
    "resmlp_": "mlp",
    "gmixer_": "mlp",
    "gmlp_": "mlp",
}


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
        raise UsageError(f"{card.name} at {side} px: its patches do not divide the picture")
    state, shapes = network.state_dict(), {name: tensor.shape for name, tensor in larger.state_dict().items()}
    timm_network: Any = network
    prefix = 0 if getattr(timm_network, "no_embed_class", False) else getattr(timm_network, "num_prefix_tokens", 0)
    resize = functools.partial(resample_abs_pos_embed, new_size=[new_grid] * 2, num_prefix_tokens=prefix)
    larger.load_state_dict(highres.enlarged(state, shapes, (grid, new_grid), resize))
    return larger


def _grid(network: nn.Module) -> int:
    """Patches a side."""
    patches: Any = next(module for module in network.modules() if isinstance(module, PatchEmbed))
    return int(patches.grid_size[0])


def timm_card(name: str) -> Card | None:
    """A card for a timm architecture with weights of one's own; None if timm has no such architecture.

    Raises:
        UsageError: the name is one that timm has given up, or its preprocessing is not one that is known here.
    """
    architecture, _, tag = name.partition(".")
    if (today := _deprecated().get(name)) is not None:
        raise UsageError(f"{name} is a name that timm has given up; today it is {today}")
    defaults = timm.models.get_pretrained_cfg(name) if timm.is_model(name) else None
    if defaults is None:
        return None
    return Card(
        name=name,
        family=_family(name),
        description=f"timm architecture {name}",
        weights="random",
        licence="-",
        architecture=Architecture(timm=architecture, **googles_arithmetic(architecture, tag)),
        preprocessing=preprocessing_of(name, defaults.to_dict()),
    )


def preprocessing_of(name: str, config: Mapping[str, Any]) -> Preprocessing:
    """timm's evaluation of a checkpoint, from its configuration.

    Raises:
        UsageError: it is not a resize with a central crop, or a plain squash, to a square.
    """
    mode, crop, size = config.get("crop_mode") or "center", config.get("crop_pct") or 0.875, config["input_size"]
    if size[0] != CHANNELS or size[1] != size[2]:
        raise UsageError(f"{name}: takes {size[0]} channels of {size[1]} x {size[2]} pixels; squares of three do here")
    if not ((mode == "center" and crop <= 1) or (mode == "squash" and crop == 1)):
        raise UsageError(f"{name}: timm evaluates it with crop mode {mode} at {crop}, which is not supported here")
    return Preprocessing(
        resolution=size[-1],
        mean=config["mean"],
        std=config["std"],
        interpolation=config["interpolation"],
        crop_pct=crop,
        resize="squash" if mode == "squash" else "crop",
    )


def googles_arithmetic(architecture: str, tag: str) -> dict[str, Any]:
    """How a network must compute where its weights are Google's, by timm's tag; nothing for other weights."""
    family = _family(architecture)
    of_google = tag.startswith(("goog_", "augreg_", "orig_", "sam_", "webli", "v2_webli"))
    if not of_google or (family == "resnet" and not architecture.endswith("_bit")):
        return {}
    return dict(GOOGLES.get(family, {}))


def _family(name: str) -> Family:
    return next((family for prefix, family in FAMILIES.items() if name.startswith(prefix)), "other")


def tagged_card(name: str, known: Mapping[str, str]) -> Card:
    """The card of a timm checkpoint, ``architecture.tag``.

    Args:
        name: such as convnext_base.fb_in22k.
        known: names in the zoo, by names of this kind.

    Raises:
        UsageError: no tag, an unknown one, or a name that timm has given up; says which there are.
    """
    architecture, _, tag = name.partition(".")
    if (today := _deprecated().get(architecture)) is not None:
        also = f" ({known[today]} in the zoo)" if today in known else ""
        raise UsageError(f"timm:{name} is a name that timm has given up; today it is timm:{today}{also}")
    if not timm.is_model(architecture):
        raise unknown("timm architecture", architecture, timm.list_models())
    tags = [f"timm:{n}" + (f" ({known[n]})" if n in known else "") for n in timm.list_pretrained(f"{architecture}.*")]
    if not tags:
        raise UsageError(f"timm:{name}: timm has no weights for it; random:{architecture} is the network untrained")
    found = timm_card(name) if tag and f"timm:{name}" in {text.partition(" ")[0] for text in tags} else None
    if found is None:
        what = f"unknown tag {tag!r}" if tag else "no tag, and timm would pick one by itself"
        raise UsageError(f"timm:{name}: {what}; say which weights: {', '.join(tags)}")
    defaults = timm.models.get_pretrained_cfg(name)
    if "quickgelu" in str(defaults.notes).lower() and "quickgelu" not in architecture:
        variant = architecture.replace("_clip_", "_clip_quickgelu_")
        raise UsageError(f"timm:{name}: its weights were trained with QuickGELU: take timm:{variant}.{tag}")
    if not defaults.hf_hub_id:
        raise UsageError(f"timm:{name}: its weights are not on the hub")
    return found.model_copy(
        update={
            "name": f"timm:{name}",
            "weights": f"hf-hub:{defaults.hf_hub_id}",
            "description": f"{architecture}, timm's weights {tag}",
            "licence": defaults.license or "?",
            "pretrain": f"{tag} (its tag)",
            "classes": defaults.num_classes,
        }
    )


def _deprecated() -> Mapping[str, str]:
    """Names that timm still answers to, with what they mean today: some silently mean other weights."""
    found: dict[str, str] = getattr(timm.models._registry, "_deprecated_models", {})
    return found
