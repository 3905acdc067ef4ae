"""How it is measured. A module here is a protocol; its file name is the name users type.

``base`` says what such a module declares (``PROTOCOL``), is given and gives back.
Other packages add theirs by entry points of the group ``mixer_bench.protocols`` that name such a module.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from mixer_bench.errors import unknown
from mixer_bench.protocols.base import Protocol
from mixer_bench.system import plugins, schema

GROUP = "mixer_bench.protocols"  # of entry points


@functools.cache  # reading what is installed takes as long as reading ten task files
def names() -> list[str]:
    """Return the names of all protocols, sorted; one that another package adds may turn out unusable."""
    return sorted(_ours() | plugins.names(GROUP))


def _ours() -> set[str]:
    return {module.name for module in pkgutil.iter_modules(__path__)} - {"base"}


@functools.cache
def get(name: str) -> Protocol:
    """Return protocol ``name``.

    Raises:
        UsageError: there is none of that name, or the package that adds it does not keep the contract.
    """
    if name not in names():
        raise unknown("protocol", name, names())
    if name in plugins.names(GROUP):
        module = plugins.load("protocol", GROUP, name, _ours(), ["PROTOCOL"], _fault)
    else:
        module = importlib.import_module(f"{__name__}.{name}")
    protocol: Protocol = module.PROTOCOL
    return protocol


def _fault(module: Any) -> str:
    known = isinstance(module.PROTOCOL, Protocol)
    return "" if known else f"PROTOCOL must be a Protocol, not {module.PROTOCOL!r}"


def configure(name: str, settings: Mapping[str, Any]) -> BaseModel:
    """Return the protocol's ``Config`` with ``settings`` in place of its defaults; values may be text.

    Raises:
        UsageError: no such protocol, no such setting, or a value of the wrong kind.
    """
    return schema.validated(f"setting of {name}", get(name).config, settings)
