"""What else a maintainer asks when something goes wrong on another's machine: nothing of it moves a number."""

from __future__ import annotations

import json
import locale
import multiprocessing
import os
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path

from mixer_bench.system import machine, memory

VARIABLES = re.compile(r"\w+_NUM_THREADS|CUDA_VISIBLE_DEVICES|HF_HUB_OFFLINE|PYTHONUTF8|TERM|NO_COLOR|FORCE_COLOR|CI")


def told() -> dict[str, object]:
    """Return packages, the processors and memory one may use, BLAS, encodings, terminal, and variables that matter."""
    import numpy as np

    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    files, names = locale.getencoding(), sys.getfilesystemencoding()
    return {
        "packages": _packages(),
        "processors": machine.cores(),
        "memory": f"{memory.available() / 2**30:.1f} GiB free",
        "blas": f"{blas.get('name')} {blas.get('version')}",
        "encodings": f"files {files}, names {names}, stdout {sys.stdout.encoding}",
        "terminal": f"{shutil.get_terminal_size().columns} columns" if sys.stdout.isatty() else "none",
        "processes": multiprocessing.get_start_method(),
        "variables": {name: value for name, value in sorted(os.environ.items()) if VARIABLES.fullmatch(name)},
    }


def portable(text: str, **named: Path) -> str:
    """Return text in JSON without this machine's folders: their names stand there, ~ for the home, USER for who it is.

    Args:
        text: JSON.
        **named: folders besides the working and the home folder, each by what is to stand there.
    """
    home = Path.home()
    places = {**{name: place.absolute() for name, place in named.items()}, ".": Path.cwd(), "~": home}
    for name, place in sorted(places.items(), key=lambda entry: -len(str(entry[1]))):  # the inner ones first
        if place != Path(place.anchor):
            text = text.replace(json.dumps(str(place))[1:-1], name)
    return re.sub(rf"(?<=[\\/]){re.escape(home.name)}(?=[\\/])", "USER", text) if home.name else text


def _packages() -> dict[str, str]:
    """Return the versions of what the package requires, as far as it is here."""
    try:
        required = metadata.requires("mixer-bench") or ()
    except metadata.PackageNotFoundError:  # run from a checkout
        required = ()
    versions = {}
    for name in sorted({re.split(r"[^\w.-]", requirement)[0] for requirement in required}):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
