"""Names of models to cards, for models that are no card of the zoo among them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from mixer_bench.errors import UsageError, WeightsError, unknown
from mixer_bench.models.card import GOOGLES, Card
from mixer_bench.models.zoo import cards, of_plugins, recipes
from mixer_bench.system import files
from mixer_bench.system.network import first_line
from mixer_bench.system.paths import expanded, real
from mixer_bench.system.schema import first_problem

AMBIGUOUS = ("resnet50", "resnet101")  # names of cards that are other networks' in timm
NOT_ARGUMENTS = ("pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "scriptable")
OWNERS = "as its owner says"
# What timm's config.json says of the network; in the old form all other keys are its pretrained_cfg.
OF_NETWORK = ("architecture", "model_args", "num_features", "global_pool", "pretrained_cfg")
EVALUATION = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")


def card(model: str) -> Card:
    """Return the card of a model's name; of a name that says where weights are, one made for them.

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
        folder = real(expanded(rest))
        return _configured(f"local-dir:{folder.name}", folder / "config.json", f"local-dir:{folder}")
    if kind == "hf-hub" and rest:
        return _hub_card(model, rest)
    return _named(model)


def matching(models: Iterable[str]) -> list[str]:
    """Return names of models as they are, each once; a glob (``vit_*``) gives the cards whose weights can be had.

    Raises:
        UsageError: a glob that matches no such card.
    """
    there = [
        card.name for card in cards().values() if card.weights.partition(":")[0] not in ("unpublished", "elsewhere")
    ]
    named: list[str] = []
    for model in models:
        is_glob = ":" not in model and not {*"*?["}.isdisjoint(model)
        matches = fnmatch.filter(there, model) if is_glob else [model]
        if not matches:
            raise UsageError(
                f"{model!r} matches no model whose weights can be had; mixer-bench list models has them all"
            )
        named += matches
    return list(dict.fromkeys(named))


def import_files(files: Iterable[Path]) -> list[str]:
    """Register the networks of Python files with timm, and return their names.

    Raises:
        UsageError: a file cannot be imported, registers nothing, or a name in it is taken.
    """
    if not (files := tuple(files)):
        return []
    from mixer_bench.models import timm_cards

    return [name for file in files for name in timm_cards.import_file(file)]


def untrained(twin: Card) -> Card:
    """Return the control to ``twin``: the same network with random weights.

    Raises:
        UsageError: it has no network.
    """
    if twin.architecture is None:
        raise UsageError(f"'random:{twin.name}': {twin.name!r} has no network to leave untrained")
    return _other_weights(
        twin,
        name=f"random:{twin.name}",
        weights="random",
        licence="-",
        description=f"{twin.name} untrained (seed 0): the control that shows what pre-training adds",
        tags=("control",),
        pretrain="none",
    )


def _other_weights(twin: Card, **of_weights: Any) -> Card:
    """Make a card for other weights of ``twin``'s network: nothing is known of them but what is given."""
    of_network = ("family", "architecture", "parameters", "width", "any_size", "preprocessing")
    return Card.model_validate({**{key: getattr(twin, key) for key in of_network}, **of_weights})


def _file_card(spec: str) -> Card:
    path, _, query = spec.rpartition("?arch=")
    path = str(expanded(path)) if path else ""
    pairs = parse_qsl(f"arch={query}")
    options = dict(pairs) if path and len(dict(pairs)) == len(pairs) else {}
    architecture = options.pop("arch", "")
    classes, key, called, recipe = (options.pop(option, None) for option in ("classes", "key", "name", "recipe"))
    if not architecture or options or (classes is not None and not classes.isdecimal()):
        raise UsageError(
            f"'file:{spec}' must say which network the weights are for: file:PATH?arch=NAME, with &classes=N if the "
            "classifier in the file is to be checked, &key=NAME for one of several sets of weights in it, &name=NAME "
            "to call it otherwise than the file, &recipe=NAME if the weights were pre-trained as a group of the zoo was"
        )
    if recipe is not None and recipe not in recipes():
        raise UsageError(f"'file:{spec}': {unknown('recipe', recipe, recipes())}")
    if called is not None and (called in cards() or not re.fullmatch(r"[\w.-]{1,60}", called)):
        raise UsageError(f"&name={called}: a name of 1 to 60 letters, digits, '.', '-' or '_' that no model has")
    if not Path(path).is_file():
        raise WeightsError(f"'file:{path}': there is no such file")
    twin = _architecture(architecture)
    if twin.architecture is None:
        raise UsageError(f"'file:{spec}': {architecture!r} has no network to load weights into")
    if architecture in AMBIGUOUS:
        raise UsageError(
            f"'file:{spec}': {architecture} is BiT's in this zoo and the classic network in timm; say "
            f"arch={twin.architecture.timm} or arch={architecture}_in1k"
        )
    googles = GOOGLES.get(twin.family, {}) if path.endswith(".npz") else {}  # such files are of Google's own code
    return _other_weights(
        twin,
        # The file's own name, never its folder: a record must not carry a machine's paths.
        name=called
        or f"file:{Path(path).name}?arch={architecture}"
        + (f"&classes={classes}" if classes else "")
        + (f"&key={key}" if key else ""),
        weights=f"file:{path}",
        key=key,
        licence=OWNERS,
        description=f"weights of one's own for {architecture}",
        classes=int(classes) if classes else None,
        architecture=twin.architecture.model_copy(update=googles),
        **({"recipe": recipe, **recipes()[recipe].of_card} if recipe else {}),
    )


