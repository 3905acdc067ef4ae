"""Published settings by name: which a task gets. Values only; presets.toml holds them."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from pydantic import Field, PositiveInt

from mixer_bench.errors import UsageError, unknown
from mixer_bench.system.schema import Frozen
from mixer_bench.task.task import Task

DEFAULT = "mixer-paper"
WHOLE = {"frame": "squash", "ratio": (1, 1), "crop": "none", "evaluation": "whole"}


class Rule(Frozen):
    """Settings of some tasks: of those named, of those with fewer examples, or of all."""

    tasks: tuple[str, ...] = ()  # names or groups
    below: PositiveInt | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    resolution: PositiveInt | None = None

    def fits(self, task: Task, examples: int) -> bool:
        """Return whether it is for ``task`` with so many training examples."""
        named = not self.tasks or task.name in self.tasks or bool(set(self.tasks) & set(task.tags))
        return named and (self.below is None or examples < self.below)


class Preset(Frozen):
    """One published setting."""

    title: str
    source: str
    open: str  # what the source leaves open, and how it was settled here
    settings: dict[str, Any]
    resolution: PositiveInt | None = None  # that the source trains and tests at, pixels; for people and comparisons
    rules: tuple[Rule, ...] = Field(default=(), alias="for")

    def of(self, task: Task, examples: int, changed: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        """Return the settings for a task with so many training examples (train and val), some of them ``changed``.

        Crops and flips that would change a task's labels are left out, whatever the preset says (BiT, appendix F): then
        all of an image is seen, in training and at test.
        """
        chosen = dict(self.settings)
        for rule in reversed(self._rules(task, examples)):
            chosen |= rule.settings
        chosen |= changed
        if "crop" not in task.augment:
            chosen |= WHOLE
        return chosen if "flip" in task.augment else {**chosen, "flip": False}

    def resolution_of(self, task: Task, examples: int) -> int | None:
        """Return the side of the input that the source has for such a task, pixels; None where there is no source."""
        of_rules = (rule.resolution for rule in self._rules(task, examples) if rule.resolution)
        return next(of_rules, self.resolution)

    def _rules(self, task: Task, examples: int) -> list[Rule]:
        return [rule for rule in self.rules if rule.fits(task, examples)]


@functools.cache
def presets() -> Mapping[str, Preset]:
    """Return all presets, by name."""
    tables = tomllib.loads((files("mixer_bench.training") / "presets.toml").read_text(encoding="utf-8"))
    return {name: Preset.model_validate(table) for name, table in tables.items()}


def preset(name: str | None) -> Preset:
    """Return the preset of that name; the default for None.

    Raises:
        UsageError: there is none of that name.
    """
    if name is not None and name not in presets():
        raise unknown("preset", name, presets())
    return presets()[name or DEFAULT]


def only_with_presets(name: str | None, protocols: Mapping[str, bool]) -> None:
    """Raise UsageError where a preset is named and no protocol (name -> whether it has presets) has any."""
    if name is not None and not any(protocols.values()):
        raise UsageError(f"--preset {name}: none of {', '.join(protocols)} has presets")
