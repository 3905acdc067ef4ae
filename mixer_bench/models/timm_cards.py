"""Cards for timm's architectures and tagged checkpoints, and for architectures of one's own registered with timm."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import sys
import types
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm

from mixer_bench.errors import UsageError, unknown
from mixer_bench.models.card import GOOGLES, Architecture, Card, Family
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.models.zoo import cards
from mixer_bench.system.plugins import FOREIGN
from mixer_bench.system.schema import brief

CHANNELS = 3
LARGEST = 4096  # pixels of an image's side
KEYS = {field.name for field in dataclasses.fields(timm.models.PretrainedCfg)} | {"labels"}  # of a config.json
FAMILIES: Mapping[str, Family] = {
    "mixer_": "mixer",
    "vit_": "vit",
    "deit": "vit",
    "resnet": "resnet",
    "resmlp_": "mlp",
    "gmixer_": "mlp",
    "gmlp_": "mlp",
}


def import_file(file: Path) -> list[str]:
    """Run a Python file that registers architectures (timm's ``@register_model``), and return their names.

    They can then be named as timm's own: ``random:NAME``, ``file:PATH?arch=NAME``. The file's content is part of the
    identity of what is measured with them; what it imports is not.

    Raises:
        UsageError: it cannot be imported, registers nothing, or a name in it is taken.
    """
    try:
        source = file.read_bytes()
    except OSError as error:
        raise UsageError(f"--import {file}: cannot be read ({error.strerror})") from None
    name = f"imported_{hashlib.sha256(source).hexdigest()}"
    if name not in sys.modules:
        module = sys.modules[name] = types.ModuleType(name)  # register_model looks for it there
        module.__file__ = str(file)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", "Overwriting .* in registry")
                exec(compile(source, file, "exec"), module.__dict__)  # noqa: S102  the user names it to have it run
            _code(name)
        except FOREIGN as error:
            del sys.modules[name]
            reason = f"{type(error).__name__}: {error}"
            if isinstance(error, UserWarning):
                reason = f"the name is taken: {str(error).partition('. ')[0]}"
            raise UsageError(f"--import {file}: cannot be imported ({reason})") from error
    registered = timm.list_models(module=name)
    if not registered:
        raise UsageError(f"--import {file}: registers no network; put timm.models.register_model before a function")
    if taken := sorted(set(registered) & set(cards())):
        raise UsageError(f"--import {file}: {', '.join(taken)}: the zoo has a model of that name; choose another")
    return list(registered)


@functools.cache
def _code(module: str) -> str | None:
    """Return the SHA-256 of the file that a module is from; None for timm's own."""
    if module.partition(".")[0] == "timm":
        return None
    return hashlib.sha256(Path(str(sys.modules[module].__file__)).read_bytes()).hexdigest()


def timm_card(name: str) -> Card | None:
    """Return a card for a timm architecture with weights of one's own; None if timm has no such architecture.

    Raises:
        UsageError: the name is one that timm has given up, or its preprocessing is not one that is known here.
    """
    architecture, _, tag = name.partition(".")
    if (today := _deprecated().get(name)) is not None:
        raise UsageError(f"{name} is a name that timm has given up; today it is {today}")
    if not timm.is_model(name):
        return None
    code = _code(timm.model_entrypoint(architecture).__module__)
    try:
        preprocessing = preprocessing_of(name)
    except RuntimeError:  # no such tag
        return None
    configured = timm.models.get_pretrained_cfg(name)
    return Card(
        name=name,
        family=_family(name),
        description=f"timm architecture {name}" if code is None else f"an architecture of one's own, {name}",
        weights="random",
        licence="-",
        any_size=configured is not None and not configured.fixed_input_size,
        architecture=Architecture(timm=architecture, code=code, **googles_arithmetic(architecture, tag)),
        preprocessing=preprocessing,
    )


def preprocessing_of(architecture: str, declared: Mapping[str, Any] | None = None, name: str = "") -> Preprocessing:
    """Return timm's evaluation of a checkpoint: what its configuration declares, else what its architecture has.

    Args:
        architecture: of timm, with or without a tag.
        declared: keys of timm's pretrained_cfg.
        name: of the model in errors; left out, the architecture's.

    Raises:
        UsageError: it is not a resize with a central crop, or a plain squash, to a square; or ``declared`` has a key
            that timm does not know, or mean and std of other values than 0 to 1.
    """
    name = name or architecture
    if unknown_keys := sorted(set(declared or {}) - KEYS):
        raise UsageError(f"{name}: config.json has {', '.join(unknown_keys)}, which timm does not know; take it out")
    usual = timm.models.get_pretrained_cfg(architecture) or timm.models.PretrainedCfg()
    config = {**usual.to_dict(), **(declared or {})}
    mode, crop, size = config.get("crop_mode") or "center", config.get("crop_pct") or 0.875, config["input_size"]
    if not all(0 <= mean <= 1 and 0 < std <= 1 for mean, std in zip(config["mean"], config["std"], strict=True)):
        told = f"mean {brief(config['mean'])} and std {brief(config['std'])}"
        raise UsageError(f"{name}: {told} are not of values from 0 to 1; divide them by 255")
    if size[0] != CHANNELS or size[1] != size[2] or size[1] > LARGEST:
        raise UsageError(
            f"{name}: takes {brief(size[0])} channels of {brief(size[1])} x {brief(size[2])} pixels; "
            f"squares of three, of {LARGEST} pixels at most, do here"
        )
    if not ((mode == "center" and crop <= 1) or (mode == "squash" and crop == 1)):
        raise UsageError(
            f"{name}: timm evaluates it with crop mode {mode} at {brief(crop)}, which is not supported here"
        )
    return Preprocessing(
        resolution=size[-1],
        mean=config["mean"],
        std=config["std"],
        interpolation=config["interpolation"],
        crop_pct=crop,
        resize="squash" if mode == "squash" else "crop",
    )


def googles_arithmetic(architecture: str, tag: str) -> dict[str, Any]:
    """Return how a network must compute where its weights are Google's, by timm's tag; nothing for other weights."""
    family = _family(architecture)
    of_google = tag.startswith(("goog_", "augreg_", "orig_", "sam_", "webli", "v2_webli"))
    if not of_google or (family == "resnet" and not architecture.endswith("_bit")):
        return {}
    return dict(GOOGLES.get(family, {}))


def _family(name: str) -> Family:
    return next((family for prefix, family in FAMILIES.items() if name.startswith(prefix)), "other")


def tagged_card(name: str, known: Mapping[str, str]) -> Card:
    """Return the card of a timm checkpoint, ``architecture.tag``.

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
    tagged = timm.list_pretrained(f"{architecture}.*")
    if not tagged:
        raise UsageError(f"timm:{name}: timm has no weights for it; random:{architecture} is the network untrained")
    card = timm_card(name) if tag and name in tagged else None
    if card is None:
        problem = f"unknown tag {tag!r}" if tag else "no tag, and timm would pick one by itself"
        choices = ", ".join(f"timm:{n}" + (f" ({known[n]})" if n in known else "") for n in tagged)
        raise UsageError(f"timm:{name}: {problem}; say which weights: {choices}")
    defaults = timm.models.get_pretrained_cfg(name)
    if "quickgelu" in str(defaults.notes).lower() and "quickgelu" not in architecture:
        variant = architecture.replace("_clip_", "_clip_quickgelu_")
        raise UsageError(f"timm:{name}: its weights were trained with QuickGELU: take timm:{variant}.{tag}")
    if not defaults.hf_hub_id:
        raise UsageError(f"timm:{name}: its weights are not on the hub")
    return card.model_copy(
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
    names: dict[str, str] = getattr(timm.models._registry, "_deprecated_models", {})
    return names
