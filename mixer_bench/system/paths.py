"""Where things are kept on this machine: an environment variable of ours, else the user's own folders."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def data_dir() -> Path:
    """Root of the images one has on disk: MIXER_BENCH_DATA, else ``data`` in the working directory."""
    return Path(os.environ.get("MIXER_BENCH_DATA", "data")).expanduser()


def cache_dir() -> Path:
    """Features, digests and manifests: MIXER_BENCH_CACHE, else the user's cache folder. All can be made again."""
    named = os.environ.get("MIXER_BENCH_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("mixer-bench"))


PACKAGE = Path(__file__).parent.parent
EMBEDDED = PACKAGE / "embedded"  # small real data and checkpoints that come with the package
