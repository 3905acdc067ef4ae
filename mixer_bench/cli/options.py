"""Options that several verbs share, and the flags of ``run``, made of their one declaration in ``runs.options``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer
from pydantic.fields import FieldInfo

from mixer_bench.errors import ResultsError, UsageError
from mixer_bench.runs.options import Options, about

DATA, RESULTS = Path("data"), Path("results")
MAKE = "mixer-bench run --task ... --model ..."


def _shared(name: str, **more: Any) -> Any:
    """The flag of another verb for what ``run`` has, too."""
    variable = about(name)["variable"] or None
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


def takes_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Give ``verb`` a flag for every field of ``Options``, in place of its ``**given``."""
    own = inspect.signature(verb, eval_str=True).parameters.values()
    flags = [_flag(name, field) for name, field in Options.model_fields.items()]
    parameters = [*flags, *(parameter for parameter in own if parameter.kind is parameter.KEYWORD_ONLY)]
    vars(verb)["__signature__"] = inspect.Signature(parameters)
    verb.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return verb


def _flag(name: str, field: FieldInfo) -> inspect.Parameter:
    """The flag of an option. Its value is text, and nothing where it was not given: ``Options`` reads all sources."""
    told, default, several = about(name), field.default, isinstance(field.default, tuple | dict)
    kind: Any = bool if field.annotation is bool else list[str] if several else str
    # A default is part of the help: this flag has none, so that another source can be asked for it.
    words = told["shown"] or (",".join(default) if isinstance(default, tuple) else f"{default or ''}")
    variable = f"{told['variable']}, else " if told["variable"] and words else ""
    choices = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
    values = (
        "|".join(choices) or next((word for word in ("int", "Path") if word in str(field.annotation)), "str").lower()
    )
    option = typer.Option(
        *filter(None, (told["flag"], told["short"])),
        help=f"{field.description} (default: {variable}{words})" if words else field.description,
        metavar=None if kind is bool else f"<{values},...>" if isinstance(default, tuple) else f"<{values}>",
    )
    annotation = Annotated[kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def numbers(flag: str, text: str) -> list[int]:
    """Return the whole numbers from 1 up in ``"1,5,10"``.

    Raises:
        UsageError: it is something else.
    """
    if not all(part.isdecimal() and int(part) for part in map(str.strip, text.split(","))):
        raise UsageError(f"{flag} {text}: not whole numbers from 1 up, with commas")
    return [int(part) for part in text.split(",")]


def no_records(folder: Path) -> ResultsError:
    """Return the error for a results folder without records."""
    return ResultsError(f"no records in {folder}; make some with: {MAKE}")
