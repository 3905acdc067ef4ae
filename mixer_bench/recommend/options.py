"""The options of a recommendation: those of a run that matter to it, and limits."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, PositiveFloat, PositiveInt

from mixer_bench.runs import options as runs
from mixer_bench.runs.options import IMAGES, Budget
from mixer_bench.system.options import Numbers, option

# Of the fields below and a run's, those that matter here.
LIMITS = ("model", "latency", "memory", "budget", "shots", "device", "precision")
ASKED = (*LIMITS, "offline", "output_dir", "import_files", *IMAGES)
MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
BYTES = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def _milliseconds(latency: object) -> object:
    return _scaled(latency, MILLISECONDS, "a number of ms or s, such as 20ms")


def _bytes(memory: object) -> object:
    size = _scaled(memory, BYTES, "a number of MB or GB, such as 2GB")
    return int(size) if isinstance(size, float) else size


def _scaled(value: object, units: dict[str, float] | dict[str, int], form: str) -> object:
    """Return a number with its unit as a plain one; what is no text is taken as it is."""
    if not isinstance(value, str):
        return value
    told = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?([a-z]+)", value.strip().lower(), re.ASCII)
    if told is None or told[2] not in units or not float(told[1]):
        raise ValueError(f"must be {form}")
    return float(told[1]) * units[told[2]]


class Options(runs.Options):
    """What a user asks of ``recommend``."""

    shots: Numbers = option((), "Images a class of the few-shot probes.", shown="1,5,10,25, as far as there are")
    budget: Budget = option("10m", "Time that may be taken, such as 90s, 10m or 2h.")
    latency: Annotated[PositiveFloat | None, BeforeValidator(_milliseconds)] = option(
        None, "Longest median time of one image, such as 20ms."
    )
    memory: Annotated[PositiveInt | None, BeforeValidator(_bytes)] = option(
        None, "Most memory at one image, such as 2GB, weights included."
    )

    def run(self, **changed: object) -> runs.Options:
        """Return the options of a run on the same images and device, with what is ``changed``."""
        values = {name: getattr(self, name) for name in runs.Options.model_fields}
        return runs.Options.model_validate({**values, "budget": None, "shots": (), **changed})
