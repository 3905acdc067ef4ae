"""The packages that the program stands on: which are here, and what to do about one that is not."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from mixer_bench.errors import UsageError

INSTALL = "pip install mixer-bench"  # which takes the program that is there, and brings what it lacks


@contextlib.contextmanager
def needed() -> Iterator[None]:
    """Say how to install a package without which something cannot be done; of a function a decorator.

    Reports and the gate work without PyTorch and what belongs to it, so these may not be here.

    Raises:
        UsageError: a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = error.name or ""
        # Where a part of a package is missing, the package is here and broken: to install it again helps only by force.
        if package in ("", "mixer_bench", *sys.stdlib_module_names) or "." in package:
            raise
        raise UsageError(
            f"{package} is needed for this and not installed here; install all that is missing: {INSTALL}"
        ) from error


def version(package: str) -> str:
    """Return the version of an installed package, and words for one that is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed as a package"


def folder(package: str) -> Path:
    """Return the folder of a package without importing it.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return Path(spec.origin).parent
