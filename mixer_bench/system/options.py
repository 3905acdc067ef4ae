"""Declaring an option of a verb as a field: its type says what is accepted, its description is the help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, PositiveInt

from mixer_bench.system.paths import expanded
from mixer_bench.system.schema import listed, parts

Names = Annotated[tuple[str, ...], BeforeValidator(parts)]
Numbers = Annotated[tuple[PositiveInt, ...], BeforeValidator(listed)]
UserPath = Annotated[Path, BeforeValidator(lambda place: expanded(place) if isinstance(place, str | Path) else place)]
Paths = Annotated[tuple[UserPath, ...], BeforeValidator(lambda paths: [paths] if isinstance(paths, str) else paths)]


def option(default: Any, text: str, *, shown: str = "", flag: str = "", short: str = "", variable: str = "") -> Any:
    """Declare an option.

    Args:
        default: its value where nobody names one.
        text: its help.
        shown: the default in words, where the value is left to a protocol, a model or the device.
        flag: its name on the command line and in a config file, where that is not the field's.
        short: its short flag.
        variable: of the environment; goes before the default.
    """
    told: Any = {"shown": shown, "flag": flag, "short": short, "variable": variable}
    return Field(default, description=text, json_schema_extra=told)


def about(options: type[BaseModel], name: str) -> dict[str, str]:
    """Return what ``option`` was told of a field, with its flag's name in full: "--output-dir"."""
    declared: Any = options.model_fields[name].json_schema_extra
    return {**declared, "flag": "--" + (declared["flag"] or name).replace("_", "-")}
