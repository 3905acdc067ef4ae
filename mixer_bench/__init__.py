"""mixer-bench: how well do pretrained vision backbones transfer? The command line's verbs as functions.

    rows = mixer_bench.run("clipart", "mixer_nano,pixels", "fewshot")  # a DataFrame; help(mixer_bench.run) has all
    print(mixer_bench.report())

Importing this loads neither torch nor timm, nor anything else until one of the functions is used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
# The functions, with the module of ``mixer_bench.api`` that each is in.
_HOMES = {
    "audit": "auditing",
    "audit_preprocessing": "auditing",
    "check": "results",
    "compare": "comparing",
    "doctor": "measuring",
    "explain": "measuring",
    "export": "exporting",
    "forecast": "measuring",
    "list": "catalogue",
    "load_model": "loading",
    "load_results": "reporting",
    "load_task": "loading",
    "merge": "results",
    "predict": "exporting",
    "per_class": "auditing",
    "prepare": "measuring",
    "pretrain": "pretraining",
    "profile": "measuring",
    "recommend": "recommending",
    "report": "reporting",
    "run": "measuring",
    "show": "catalogue",
    "update_baseline": "results",
}
__all__ = [
    "__version__",
    "audit",
    "audit_preprocessing",
    "check",
    "compare",
    "doctor",
    "explain",
    "export",
    "forecast",
    "load_model",
    "load_results",
    "load_task",
    "merge",
    "per_class",
    "predict",
    "prepare",
    "pretrain",
    "profile",
    "recommend",
    "report",
    "run",
    "show",
    "update_baseline",
]

if TYPE_CHECKING:
    from mixer_bench.api.auditing import audit, audit_preprocessing, per_class
    from mixer_bench.api.catalogue import list_ as list  # noqa: F401
    from mixer_bench.api.catalogue import show
    from mixer_bench.api.comparing import compare
    from mixer_bench.api.exporting import export, predict
    from mixer_bench.api.loading import load_model, load_task
    from mixer_bench.api.measuring import doctor, explain, forecast, prepare, profile, run
    from mixer_bench.api.pretraining import pretrain
    from mixer_bench.api.recommending import recommend
    from mixer_bench.api.reporting import load_results, report
    from mixer_bench.api.results import check, merge, update_baseline


class _Package(ModuleType):
    """The package, whose functions keep their names: a room called like one (``report``) is imported in full."""

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute; the import of a room that is called like a function sets none."""
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Return a function of ``mixer_bench.api``, loaded when first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mixer_bench.system import packages

    with packages.needed():
        home = importlib.import_module(f"mixer_bench.api.{_HOMES[name]}")
    # Of ``import *`` that one is no part: Python has a list.
    function = packages.needed()(getattr(home, "list_" if name == "list" else name))
    function.__module__, function.__qualname__ = __name__, name  # where pickle finds it
    globals()[name] = function
    return function
