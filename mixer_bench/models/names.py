"""Names of models to cards, for models that are no card of the zoo among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, ValidationError

from mixer_bench.errors import UsageError, WeightsError, unknown
from mixer_bench.models.card import GOOGLES, Card
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.models.zoo import cards
from mixer_bench.system.schema import first_problem


def card(model: str) -> Card:
    """The card of a model's name; of a name that says where weights are, one made for them.

    Raises:
        UsageError: no such model; says which ones come near.
        WeightsError: the file or folder that the name speaks of is not there.
    """
    kind, _, rest = model.partition(":")
    if kind == "random" and rest and not rest.startswith("random:"):
        return untrained(card(rest) if ":" in rest else _architecture(rest))
    if kind == "timm" and rest:
        return _timm_card(rest)
    if kind == "file" and rest:
        return _file_card(rest)
    if kind == "local-dir" and rest:
        place = Path(rest).resolve()
        return _configured(f"local-dir:{place.name}", place / "config.json", f"local-dir:{place}")
    if kind == "hf-hub" and rest:
        return _hub_card(model, rest)
    return _named(model)


def untrained(twin: Card) -> Card:
    """The control to ``twin``: the same network with random weights.

    Raises:
        UsageError: it has no network.
    """
    if twin.architecture is None:
        raise UsageError(f"'random:{twin.name}': {twin.name!r} has no network to leave untrained")
    return twin.model_copy(
        update={
            "name": f"random:{twin.name}",
            "weights": "random",
            "licence": "-",
            "description": f"{twin.name} untrained (seed 0): the control that shows what pre-training adds",
            "tags": ("control",),
            **_NOTHING_KNOWN,
            "pretrain": "none",
        }
    )


# What a card says of its own weights, which other weights for the same network do not share.
_NOTHING_KNOWN: dict[str, Any] = {
    "recipe": None,
    "revision": None,
    "pretrain": "?",
    "in_domain": (),
    "note": "",
    "classes": None,
    "cost": None,
    "references": (),
}


AMBIGUOUS = ("resnet50", "resnet101")  # names of cards that are other networks' in timm


def _file_card(spec: str) -> Card:
    path, _, query = spec.rpartition("?arch=")
    pairs = parse_qsl(f"arch={query}")
    options = dict(pairs) if path and len(dict(pairs)) == len(pairs) else {}
    architecture = options.pop("arch", "")
    classes = options.pop("classes", None)
    if not architecture or options or (classes is not None and not classes.isdecimal()):
        raise UsageError(
            f"'file:{spec}' must say which network the weights are for: file:PATH?arch=NAME, with &classes=N if the "
            "classifier in the file is to be checked"
        )
    if not Path(path).is_file():
        raise WeightsError(f"'file:{path}': there is no such file")
    if architecture in AMBIGUOUS:
        raise UsageError(
            f"'file:{spec}': {architecture} is BiT's in this zoo and the classic network in timm; say "
            f"arch={cards()[architecture].architecture.timm} or arch={architecture}_in1k"  # type: ignore[union-attr]
        )
    twin = _architecture(architecture)
    if twin.architecture is None:
        raise UsageError(f"'file:{spec}': {architecture!r} has no network to load weights into")
    network = twin.architecture
    if path.endswith(".npz"):  # such files are Google's, trained with its arithmetic
        network = network.model_copy(update=GOOGLES.get(twin.family, {}))
    return twin.model_copy(
        update={
            # The file's own name, never its folder: a record must not carry a machine's paths.
            "name": f"file:{Path(path).name}?arch={architecture}" + (f"&classes={classes}" if classes else ""),
            "weights": f"file:{path}",
            "licence": "as its owner says",
            "description": f"weights of one's own for {architecture}",
            "tags": (),
            **_NOTHING_KNOWN,
            "classes": int(classes) if classes else None,
            "architecture": network,
        }
    )


def _timm_card(name: str) -> Card:
    """A checkpoint of timm's by its name and tag: the zoo's own card of it where there is one, which knows more."""
    from mixer_bench.models import timm_cards

    known = {c.weights: c for c in cards().values()}
    if (own := known.get(f"hf-hub:timm/{name}")) is not None:
        return own
    return timm_cards.tagged_card(name, {weights.rpartition("/")[2]: c.name for weights, c in known.items()})


class _Config(BaseModel):
    """The parts of timm's ``config.json`` that decide a network and its preprocessing."""

    model_config = ConfigDict(extra="ignore")

    architecture: str
    num_classes: int | None = None
    model_args: dict[str, Any] = {}
    pretrained_cfg: dict[str, Any] = {}


