"""Values from outside (settings, files) to frozen, checked ones, and what is wrong with them in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mixer_bench.errors import ResultsError, UsageError, unknown

Model = TypeVar("Model", bound=BaseModel)
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Frozen(BaseModel):
    """A value read from a file: immutable, and no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def validated(what: str, config: type[Model], settings: Mapping[str, Any]) -> Model:
    """Return ``config`` with ``settings`` in place of its defaults; text values are parsed by the field's type.

    Args:
        what: for errors: "setting of fewshot".
        config: a pydantic model; its fields are the known settings.
        settings: values by name; in text a comma makes a list.

    Raises:
        UsageError: no such setting, or a value of the wrong kind or range.
    """
    for key in settings:
        if key not in config.model_fields:
            raise unknown(what, key, config.model_fields)
    try:
        several = {key for key, field in config.model_fields.items() if isinstance(field.default, tuple)}
        return config.model_validate({k: listed(value) if k in several else value for k, value in settings.items()})
    except ValidationError as error:
        problem = error.errors()[0]
        if not problem["loc"]:  # a rule on several fields, which says it all
            raise UsageError(f"{what}: {problem['msg'].removeprefix('Value error, ')}") from None
        raise UsageError(f"{what} {problem['loc'][0]}: {problem['msg']}, not {problem['input']!r}") from None


def listed(value: Any) -> list[Any]:
    """Return several values from one, from text with commas, or from a list of such."""
    items = value if isinstance(value, list | tuple) else [value]
    texts = ([part.strip() for part in item.split(",")] if isinstance(item, str) else [item] for item in items)
    return [part for parts in texts for part in parts]


def parts(names: str | Sequence[str]) -> list[str]:
    """Return the names in ``"a,b"``, ``["a", "b"]`` and ``["a,b"]`` alike, each once."""
    items = listed(names)
    return [name for place, name in enumerate(items) if name != "" and name not in items[:place]]


def pairs(settings: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    """Return settings from a mapping or ``key=value`` texts, hyphens in keys taken for underscores.

    Raises:
        UsageError: not such a pair, or a key is given twice.
    """
    values: dict[str, Any] = {}
    for key, value in settings.items() if isinstance(settings, Mapping) else map(_pair, settings):
        name = str(key).replace("-", "_")
        if name in values:
            raise UsageError(f"--set {name} is given twice; give it once")
        values[name] = value
    return values


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {text}: not of the form key=value")
    return key.strip(), value.strip()


def first_problem(error: ValidationError) -> str:
    """Return a validation error in one line: the key and what is wrong with it."""
    problem = error.errors()[0]
    return f"key {'.'.join(map(str, problem['loc'])) or '(top level)'!r}: {problem['msg']}"


def read_file(file: Path, model: type[Model], what: str, way_out: str) -> Model:
    """Return the value in a JSON file, parsed and checked in one go: reports read thousands.

    Args:
        file: where.
        model: has a field ``schema_version`` that takes the versions it reads.
        what: for errors: "profile".
        way_out: what to do about a damaged file.

    Raises:
        ResultsError: it is no such file, or of another version; names it and the way out.
    """
    try:
        return model.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ResultsError(f"{file}: not a whole {what} ({error}); delete it and {way_out}") from None
    except ValidationError as error:
        versions = [problem["input"] for problem in error.errors() if problem["loc"] == ("schema_version",)]
        if versions:
            known = model.model_fields["schema_version"].default
            raise ResultsError(f"{file}: {what} of schema version {versions[0]}; this program reads {known}") from None
        raise ResultsError(f"{file}: not a whole {what} ({first_problem(error)}); delete it and {way_out}") from None
