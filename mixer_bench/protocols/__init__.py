"""How it is measured. A module here is a protocol; its file name is the name users type.

A protocol module has

* ``VERSION``: an int, raised whenever a score could change,
* ``Config``: a frozen pydantic model whose defaults are the published setting,
* ``fit(backbone, development, config, seed) -> Fitted``: learns from train and val. It is never given the test split.

and may have

* ``SWEEP``: settings of which a plain ``run`` makes one run each, e.g. ``{"shots": (1, 5, 10, 25)}``,
* ``SEEDED = False``: nothing in it is drawn, so that one seed says it all.

Third parties add theirs by entry points of the group ``mixer_bench.protocols`` that name such a module.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from mixer_bench.errors import UsageError, unknown
from mixer_bench.protocols.base import Fitted, FrozenBackbone, standardiser
from mixer_bench.system import schema

__all__ = ["Fitted", "FrozenBackbone", "configure", "get", "names", "standardiser"]


@functools.cache
def _modules() -> Mapping[str, str]:
    own = {m.name: f"{__name__}.{m.name}" for m in pkgutil.iter_modules(__path__) if m.name != "base"}
    added = {point.name: point.value for point in entry_points(group="mixer_bench.protocols")}
    if clash := own.keys() & added.keys():
        raise UsageError(f"an installed package adds a protocol {min(clash)!r}, which there is already; remove it")
    return own | added


def names() -> list[str]:
    """The names of all protocols."""
    return sorted(_modules())


def get(name: str) -> ModuleType:
    """The module of protocol ``name``.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in _modules():
        raise unknown("protocol", name, names())
    return importlib.import_module(_modules()[name])


def configure(name: str, settings: Mapping[str, Any]) -> BaseModel:
    """The protocol's ``Config`` with ``settings`` in place of its defaults; values may be text.

    Raises:
        UsageError: no such protocol, no such setting, or a value of the wrong kind.
    """
    config: type[BaseModel] = get(name).Config
    return schema.validated(f"setting of {name}", config, settings)
