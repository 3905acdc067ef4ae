"""What a column of a table holds: a protocol with its settings, under a short name. Pure."""

from __future__ import annotations

import functools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mixer_bench import protocols
from mixer_bench.errors import UsageError
from mixer_bench.results.record import Record
from mixer_bench.results.setting import Setting
from mixer_bench.system.grouping import grouped
from mixer_bench.task import task
from mixer_bench.training import presets

if TYPE_CHECKING:
    from mixer_bench.report.cells import Cell


def presets_of(record: Record) -> tuple[str, ...]:
    """The presets that have exactly this record's settings for its task; two may agree on a task."""
    run = record.run
    if run.protocol not in protocols.names() or run.task not in task.tasks():
        return ()
    configs = _configs(run.protocol, run.task, record.n_train + record.n_val)
    return tuple(name for name, config in configs.items() if config == run.config)


@functools.cache
def _configs(protocol: str, task_name: str, examples: int) -> Mapping[str, dict[str, Any]]:
    """What each preset sets for a task with so many training examples."""
    try:
        defaults = protocols.get(protocol).defaults
    except UsageError:  # of a package that no longer keeps the contract
        defaults = None
    if defaults is None:
        return {}
    known = task.tasks()[task_name]
    return {
        name: protocols.configure(protocol, defaults(name, known, examples)).model_dump(mode="json")
        for name in presets.presets()
    }


def settings_of(record: Record) -> list[Setting]:
    """The columns a run belongs to in a table of many tasks: those of its presets, which set each task's own steps.

    Without a preset, its own settings are all it shares with other tasks.
    """
    run = record.run
    shared = [Setting(run.protocol, run.protocol_version, name) for name in presets_of(record)]
    return shared or [run.setting]


def by_setting(cells: Iterable[Cell]) -> dict[Setting, list[Cell]]:
    """Cells of many tasks by setting, in columns' order.

    A preset all of whose cells belong to another one as well, since the two agree on these tasks, is left out.
    """
    found: dict[Setting, list[Cell]] = defaultdict(list)
    for cell in cells:
        for setting in settings_of(cell.record):
            found[setting].append(cell)
    members = {setting: set(map(id, group)) for setting, group in found.items()}
    return {
        setting: found[setting]
        for setting in sorted(found, key=column_order)
        if not any(members[setting] < others for others in members.values())
    }


def column_labels(cells: Sequence[Cell]) -> dict[Setting, str]:
    """A short name for each setting of one task: what all settings of a protocol share is left out."""
    by_column = {cell.run.setting: cell.record for cell in cells}
    presets_by_column = {column: found[0] for column, r in by_column.items() if (found := presets_of(r))}
    return labels(by_column, presets_by_column)


def labels(
    columns: Iterable[Setting], presets_by_column: Mapping[Setting, str] = MappingProxyType({})
) -> dict[Setting, str]:
    """A short name for each column; of a protocol with several, the presets' names where each has its own.

    Args:
        columns: as ``Run.setting`` or ``settings_of`` give them.
        presets_by_column: of those columns that are a preset's settings.
    """
    found = {}
    for protocol, group in grouped(columns, lambda column: column.protocol).items():
        named = [presets_by_column[column] for column in group if column in presets_by_column]
        if len(group) > 1 and len(set(named)) == len(group):
            found.update({column: f"{protocol} {name}" for column, name in zip(group, named, strict=True)})
        else:
            found.update(_by_settings(protocol, group))
    # Two settings must never share a column, whatever their short names say.
    shared = {label for label, count in Counter(found.values()).items() if count > 1}
    return {column: f"{label} {column.text}" if label in shared else label for column, label in found.items()}


def _by_settings(protocol: str, columns: Sequence[Setting]) -> dict[Setting, str]:
    """Names that say in what settings the columns of a protocol differ."""
    settings = {column: {"version": column.version, **column.config} for column in columns}
    differing = [
        key
        for key in dict.fromkeys(key for values in settings.values() for key in values)
        if len({json.dumps(values.get(key)) for values in settings.values()}) > 1 and key != "shots"
    ]
    found = {}
    for column, values in settings.items():
        name = f"{values['shots']}-shot" if "shots" in values else protocol
        name = f"{protocol} {name}" if "shots" in values and protocol != "fewshot" else name
        name += f" {column.preset}" if column.preset else ""
        found[column] = " ".join([name, *(f"{key}={_short(values.get(key))}" for key in differing)])
    return found


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_short, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def column_order(column: Setting) -> tuple[Any, ...]:
    """Few-shot first, by shots."""
    return (column.protocol != "fewshot", column.protocol, column.shots or 0, column.version, column.text)
