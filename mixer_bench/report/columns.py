"""What a column of a table holds: a protocol with its settings, under a short name. Pure."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from mixer_bench import protocols
from mixer_bench.errors import UsageError
from mixer_bench.results import naming
from mixer_bench.results.record import Record
from mixer_bench.results.setting import Setting
from mixer_bench.system.grouping import grouped
from mixer_bench.task import task
from mixer_bench.training import presets

if TYPE_CHECKING:
    from mixer_bench.report.cells import Cell


def presets_of(record: Record) -> tuple[str, ...]:
    """Return the presets that have exactly this record's settings for its task; two may agree on a task.

    Of a task that is not known here, the preset it was run with.
    """
    run = record.run
    if run.protocol not in protocols.names() or run.task not in task.tasks():
        return () if record.preset is None else (record.preset,)
    configs = _configs(run.protocol, run.task, record.n_train + record.n_val)
    return tuple(name for name, config in configs.items() if config == run.config)


@functools.cache
def _configs(protocol: str, task_name: str, examples: int) -> Mapping[str, dict[str, Any]]:
    """Return what each preset sets for a task with so many training examples."""
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


class Column(NamedTuple):
    """Cells of many tasks in one setting."""

    setting: Setting
    name: str  # the setting in short
    cells: list[Cell]


def columns(cells: Iterable[Cell]) -> list[Column]:
    """Return cells of many tasks by setting, in columns' order: by presets, which set each task's own steps.

    Without a preset, its own settings are all that a run shares with other tasks. A preset all of whose cells belong to
    another one as well, since the two agree on these tasks, is left out.
    """
    groups: dict[Setting, list[Cell]] = defaultdict(list)
    for cell in cells:
        run, presets_of_run = cell.run, presets_of(cell.record)
        for setting in [Setting(run.protocol, run.protocol_version, name) for name in presets_of_run] or [run.setting]:
            groups[setting].append(cell)
    members = {setting: set(map(id, group)) for setting, group in groups.items()}
    kept = [s for s in sorted(groups, key=_order) if not any(members[s] < others for others in members.values())]
    return [Column(setting, name, groups[setting]) for setting, name in names_of(kept).items()]


def of_task(cells: Sequence[Cell]) -> dict[Setting, str]:
    """Return a short name for each setting of one task, in columns' order."""
    by_setting = {cell.run.setting: cell.record for cell in cells}
    presets_by_setting = {setting: names[0] for setting, r in by_setting.items() if (names := presets_of(r))}
    return names_of(by_setting, presets_by_setting)


def names_of(
    settings: Iterable[Setting], presets_by_setting: Mapping[Setting, str] = MappingProxyType({})
) -> dict[Setting, str]:
    """Return a short name for each setting, in columns' order: what all settings of a protocol share is left out.

    Of a protocol with several settings the names are the presets' where each has its own.
    """
    names = {}
    for protocol, group in grouped(settings, lambda setting: setting.protocol).items():
        named = [presets_by_setting[setting] for setting in group if setting in presets_by_setting]
        if len(group) > 1 and len(set(named)) == len(group):
            names.update({setting: f"{protocol} {name}" for setting, name in zip(group, named, strict=True)})
        else:
            names.update(naming.settings(group))
    # Two settings must never share a column, whatever their short names say.
    counts = Counter(names.values())
    return {s: f"{names[s]} {s.text}" if counts[names[s]] > 1 else names[s] for s in sorted(names, key=_order)}


def _order(setting: Setting) -> tuple[Any, ...]:
    """Put few-shot first, by shots."""
    return (setting.protocol != "fewshot", setting.protocol, setting.shots or 0, setting.version, setting.text)
