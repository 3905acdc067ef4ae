"""All options of a run, declared once: the command line, ``mixer_bench.run`` and a config file share them.

A new option is one field here: its name is the flag (with hyphens), the key in a config file and the argument of
``mixer_bench.run``; its type decides what each of them accepts; its description is the help.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt

from mixer_bench.system.machine import Precision
from mixer_bench.system.options import Names, Numbers, Paths, UserPath, option
from mixer_bench.system.schema import Frozen
from mixer_bench.task.sources import Subset

Automatic = BeforeValidator(lambda value: None if value == "auto" else value)
IMAGES = (  # options that say where images are, and how they are read
    "data_dir",
    "image",
    "label",
    "skip_bad",
    "follow_links",
    "source",
    "include",
    "allow_outside",
)
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(budget: str) -> float:
    """Return what "90m" or "8h" means, once a request was trimmed to it followed by ": " and what it was trimmed of.

    Raises:
        ValueError: it means nothing.
    """
    time = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])(?:: .*)?", budget, re.ASCII)
    if time is None or not float(time[1]):
        raise ValueError("must be a number of s, m, h or d, such as 90m or 8h")
    return float(time[1]) * UNITS[time[2]]


def _checked(budget: str) -> str:
    seconds_of(budget)
    return budget


Budget = Annotated[str, AfterValidator(_checked)]
Pixels = Annotated[int, Field(ge=8, le=4096)]


class Options(Frozen):
    """What a user asks of ``run``."""

    task: Names = option(
        (), "Names, groups, globs, commas; a folder, a CSV or parquet list, hf:owner/name.", short="-t"
    )
    model: Names = option(
        (), "Models: names, globs, commas; random:NAME, timm:NAME.TAG, file:PATH?arch=NAME, ...", short="-m"
    )
    protocol: Names = option(("fewshot", "finetune"), "Protocols: names, commas.", short="-p")
    shots: Numbers = option((), "Images a class for fewshot, e.g. 1,5,10.", shown="1,5,10,25")
    seeds: Annotated[PositiveInt, Field(le=100_000)] = option(3, "How many seeds, from 0 up.")
    rates: PositiveInt | None = option(
        None, "At most N learning rates of each search, spread evenly over it.", shown="all"
    )
    limit: PositiveInt | None = option(None, "At most N examples a split; never mixed with full runs.")
    preset: str | None = option(None, "Published setting of finetune.", shown="mixer-paper")
    settings: dict[str, Any] = option({}, "A protocol's setting, key=value; repeatable.", flag="set")
    resolution: Pixels | None = option(None, "Input size in pixels, 8 to 4096.", shown="each model's own")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, ...")
    precision: Literal["auto", Precision] = option("auto", "auto: bf16 or fp16 on a GPU, fp32 on a CPU.")
    batch_size: Annotated[PositiveInt | None, Automatic] = option(
        None, "Images a forward pass; auto goes by device.", shown="auto"
    )
    data_dir: UserPath = option(Path("data"), "Root of images on disk.", variable="MIXER_BENCH_DATA")
    image: str | None = option(None, "Image column of hf:... or of a list.")
    label: str | None = option(None, "Class column of hf:... or of a list.")
    skip_bad: bool = option(
        False, "Leave out images of your own that cannot be decoded or are in test too; records say which."
    )
    follow_links: bool = option(False, "Take images of your own behind links out of their folder.")
    source: str | None = option(None, "Only sources of this kind: hub, vtab1k_folder, torchvision, folder, ...")
    subset: Subset | None = option(
        None, "Refuse images that are less: official, official-lossy (saved as JPEG once more)."
    )
    offline: bool = option(False, "Fetch nothing: only what is on disk already.", variable="HF_HUB_OFFLINE")
    output_dir: UserPath = option(Path("results"), "Results folder.", variable="MIXER_BENCH_RESULTS")
    include: Paths = option((), "A folder with task files of your own; repeatable.")
    allow_outside: bool = option(False, "Let task files of your own name images out of the data folder.")
    import_files: Paths = option(
        (), "A Python file with networks of your own (timm's register_model); repeatable.", flag="import"
    )
    overwrite: Literal["never", "failed", "always"] = option(
        "failed", "Which runs to do again: none, failed ones, all."
    )
    fresh: bool = option(
        False, "Compute anew whatever is there: records, features, searches, checkpoints; --overwrite always and more."
    )
    save_model: bool = option(False, "Keep finetuned networks beside their records, for export; file: loads them.")
    compile: bool = option(False, "Compile networks (torch.compile) for features and training; records say so.")
    gpus_per_run: Annotated[PositiveInt, Field(le=4096)] = option(
        1, "GPUs, or CPU processes, that train one network together."
    )
    budget: Budget | None = option(
        None, "Time that may be taken, such as 90m or 8h: what does not fit has fewer seeds, then rates, then shots."
    )
    track: Literal["trackio", "wandb", "tensorboard"] | None = option(
        None,
        "Show curves and scores there (pip install 'mixer-bench[NAME]'); moves no number.",
        shown="none",
        variable="MIXER_BENCH_TRACK",
    )
    executor: str = option("local", "Where work is done: local, slurm (submitit), ray.")
    jobs: Annotated[PositiveInt | None, Field(le=4096), Automatic] = option(
        None, "Processes at once; auto: one a GPU where there are several, else this one.", shown="auto"
    )
    executor_set: dict[str, Any] = option({}, "An executor's setting, key=value; repeatable.")
    shard: str | None = option(None, "Do part I of N of the work, I/N: N machines without a scheduler, then merge.")
