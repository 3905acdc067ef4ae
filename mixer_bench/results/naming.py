"""What tells runs apart, in words: as much as is needed and no more."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from mixer_bench.results.record import Run
from mixer_bench.results.setting import Setting
from mixer_bench.system.grouping import grouped

Key = TypeVar("Key", bound=Hashable)
ORIGIN = re.compile(r"^(random:)?(?:timm:|file:|local-dir:|hf-hub:(?:[^/]*/)?)")
DIGEST = re.compile(r"[0-9a-f]{64}")  # in names eight digits tell them apart


def changes(before: Run, now: Run) -> list[str]:
    """Return the fields of identity that differ, each with both values, whole; seeds are not compared."""
    then, today = _fields(before), _fields(now)
    return [f"{name} {whole(then.get(name))} -> {whole(today.get(name))}" for name in differing([then, today])]


def groups(runs: Iterable[Run]) -> dict[Any, str]:
    """Name each group of runs that differ by seed alone, by ``Run.but_seed``: task, model, protocol.

    Where that is not enough, as few of the other fields as tell them apart, the config's first.
    """
    by_group = {run.but_seed: run for run in runs}
    names = {}
    for name, alike in grouped(by_group.values(), _request_words).items():
        fields = [_fields(run) for run in alike]
        telling = _telling(fields)
        for run, values in zip(alike, fields, strict=True):
            words = (f"{key.removeprefix('config.')}={_short(values.get(key))}" for key in telling)
            names[run.but_seed] = " ".join([name, *words])
    return names


def _request_words(run: Run) -> str:
    shots = f"{run.setting.shots}-shot" if run.setting.shots else ""
    limited = f"limit {run.limit}" if run.limit else ""
    precision = "" if run.precision == "fp32" else run.precision
    return " ".join(filter(None, [run.task, run.model, run.protocol, shots, limited, precision]))


def models(runs: Mapping[Key, Run]) -> dict[Key, str]:
    """Name each model by its name, with what tells it from others of that name.

    Args:
        runs: one of each model; a model is one name, checkpoint, preprocessing and precision.
    """
    names: dict[Key, str] = {}
    for model, keys in grouped(runs, lambda key: runs[key].model).items():
        told = {key: _told(runs[key]) for key in keys}
        varied = differing(list(told.values()))
        for key in keys:
            words = [told[key][part] for part in varied]
            alike = [_untold(runs[other]) for other in keys if told[other] == told[key]]
            words += [_untold(runs[key])[part] for part in differing(alike)]
            names[key] = model + (f" ({', '.join(words)})" if words else "")
    return names


def _told(run: Run) -> dict[str, str]:
    side = run.preprocessing
    return {"resolution": f"{side.resolution} px", "resize": side.resize, "precision": run.precision}


def _untold(run: Run) -> dict[str, str]:
    """Return what is told only where it is needed."""
    side = run.preprocessing.model_dump_json(exclude={"resolution", "resize"})
    return {"weights": run.weights[:8], "preprocessing": side}


def settings(columns: Sequence[Setting]) -> dict[Setting, str]:
    """Name settings of one protocol by shots, preset and the values in which they differ."""
    values = {setting: {"version": setting.version, **setting.config} for setting in columns}
    telling = [key for key in differing(list(values.values())) if key != "shots"]
    names = {}
    for setting in columns:
        protocol = () if setting.shots and setting.protocol == "fewshot" else (setting.protocol,)
        shots = (f"{setting.shots}-shot",) if setting.shots else ()
        preset = (setting.preset,) if setting.preset else ()
        told = (f"{key}={_short(values[setting].get(key))}" for key in telling)
        names[setting] = " ".join([*protocol, *shots, *preset, *told])
    return names


def shortened(labels: Iterable[str], most: int) -> dict[str, str]:
    """Return each label, those longer than ``most`` characters without their middle; no two become alike.

    Where one is so long, all go without what says of which kind they are, such as ``timm:`` and ``hf-hub:owner/``.
    """
    whole = list(dict.fromkeys(labels))
    if max(map(len, whole), default=0) <= most:
        return {label: label for label in whole}
    short = {label: ORIGIN.sub(r"\1", label) for label in whole}
    lengths = dict.fromkeys(whole, most)
    while True:
        cut = {label: _without_middle(short[label], lengths[label]) for label in whole}
        counts = Counter(cut.values())
        alike = [label for label in whole if counts[cut[label]] > 1]
        if not alike:
            return cut
        for label in alike:
            if lengths[label] < len(short[label]):
                lengths[label] += 1
            else:
                short[label] = label


def _without_middle(label: str, length: int) -> str:
    if len(label) <= length:
        return label
    end = (length - 1) // 2
    return f"{label[: length - 1 - end]}…{label[-end:]}"


def differing(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys whose values are not the same in all, in the order met."""
    keys = dict.fromkeys(key for mapping in values for key in mapping)
    return [key for key in keys if _kinds(values, [key]) > 1]


def _telling(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return as few keys as tell all apart."""
    keys = sorted(differing(values), key=lambda key: not key.startswith("config."))
    telling: list[str] = []
    while _kinds(values, telling) < _kinds(values, keys):
        telling.append(max(keys, key=lambda key: _kinds(values, [*telling, key])))
    return telling


def _kinds(values: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> int:
    return len({json.dumps([mapping.get(key) for key in keys], sort_keys=True) for mapping in values})


def _fields(run: Run) -> dict[str, Any]:
    """Return the fields of identity but for the seed, those of the config as ``config.shots``."""
    return flat({**run.identity, "seed": None})


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return all values of a table and of those in it, by names such as ``config.shots``."""
    named = {}
    for name, value in values.items():
        named.update(flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return named


def _short(value: Any) -> str:
    text = whole(value)
    return text[:8] if DIGEST.fullmatch(text) else text


def whole(value: Any) -> str:
    """Return a value of a setting as text, nothing of it cut off."""
    if isinstance(value, list):
        return ",".join(map(whole, value))
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)
