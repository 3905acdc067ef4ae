"""Flags made of the options that a verb declares, and what several verbs share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel

from mixer_bench.cli import completing
from mixer_bench.system.config_file import resolved
from mixer_bench.system.options import about, choices
from mixer_bench.system.paths import expanded

RESULTS = Path("results")
Kind = TypeVar("Kind", bound=BaseModel)
Results = Annotated[Path, typer.Option(help="Results folder.", envvar="MIXER_BENCH_RESULTS", callback=expanded)]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


def takes(options: type[BaseModel], *names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb flags in place of its ``**flags``: one for each field of ``options``, or for those named."""

    def with_flags(verb: Callable[..., None]) -> Callable[..., None]:
        declared = inspect.signature(verb, eval_str=True).parameters.values()
        flags = [_flag(options, name) for name in names or options.model_fields]
        parameters = [*flags, *(parameter for parameter in declared if parameter.kind is parameter.KEYWORD_ONLY)]
        vars(verb)["__signature__"] = inspect.Signature(parameters)
        verb.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return verb

    return with_flags


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that were given."""
    return {name: value for name, value in flags.items() if value or value == ""}


def read(options: type[Kind], flags: Mapping[str, Any]) -> Kind:
    """Return the options that the flags and the environment say."""
    return resolved(options, given(flags))[0]


def _flag(options: type[BaseModel], name: str) -> inspect.Parameter:
    """The flag of an option. Its value is text, and nothing where it was not given: the model reads all sources."""
    field, told = options.model_fields[name], about(options, name)
    default, several = field.default, isinstance(field.default, tuple | dict)
    kind: Any = bool if field.annotation is bool else list[str] if several else str
    # A default is part of the help: this flag has none, so that another source can be asked for it.
    words = told["shown"] or (",".join(default) if isinstance(default, tuple) else f"{default or ''}")
    variable = f"{told['variable']}, else " if told["variable"] and words else ""
    known = (word.lower() for word in ("int", "Path") if word in str(field.annotation))
    chosen = choices(field.annotation)
    values = "|".join(chosen) or next(known, "str")
    names = completing.NAMES.get(name) or (lambda: chosen)
    option = typer.Option(
        *filter(None, (told["flag"], told["short"])),
        help=f"{field.description} (default: {variable}{words})" if words else field.description,
        metavar=None if kind is bool else f"<{values},...>" if isinstance(default, tuple) else f"<{values}>",
        autocompletion=completing.among(names) if kind is not bool else None,
    )
    annotation = Annotated[kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
