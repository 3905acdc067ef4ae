"""Items by key, in the order in which keys first occur."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

Item = TypeVar("Item")


def grouped(values: Iterable[Item], key: Callable[[Item], Any]) -> dict[Any, list[Item]]:
    """Return values by what ``key`` gives, in the order met."""
    groups: dict[Any, list[Item]] = defaultdict(list)
    for value in values:
        groups[key(value)].append(value)
    return dict(groups)
