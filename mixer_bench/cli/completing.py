"""What a shell completes where a name is due: tasks with their groups, models, protocols, choices."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import typer


def tasks() -> Iterable[str]:
    """Return the names of tasks and of their groups."""
    from mixer_bench.task import task

    known = task.tasks()
    return sorted({*known, *(tag for each in known.values() for tag in each.tags)})


def models() -> Iterable[str]:
    """Return the names of models that have a card."""
    from mixer_bench.models import zoo

    return zoo.cards()


def protocols() -> Iterable[str]:
    """Return the names of protocols."""
    from mixer_bench import protocols

    return protocols.names()


NAMES = {"task": tasks, "model": models, "protocol": protocols}


def among(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Return what completes a name, the last one after commas."""

    def completed(incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in names() if name.startswith(begun)]

    return completed


def of_what(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of whatever the argument ``what`` says."""
    return among(NAMES.get(str(ctx.params.get("what")), list))(incomplete)
