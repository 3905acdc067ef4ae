"""What sets numbers apart besides model and seed: what was measured on, and the protocol with its settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from mixer_bench.task.sources import Subset
from mixer_bench.task.task import shown_subset

# Made once: for each of thousands of records that would take as long as its use.
_AS_JSON = json.JSONEncoder(sort_keys=True)


class Variant(NamedTuple):
    """One version of a task's data, and how it is scored: what the cells of a task's table share."""

    task: str
    task_version: int
    data: str  # fingerprint of every image, label and split
    subset: Subset
    limit: int | None  # at most so many examples a split
    metric: str
    metric_version: int = 1

    @property
    def shown_subset(self) -> str:
        """How far its images are the published ones, as tables say it."""
        return shown_subset(self.task, self.subset)

    @property
    def mark(self) -> str:
        """The same where published images are expected and these are others; else nothing."""
        return "" if self.shown_subset in ("official", "own") else self.shown_subset


@dataclass(frozen=True)
class Setting:
    """A protocol with its settings, the column of a table; equal and of one hash where all of them are equal.

    A preset sets each task's own: with it ``config`` is empty, and runs of many tasks share the setting.
    """

    protocol: str
    version: int
    preset: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict, compare=False)
    text: str = field(init=False, repr=False)  # all of it as canonical JSON, which is what is compared

    def __post_init__(self) -> None:
        """Work out ``text``."""
        config = self.config if self.preset is None else {"preset": self.preset}
        object.__setattr__(self, "text", _AS_JSON.encode([self.protocol, self.version, config]))

    @property
    def shots(self) -> int | None:
        """Examples of a class; None where the protocol takes all."""
        return self.config.get("shots")

    @property
    def without_shots(self) -> Setting:
        """The setting apart from the number of shots: what the points of one curve share."""
        return replace(self, config={key: value for key, value in self.config.items() if key != "shots"})
