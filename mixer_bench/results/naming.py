"""What tells runs apart, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mixer_bench.results.record import Run


def setting(run: Run) -> str:
    """All of a run but its seed: where it is the same, so is the group."""
    return json.dumps([run.model, {**run.identity, "seed": None}], sort_keys=True)


def changes(before: Run, now: Run) -> list[str]:
    """The fields of identity that differ, each with both values; seeds are not compared."""
    flat = [fields(run) for run in (before, now)]
    names = dict.fromkeys([*flat[0], *flat[1]])
    return [
        f"{name} {short(flat[0].get(name))} -> {short(flat[1].get(name))}"
        for name in names
        if flat[0].get(name) != flat[1].get(name)
    ]


def fields(run: Run) -> dict[str, Any]:
    """The fields of identity but for the seed, those of the config as ``config.shots``."""
    return _flat({**run.identity, "seed": None})


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        found.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return found


def short(value: Any) -> str:
    """A field's value for people."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 20 else text[:8]  # noqa: PLR2004  digests of 64 digits are told apart by eight
