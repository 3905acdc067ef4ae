"""What there is, for people and for programs: the text of ``list``, ``show`` and ``explain``. Never imports torch."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tabulate import tabulate

from mixer_bench import protocols
from mixer_bench.errors import UsageError
from mixer_bench.models import names, origin, zoo
from mixer_bench.models.card import Card
from mixer_bench.task import task as task_module
from mixer_bench.task.task import Task
from mixer_bench.training import presets

WIDTH = 100  # columns a listing takes at most
Kind = Literal["task", "model", "protocol"]
COLUMNS: Mapping[str, Mapping[str, str]] = {  # of a listing: heading -> key of the entry
    "tasks": {"name": "name", "classes": "num_classes", "train/val/test": "sizes", "groups": "tags"},
    "models": {
        "name": "name",
        "family": "family",
        "pre-training": "pretrain",
        "px": "px",
        "params": "millions",
        "cost": "cost_words",
        "weights": "kind",
    },
    "protocols": {"name": "name", "version": "version", "description": "description"},
}


def listing(
    what: Literal["tasks", "models", "protocols"],
    include: Sequence[Path],
    as_json: bool,
    family: str | None = None,
    pretrain: str | None = None,
) -> str:
    """All entries of a kind, a line each, or objects with ``name``, ``tags`` and the rest of the card.

    Args:
        what: the kind.
        include: folders of task files of one's own.
        as_json: objects instead of lines.
        family: of models, only this one.
        pretrain: of models, only those pre-trained on these images.
    """
    if what == "tasks":
        entries = [_task_card(task) for task in task_module.tasks(include).values()]
    elif what == "models":
        entries = [_model_card(card) for card in zoo.chosen(family, pretrain)]
    else:
        entries = [_protocol_or_error(name) for name in protocols.names()]
    if as_json:
        return json.dumps(entries, indent=1) + "\n"
    if not entries:
        return f"no {what} are both\n"
    shown = COLUMNS[what]
    rows = [[_cell({**entry, **_derived(entry)}.get(key)) for key in shown.values()] for entry in entries]
    taken = sum(max(len(text) for text in column) + 2 for column in zip(shown, *rows, strict=True)) - 2
    longest = max(len(row[-1]) for row in rows)
    widths = [None] * (len(shown) - 1) + [max(20, WIDTH - (taken - longest) - 2)]
    return tabulate(rows, [*shown], tablefmt="simple", disable_numparse=True, maxcolwidths=widths) + "\n"


def one(kind: Kind, name: str, include: Sequence[Path], as_json: bool, preset: str | None = None) -> str:
    """Everything about one entry; of a protocol with presets, the settings of ``preset``.

    Raises:
        UsageError: there is none of that name, or no such preset.
    """
    if preset is not None and kind != "protocol":
        raise UsageError("--preset goes with a protocol")
    if kind == "task":
        entry = _task_card(task_module.select([name], task_module.tasks(include))[0])
    elif kind == "model":
        entry = _model_card(names.card(name))
    else:
        entry = _protocol_card(name, preset)
    if as_json:
        return json.dumps(entry, indent=1) + "\n"
    return "\n".join(_lines(entry)) + "\n"


def _task_card(task: Task) -> dict[str, Any]:
    entry = task.model_dump(mode="json")
    # A reader looks for the kind first; the model has it after what all kinds share.
    entry["source"] = [{"kind": source["kind"], **source} for source in entry["source"]]
    return entry


def _model_card(card: Card) -> dict[str, Any]:
    entry = card.model_dump(mode="json", by_alias=True, exclude_none=True)
    entry["weights"] = card.source  # a folder of this machine is nobody else's business
    if card.recipe is not None:
        entry["recipe"] = {
            "name": card.recipe,
            **zoo.recipes()[card.recipe].model_dump(mode="json", exclude={"in_domain"}),
        }
    if (found := origin.pretraining(card)) is not None:
        entry["pretraining"] = found.model_dump(mode="json")
    return {**entry, "cost_words": origin.origin(card).cost_words, "transform": card.preprocessing.words}


def _derived(entry: Mapping[str, Any]) -> dict[str, str]:
    """Columns of the listing that are not keys of the card."""
    if "preprocessing" not in entry:
        return {}
    millions = f"{entry['parameters'] / 1e6:.1f}M" if entry.get("parameters") else "-"
    kind = entry["weights"].partition(":")[0]
    return {"px": str(entry["preprocessing"]["resolution"]), "millions": millions, "kind": kind}


def _protocol_or_error(name: str) -> dict[str, Any]:
    try:
        return _protocol_card(name)
    except UsageError as error:  # a package's; the others work all the same
        return {"name": name, "tags": [], "description": str(error)}


def _protocol_card(name: str, preset: str | None = None) -> dict[str, Any]:
    protocol = protocols.get(name)
    text = protocol.documentation
    has_presets = protocol.defaults is not None
    presets.only_with_presets(preset, {name: has_presets})
    shown = {"preset": _preset_card(preset)} if has_presets else {}
    return {
        "name": name,
        "tags": [],
        "version": protocol.version,
        "description": text.splitlines()[0] if text else "",
        "documentation": text,
        "settings": protocol.config().model_dump(mode="json"),
        "sweep": {key: list(values) for key, values in protocol.sweep.items()},
        "presets": list(presets.presets()) if has_presets else [],
        **shown,
    }


def _preset_card(name: str | None) -> dict[str, Any]:
    """A preset, each setting beside the default preset's where the two differ."""
    chosen, usual = presets.preset(name), presets.preset(None)
    rules = [{"tasks": list(rule.tasks), "below": rule.below, "settings": rule.settings} for rule in chosen.rules]
    settings = {
        key: f"{_cell(value)}{_unlike(value, usual.settings.get(key))}" for key, value in chosen.settings.items()
    }
    return {
        "name": name or presets.DEFAULT,
        **chosen.model_dump(mode="json", include={"title", "source", "open"}),
        "settings": settings,
        "for": rules,
    }


def _unlike(value: Any, usual: Any) -> str:
    return "" if value == usual else f" ({presets.DEFAULT}: {'-' if usual is None else _cell(usual)})"


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return "/".join(str(part) for part in value.values())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _lines(value: Any, indent: str = "") -> list[str]:
    """Nested values as indented ``key: value`` lines, without empty ones; long lists of numbers are cut, and say so."""
    lines = []
    for key, item in value.items():
        if item in ("", None, [], {}):
            continue
        if isinstance(item, dict):
            lines += [f"{indent}{key}:", *_lines(item, indent + "  ")]
        elif isinstance(item, list) and isinstance(item[0], dict):
            for part in item:
                lines += [f"{indent}{key}:", *_lines(part, indent + "  ")]
        elif key == "loss_curve":
            lines.append(f"{indent}{key}: {len(item)} points, from {item[0][1]} to {item[-1][1]} (--json has them all)")
        elif isinstance(item, str) and "\n" in item:
            lines += [f"{indent}{key}:", *(f"{indent}  {line}".rstrip() for line in item.splitlines())]
        else:
            text = f"{item:,}" if isinstance(item, int) and key in ("parameters", "classes") else _cell(item)
            lines += textwrap.wrap(
                f"{key}: {text}", WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
            )
    return lines
