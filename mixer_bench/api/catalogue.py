"""Functions that say what there is, for programs and for people. Never imports torch."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from tabulate import tabulate

from mixer_bench import protocols
from mixer_bench.data.names import chosen_tasks
from mixer_bench.errors import UsageError
from mixer_bench.models import names, origin, zoo
from mixer_bench.models.card import Card
from mixer_bench.runs.options import Options
from mixer_bench.system import config_file
from mixer_bench.system.options import documented
from mixer_bench.task import task as task_module
from mixer_bench.task.sources import Subset
from mixer_bench.task.task import Task
from mixer_bench.training import presets

WIDTH = 100  # columns a listing takes at most
COLUMNS: Mapping[str, Mapping[str, Callable[[dict[str, Any]], Any]]] = {  # of a listing: heading -> cell of an entry
    "tasks": {
        "name": lambda task: task["name"],
        "classes": lambda task: task["num_classes"],
        "train/val/test": lambda task: "/".join(map(str, task["sizes"].values())),
        "groups": lambda task: [tag for tag in task["tags"] if not any(t.startswith(f"{tag}/") for t in task["tags"])],
        "official from": lambda task: _best_images(task["source"]),
    },
    "models": {
        "name": lambda model: model["name"],
        "family": lambda model: model["family"],
        "pre-training": lambda model: model["pretrain"],
        "px": lambda model: model["preprocessing"]["resolution"],
        "params": lambda model: f"{model['parameters'] / 1e6:.1f}M" if model.get("parameters") else "-",
        "cost": lambda model: model["cost_words"],
        "weights": lambda model: model["weights"].partition(":")[0],
    },
    "protocols": {
        "name": lambda protocol: protocol["name"],
        "version": lambda protocol: protocol.get("version"),
        "description": lambda protocol: protocol["description"],
    },
}


def _best_images(sources: Sequence[Mapping[str, Any]]) -> str:
    """Return the kinds of source that give the best images that can be had, and what these are if not official."""
    best = min((source["subset"] for source in sources), key=get_args(Subset).index)
    kinds = dict.fromkeys(
        source["kind"] + (" where vtab-1k proves them" if source.get("proved_by") else "")
        for source in sources
        if source["subset"] == best
    )
    return ", ".join(kinds) if best == "official" else f"{best}: {', '.join(kinds)}"


@documented(Options, "include", "import_files")
def list_(
    what: Literal["tasks", "models", "protocols"],
    family: str | None = None,
    pretrain: str | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Return all tasks, models or protocols: objects with ``name``, ``tags`` and the rest of the card.

    Args:
        what: "tasks", "models" or "protocols".
        family: of models, only this one: mixer, vit, resnet, ...
        pretrain: of models, only those pre-trained on these images: in21k, in1k, ...
        **options:

    Raises:
        UsageError: a family or images that no model has, or for what are no models.
    """
    if (family or pretrain) and what != "models":
        raise UsageError("--family and --pretrain choose among models")
    asked, _ = config_file.resolved(Options, options)
    imported = names.import_files(asked.import_files)
    if what == "tasks":
        return [_task_card(task) for task in task_module.tasks(asked.include).values()]
    if what == "models":
        untrained = [names.card(f"random:{name}") for name in imported]
        return [_model_card(card) for card in zoo.chosen(family, pretrain, untrained)]
    return [_protocol_or_error(name) for name in protocols.names()]


def listing(what: str, entries: Sequence[dict[str, Any]]) -> str:
    """Return the entries as a table, a line each or, where the last column is long, several."""
    if not entries:
        return f"no {what} are both\n"
    headings = [*COLUMNS[what]]
    rows = [[_words(cell(entry)) for cell in COLUMNS[what].values()] for entry in entries]
    spaced = [f"{heading}  " for heading in headings[:-1]]  # tabulate leaves two places beside a heading
    before = sum(max(map(len, column)) + 2 for column in zip(spaced, *(row[:-1] for row in rows), strict=True))
    widths = [None] * (len(headings) - 1) + [max(16, WIDTH - before)]
    return tabulate(rows, headings, tablefmt="simple", disable_numparse=True, maxcolwidths=widths) + "\n"


