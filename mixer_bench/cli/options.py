"""Options that several verbs share, and the flags of ``run``, made of their one declaration in ``runs.options``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer
from pydantic import BaseModel

from mixer_bench.errors import ResultsError
from mixer_bench.runs.options import Options
from mixer_bench.system.options import about

DATA, RESULTS = Path("data"), Path("results")
MAKE = "mixer-bench run --task ... --model ..."


def _shared(name: str, **more: Any) -> Any:
    """The flag of another verb for what ``run`` has, too."""
    variable = about(Options, name)["variable"] or None
    return typer.Option(help=Options.model_fields[name].description, envvar=variable, **more)


Results = Annotated[Path, _shared("output_dir")]
DataDir = Annotated[Path, _shared("data_dir", callback=lambda folder: folder.expanduser())]
ImageColumn = Annotated[str | None, _shared("image")]
LabelColumn = Annotated[str | None, _shared("label")]
SourceKind = Annotated[str | None, _shared("source")]
Device = Annotated[str, _shared("device")]
Precision = Annotated[Literal["auto", "fp32", "bf16", "fp16"], _shared("precision")]
Include = Annotated[list[Path], _shared("include")]
Import = Annotated[list[Path], typer.Option("--import", help=Options.model_fields["import_files"].description)]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


def takes(options: type[BaseModel]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb a flag for every field of ``options``, in place of its ``**given``."""

    def with_flags(verb: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(verb, eval_str=True).parameters.values()
        flags = [_flag(options, name) for name in options.model_fields]
        parameters = [*flags, *(parameter for parameter in own if parameter.kind is parameter.KEYWORD_ONLY)]
        vars(verb)["__signature__"] = inspect.Signature(parameters)
        verb.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return verb

    return with_flags


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that were given."""
    return {name: value for name, value in flags.items() if value or value == ""}


def _flag(options: type[BaseModel], name: str) -> inspect.Parameter:
    """The flag of an option. Its value is text, and nothing where it was not given: the model reads all sources."""
    field, told = options.model_fields[name], about(options, name)
    default, several = field.default, isinstance(field.default, tuple | dict)
    kind: Any = bool if field.annotation is bool else list[str] if several else str
    # A default is part of the help: this flag has none, so that another source can be asked for it.
    words = told["shown"] or (",".join(default) if isinstance(default, tuple) else f"{default or ''}")
    variable = f"{told['variable']}, else " if told["variable"] and words else ""
    choices = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
    known = (word.lower() for word in ("int", "Path") if word in str(field.annotation))
    values = "|".join(choices) or next(known, "str")
    option = typer.Option(
        *filter(None, (told["flag"], told["short"])),
        help=f"{field.description} (default: {variable}{words})" if words else field.description,
        metavar=None if kind is bool else f"<{values},...>" if isinstance(default, tuple) else f"<{values}>",
    )
    annotation = Annotated[kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def no_records(folder: Path) -> ResultsError:
    """Return the error for a results folder without records."""
    return ResultsError(f"no records in {folder}; make some with: {MAKE}")