def _timm_card(name: str) -> Card:
    """Return the card of a timm checkpoint by name and tag: the zoo's own where there is one, which knows more."""
    from mixer_bench.models import timm_cards

    known = {c.weights: c for c in cards().values()}
    if (of_zoo := known.get(f"hf-hub:timm/{name}")) is not None:
        return of_zoo
    return timm_cards.tagged_card(name, {weights.rpartition("/")[2]: c.name for weights, c in known.items()})


def _hub_card(model: str, rest: str) -> Card:
    from mixer_bench.models import weights

    repository, at, revision = rest.partition("@")
    if at and not revision:
        raise UsageError(f"{model}: after the @ a revision is named")
    for of_zoo in cards().values():
        if of_zoo.weights == f"hf-hub:{repository}":
            # Pinned to a revision it is the same checkpoint, of which the zoo knows more than config.json says.
            return of_zoo.model_copy(update={"name": model, "revision": revision}) if revision else of_zoo
    config = weights.hub_file(repository, (weights.CONFIG,), revision or None)
    return _configured(model, config, f"hf-hub:{repository}", revision or None)


class _Config(BaseModel):
    """The parts of timm's ``config.json`` that decide a network and its preprocessing, in its old form or today's."""

    model_config = ConfigDict(extra="ignore")

    architecture: str
    num_classes: NonNegativeInt | None = None
    model_args: dict[str, Any] = Field(default={})
    pretrained_cfg: dict[str, Any] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _of_one_form(cls, read: Any) -> Any:
        """Bring the old form, which has all keys side by side, to today's; refuse a mixture that says two things."""
        if not isinstance(read, dict):
            return read
        inner = read.setdefault("pretrained_cfg", {key: read[key] for key in read if key not in OF_NETWORK})
        of_both = {*EVALUATION} & read.keys() & inner.keys() if isinstance(inner, dict) else ()
        if differing := [key for key in EVALUATION if key in of_both and read[key] != inner[key]]:
            raise ValueError(f"{', '.join(differing)} once in pretrained_cfg and otherwise beside it")
        return read


def _configured(name: str, config: Path, weights: str, revision: str | None = None) -> Card:
    """Make a card from a folder or repository in timm's layout: config.json beside the weights."""
    from mixer_bench.models import timm_cards

    try:
        read = _Config.model_validate_json(files.read(config))
    except OSError as error:
        raise WeightsError(
            f"{name}: no config.json that says which network the weights are for ({error.strerror})"
        ) from None
    except ValidationError as error:
        raise WeightsError(f"{name}: config.json is not of timm's form ({first_problem(error)})") from None
    args = {key: value for key, value in read.model_args.items() if key not in ("num_classes", "in_chans")}
    if unfit := sorted(set(args) & set(NOT_ARGUMENTS)):
        raise WeightsError(f"{name}: config.json sets {', '.join(unfit)}, which is not a network's")
    twin = timm_cards.timm_card(read.architecture)
    if twin is None:
        raise WeightsError(f"{name}: config.json names {read.architecture!r}, which is no architecture of timm's")
    assert twin.architecture is not None
    declared = read.pretrained_cfg
    try:
        preprocessing = timm_cards.preprocessing_of(read.architecture, declared, name)
    except (ValidationError, LookupError, TypeError, ValueError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else first_line(error)
        raise WeightsError(f"{name}: config.json is not of timm's form ({reason})") from None
    arithmetic = timm_cards.googles_arithmetic(read.architecture, str(declared.get("tag") or ""))
    return _other_weights(
        twin,
        name=name,
        weights=weights,
        revision=revision,
        licence=str(declared.get("license") or OWNERS),
        description=f"{read.architecture}, weights and preprocessing of {name}",
        classes=read.num_classes,
        architecture=twin.architecture.model_copy(update={"args": args, "gelu": None, **arithmetic}),
        preprocessing=preprocessing,
    )


def _named(name: str) -> Card:
    if name in cards():
        return cards()[name]
    error = unknown("model", name, [*cards(), *(f"random:{n}" for n, c in cards().items() if c.architecture)])
    hint = [f"a checkpoint of timm's is timm:{name}"] if "." in name and ":" not in name else []
    raise UsageError("; ".join([str(error), *hint, *of_plugins()[1]]))


def _architecture(name: str) -> Card:
    """Return the card whose network weights of one's own are for: a card's name, or a timm architecture."""
    if name in cards():
        return cards()[name]
    from mixer_bench.models import timm_cards

    if (of_timm := timm_cards.timm_card(name)) is None:
        raise UsageError(f"{unknown('architecture', name, cards())}; one of your own comes with --import FILE.py")
    return of_timm
