"""Declaring an option of a verb as a field: its type says what is accepted, its description is the help."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, Field, PositiveInt

from mixer_bench.system.paths import expanded
from mixer_bench.system.schema import listed, parts

Function = TypeVar("Function", bound=Callable[..., Any])
Names = Annotated[tuple[str, ...], BeforeValidator(parts)]
Numbers = Annotated[tuple[PositiveInt, ...], BeforeValidator(listed)]
# Text again: of JSON no path is taken for one.
UserPath = Annotated[Path, BeforeValidator(lambda p: str(expanded(p)) if isinstance(p, str | Path) else p)]
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


def choices(annotation: Any) -> list[str]:
    """Return the texts that a type names; none where any will do."""
    parts = get_args(annotation)
    return [text for part in parts for text in ([part] if isinstance(part, str) else choices(part))]


def documented(options: type[BaseModel], *names: str) -> Callable[[Function], Function]:
    """Let ``help`` of a function show, in place of its ``**options``, each field of ``options``, or those named.

    A default of None is left to the environment or to what the option's help says.
    """

    def shown(function: Function) -> Function:
        declared = [each for each in inspect.signature(function).parameters.values() if each.kind != each.VAR_KEYWORD]
        taken = {parameter.name for parameter in declared}
        fields = {name: options.model_fields[name] for name in names or options.model_fields if name not in taken}
        lines = []
        for name, field in fields.items():
            words = about(options, name)["shown"]
            known = ", ".join(choices(field.annotation))
            text = f"{name}: {field.description}{known and f' One of: {known}.'}{words and f' Default: {words}.'}"
            lines += textwrap.wrap(text, 112, initial_indent=" " * 8, subsequent_indent=" " * 12)
            default = f"{field.default}" if isinstance(field.default, Path) else field.default
            declared.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default))
        vars(function)["__signature__"] = inspect.signature(function).replace(parameters=declared)
        function.__doc__ = (function.__doc__ or "").replace("        **options:", "\n".join(lines))
        return function

    return shown
