"""Stands in for what a GPU machine without a network may lack: imported first, it lets Pillow decode alone."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType


def refuse(*_: object, **__: object) -> None:
    """Decode nothing, so that Pillow does."""
    raise ValueError("simplejpeg is not installed")


if importlib.util.find_spec("simplejpeg") is None:
    sys.modules["simplejpeg"] = ModuleType("simplejpeg")
    vars(sys.modules["simplejpeg"])["decode_jpeg"] = refuse
