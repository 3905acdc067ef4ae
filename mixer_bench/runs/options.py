"""All options of a run, declared once: the command line, ``mixer_bench.run`` and a config file share them.

A new option is one field here: its name is the flag (with hyphens), the key in a config file and the argument of
``mixer_bench.run``; its type decides what each of them accepts; its description is the help.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt

from mixer_bench.system.machine import Precision
from mixer_bench.system.schema import Frozen, listed, parts

Names = Annotated[tuple[str, ...], BeforeValidator(parts)]
Paths = Annotated[
    tuple[Path, ...], BeforeValidator(lambda paths: paths if isinstance(paths, list | tuple) else (paths,))
]
UserPath = Annotated[Path, AfterValidator(Path.expanduser)]  # shells leave the ~ of --data-dir=~/data as it is
Numbers = Annotated[tuple[PositiveInt, ...], BeforeValidator(listed)]
Automatic = BeforeValidator(lambda value: None if value == "auto" else value)
Pixels = Annotated[int, Field(ge=8, le=4096)]


def _option(default: Any, text: str, *, shown: str = "", flag: str = "", short: str = "", variable: str = "") -> Any:
    """Declare an option.

    Args:
        default: its value where nobody names one.
        text: its help.
        shown: the default in words, where the value is left to a protocol, a model or the device.
        flag: its name on the command line and in a config file, where that is not the field's.
        short: its short flag.
        variable: of the environment; goes before the default.
    """
    return Field(
        default,
        description=text,
        json_schema_extra={"shown": shown, "flag": flag, "short": short, "variable": variable},
    )


class Options(Frozen):
    """What a user asks of ``run``."""

    task: Names = _option(
        (), "Names, groups, globs, commas; a folder, a CSV or parquet list, hf:owner/name. Needed.", short="-t"
    )
    model: Names = _option(
        (), "Models: names, commas; random:NAME, timm:NAME.TAG, file:PATH?arch=NAME, ... Needed.", short="-m"
    )
    protocol: Names = _option(("fewshot", "finetune"), "Protocols: names, commas.", short="-p")
    shots: Numbers = _option((), "Images a class for fewshot, e.g. 1,5,10.", shown="1,5,10,25")
    seeds: PositiveInt = _option(3, "How many seeds, from 0 up.")
    limit: PositiveInt | None = _option(None, "At most N examples a split; never mixed with full runs.")
    preset: str | None = _option(None, "Published setting of finetune.", shown="mixer-paper")
    settings: dict[str, Any] = _option({}, "A protocol's setting, key=value; repeatable.", flag="set")
    resolution: Pixels | None = _option(None, "Input size in pixels, 8 to 4096.", shown="each model's own")
    device: str = _option("auto", "auto, cpu, cuda, cuda:1, ...")
    precision: Literal["auto", Precision] = _option("auto", "auto: bf16 or fp16 on a GPU, fp32 on a CPU.")
    batch_size: Annotated[PositiveInt | None, Automatic] = _option(
        None, "Images a forward pass; auto goes by device.", shown="auto"
    )
    data_dir: UserPath = _option(Path("data"), "Root of images on disk.", variable="MIXER_BENCH_DATA")
    image: str | None = _option(None, "Image column of hf:... or of a list.")
    label: str | None = _option(None, "Class column of hf:... or of a list.")
    source: str | None = _option(None, "Only sources of this kind: hub, vtab1k_folder, torchvision, folder, ...")
    offline: bool = _option(False, "Fetch nothing: only what is on disk already.", variable="HF_HUB_OFFLINE")
    output_dir: UserPath = _option(Path("results"), "Results folder.", variable="MIXER_BENCH_RESULTS")
    include: Paths = _option((), "A folder with task files of your own; repeatable.")
    import_files: Paths = _option(
        (), "A Python file with networks of your own (timm's register_model); repeatable.", flag="import"
    )
    overwrite: Literal["never", "failed", "always"] = _option(
        "failed", "Which runs to do again: none, failed ones, all."
    )
    save_model: bool = _option(False, "Keep finetuned networks beside their records; file: loads them.")
    compile: bool = _option(False, "torch.compile networks that are trained.")
    gpus_per_run: PositiveInt = _option(1, "GPUs, or CPU processes, that train one network together.")


def about(name: str) -> dict[str, str]:
    """Return what ``_option`` was told of a field, with its flag's name in full: "--output-dir"."""
    declared: Any = Options.model_fields[name].json_schema_extra
    return {**declared, "flag": "--" + (declared["flag"] or name).replace("_", "-")}
