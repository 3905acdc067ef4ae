"""All options of ``profile``, declared once: the command line and ``mixer_bench.profile`` share them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator

from mixer_bench.system.machine import Precision
from mixer_bench.system.options import Names, Numbers, Paths, UserPath, option
from mixer_bench.system.schema import Frozen

Sizes = Annotated[Numbers, BeforeValidator(lambda sizes: () if sizes == "auto" else sizes)]


class Options(Frozen):
    """What a user asks of ``profile``."""

    model: Names = option((), "Models as in run: names, commas; weights are not needed.", short="-m")
    resolution: Numbers = option((), "Input sizes in pixels, e.g. 224,448.", shown="each model's own")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, ...")
    precision: Literal["auto", Precision] = option("auto", "auto: what the device computes fastest in.")
    batch_sizes: Sizes = option((), "Images a forward pass, e.g. 1,8,64; auto looks for the fastest.", shown="auto")
    output_dir: UserPath = option(Path("results"), "Results folder.", variable="MIXER_BENCH_RESULTS")
    compile: bool = option(False, "Compile the networks (torch.compile); kept beside eager profiles.")
    import_files: Paths = option((), "A Python file with networks of your own; repeatable.", flag="import")
