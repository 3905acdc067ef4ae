"""mixer-bench: how well do pretrained vision backbones transfer? The command line's verbs as functions.

Importing this loads neither torch nor timm, nor anything else until one of the functions is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load_model", "load_results", "load_task", "run"]

if TYPE_CHECKING:
    from mixer_bench.api import load_model, load_results, load_task, run


def __getattr__(name: str) -> Any:
    """The functions of ``mixer_bench.api``, loaded when first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mixer_bench import api

    return getattr(api, name)