def _hub_card(model: str, rest: str) -> Card:
    from mixer_bench.models import weights

    repository, at, revision = rest.partition("@")
    if at and not revision:
        raise UsageError(f"{model}: after the @ a revision is named")
    known = {c.weights: c for c in cards().values()}
    if (own := known.get(f"hf-hub:{repository}")) is not None:
        # Pinned to a revision it is the same checkpoint, of which the zoo knows more than config.json says.
        return own.model_copy(update={"name": model, "revision": revision}) if revision else own
    config = weights.hub_file(repository, (weights.CONFIG,), revision or None)
    found = _configured(model, config, f"hf-hub:{repository}")
    return found.model_copy(update={"revision": revision or None})


FIXED = ("pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "scriptable")


def _configured(name: str, config: Path, weights: str) -> Card:
    """A card from a folder or repository in timm's layout: config.json beside the weights."""
    from mixer_bench.models import timm_cards

    try:
        read = _Config.model_validate_json(config.read_bytes())
    except OSError as error:
        raise WeightsError(f"{name}: no config.json that says which network the weights are for ({error})") from None
    except ValidationError as error:
        raise WeightsError(f"{name}: config.json is not of timm's form ({first_problem(error)})") from None
    args = {key: value for key, value in read.model_args.items() if key not in ("num_classes", "in_chans")}
    if unfit := sorted(set(args) & set(FIXED)):
        raise WeightsError(f"{name}: config.json sets {', '.join(unfit)}, which is not a network's")
    twin = timm_cards.timm_card(read.architecture)
    if twin is None or twin.architecture is None:
        raise WeightsError(f"{name}: config.json names {read.architecture!r}, which is no architecture of timm's")
    declared = {**_as_timm(twin.preprocessing), **read.pretrained_cfg}
    try:
        preprocessing = timm_cards.preprocessing_of(name, declared)
    except (ValidationError, LookupError, TypeError) as error:
        raise WeightsError(f"{name}: config.json is not of timm's form ({error})") from None
    arithmetic = timm_cards.googles_arithmetic(read.architecture, str(declared.get("tag") or ""))
    return twin.model_copy(
        update={
            "name": name,
            "weights": weights,
            "licence": str(declared.get("license") or "as its owner says"),
            "description": f"{read.architecture}, weights and preprocessing of {name}",
            "tags": (),
            **_NOTHING_KNOWN,
            "classes": read.num_classes,
            "architecture": twin.architecture.model_copy(update={"args": args, "gelu": None, **arithmetic}),
            "preprocessing": preprocessing,
        }
    )


def _as_timm(preprocessing: Preprocessing) -> dict[str, Any]:
    """An architecture's own preprocessing, as config.json would say it: what is not declared stays as it is."""
    side = preprocessing.resolution
    return {
        **preprocessing.model_dump(include={"mean", "std", "interpolation", "crop_pct"}),
        "input_size": (3, side, side),
        "crop_mode": "squash" if preprocessing.resize == "squash" else "center",
    }


def _named(name: str) -> Card:
    if name in cards():
        return cards()[name]
    choices = [*cards(), *(f"random:{n}" for n, c in cards().items() if c.architecture)]
    error = unknown("model", name, choices)
    if "." in name and ":" not in name:
        raise UsageError(f"{error}; a checkpoint of timm's is timm:{name}")
    raise error


def _architecture(name: str) -> Card:
    """The card whose network weights of one's own are for: a card's name, or a timm architecture."""
    if name in cards():
        return cards()[name]
    from mixer_bench.models import timm_cards

    if found := timm_cards.timm_card(name):
        return found
    raise unknown("architecture", name, cards())