@documented(Options, "include", "import_files")
def show(
    what: Literal["task", "model", "protocol"], name: str, preset: str | None = None, **options: Any
) -> dict[str, Any]:
    """Return everything about one task, model or protocol.

    Args:
        what: "task", "model" or "protocol".
        name: its name.
        preset: of finetune, a published setting: its values, and what differs from the default.
        **options:

    Raises:
        UsageError: there is none of that name, or no such preset.
    """
    asked, _ = config_file.resolved(Options, options)
    names.import_files(asked.import_files)
    if preset is not None and what != "protocol":
        raise UsageError("--preset goes with a protocol")
    if what == "task":
        return _task_card(chosen_tasks([name], asked.include)[0])
    return _model_card(names.card(name)) if what == "model" else _protocol_card(name, preset)


def _task_card(task: Task) -> dict[str, Any]:
    card = task.model_dump(mode="json")
    # A reader looks for the kind first; the model has it after what all kinds share.
    return {**card, "source": [{"kind": source["kind"], **source} for source in card["source"]]}


def _model_card(card: Card) -> dict[str, Any]:
    told = card.model_dump(mode="json", by_alias=True, exclude_none=True)
    told["weights"] = card.source  # a folder of this machine is nobody else's business
    if card.recipe is not None:
        recipe = zoo.recipes()[card.recipe].model_dump(mode="json", exclude={"in_domain"})
        told["recipe"] = {"name": card.recipe, **recipe}
    if (measured := origin.pretraining(card)) is not None:
        told["pretraining"] = measured.model_dump(mode="json")
    told |= {"verified_by": card.verified_by, "verification": card.verification}  # said where nobody has, too
    return {**told, "cost_words": origin.origin(card).cost_words, "transform": card.preprocessing.words}


def _protocol_or_error(name: str) -> dict[str, Any]:
    try:
        return _protocol_card(name)
    except UsageError as error:  # a package's; the others work all the same
        return {"name": name, "tags": [], "description": str(error)}


def _protocol_card(name: str, preset: str | None = None) -> dict[str, Any]:
    protocol = protocols.get(name)
    text = protocol.documentation
    presets.only_with_presets(preset, {name: protocol.defaults is not None})
    told = {
        "name": name,
        "tags": [],
        "version": protocol.version,
        "description": text.partition("\n")[0],
        "documentation": text,
        "settings": protocol.config().model_dump(mode="json"),
        "sweep": {key: list(values) for key, values in protocol.sweep.items()},
        "presets": list(presets.presets()) if protocol.defaults else [],
    }
    return {**told, "preset": _preset_card(preset)} if protocol.defaults else told


def _preset_card(name: str | None) -> dict[str, Any]:
    """A preset, each setting beside the default preset's where the two differ."""
    chosen, usual = presets.preset(name), presets.preset(None).settings
    settings = {key: _words(value) for key, value in chosen.settings.items()}
    for key, value in chosen.settings.items():
        if value != usual.get(key):
            settings[key] += f" ({presets.DEFAULT}: {_words(usual.get(key)) or '-'})"
    return {
        "name": name or presets.DEFAULT,
        **chosen.model_dump(mode="json", include={"title", "source", "open", "resolution"}),
        "settings": settings,
        "for": [rule.model_dump(mode="json") for rule in chosen.rules],
    }


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return "/".join(map(str, value.values()))
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def lines(entry: Mapping[str, Any], indent: str = "") -> list[str]:
    """Return nested values as indented ``key: value`` lines, without empty ones; a long curve is cut, and says so."""
    told = []
    for key, item in entry.items():
        if key == "verified_by" and item is None:
            told.append(f"{indent}{key}: none of its authors yet")
        if item in ("", None, [], {}):
            continue
        if isinstance(item, dict) or (isinstance(item, list) and isinstance(item[0], dict)):
            for part in [item] if isinstance(item, dict) else item:
                told += [f"{indent}{key}:", *lines(part, indent + "  ")]
        elif key == "loss_curve":
            told.append(f"{indent}{key}: {len(item)} points, from {item[0][1]} to {item[-1][1]} (--json has them all)")
        elif isinstance(item, str) and "\n" in item:
            told += [f"{indent}{key}:", *(f"{indent}  {line}".rstrip() for line in item.splitlines())]
        else:
            text = f"{item:,}" if isinstance(item, int) and key in ("parameters", "classes") else _words(item)
            told += textwrap.wrap(
                f"{key}: {text}", WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
            )
    return told
