"""Cards for timm's architectures and tagged checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm

from mixer_bench.errors import UsageError, unknown
from mixer_bench.models.card import GOOGLES, Architecture, Card, Family
from mixer_bench.models.preprocessing import Preprocessing

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
