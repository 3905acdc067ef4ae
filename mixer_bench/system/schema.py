"""Values from outside (settings, files) to frozen, checked ones, and what is wrong with them in one line."""

from __future__ import annotations

import json
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
        return config.model_validate({key: _listed(config, key, value) for key, value in settings.items()})
    except ValidationError as error:
        problem = error.errors()[0]
        raise UsageError(f"{what} {problem['loc'][0]}: {problem['msg']}, not {problem['input']!r}") from None


def _listed(config: type[BaseModel], key: str, value: Any) -> Any:
    return listed(value) if isinstance(config.model_fields[key].default, tuple) else value


def listed(value: Any) -> list[Any]:
    """Return several values from one, from text with commas, or from a list of such."""
    items = value if isinstance(value, list | tuple) else [value]
    texts = ([part.strip() for part in item.split(",")] if isinstance(item, str) else [item] for item in items)
    return [part for parts in texts for part in parts]


def parts(names: str | Sequence[str]) -> list[str]:
    """Return the names in ``"a,b"``, ``["a", "b"]`` and ``["a,b"]`` alike, each once."""
    return list(dict.fromkeys(name for name in listed(names) if name))


def pairs(settings: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    """Return settings from a mapping or ``key=value`` texts, hyphens in keys taken for underscores.

    Raises:
        UsageError: not such a pair.
    """
    if isinstance(settings, Mapping):
        return {key.replace("-", "_"): value for key, value in settings.items()}
    values = {}
    for pair in settings:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {pair}: not of the form key=value")
        values[key.strip().replace("-", "_")] = value.strip()
    return values


def first_problem(error: ValidationError) -> str:
    """Return a validation error in one line: the key and what is wrong with it."""
    problem = error.errors()[0]
    return f"key {'.'.join(map(str, problem['loc'])) or '(top level)'!r}: {problem['msg']}"


def read_versioned(file: Path, what: str, version: int, way_out: str) -> dict[str, Any]:
    """Return the values of a JSON file of schema ``version``.

    Raises:
        ResultsError: it is no such file, or of another version; names it and the way out.
    """
    try:
        values = json.loads(file.read_bytes())
        actual = values["schema_version"] if isinstance(values, dict) else None
    except (ValueError, KeyError, OSError) as error:
        raise ResultsError(f"{file}: not a whole {what} ({error}); delete it and {way_out}") from None
    if actual != version:
        raise ResultsError(f"{file}: {what} of schema version {actual}; this program reads {version}")
    return dict(values)


def read_file(file: Path, model: type[Model], what: str, way_out: str) -> Model:
    """Return the value in a JSON file of the schema version that is the default of ``model``.

    Args:
        file: where.
        model: has a field ``schema_version``.
        what: for errors: "profile".
        way_out: what to do about a damaged file.

    Raises:
        ResultsError: it is no such file, or of another version; names it and the way out.
    """
    values = read_versioned(file, what, model.model_fields["schema_version"].default, way_out)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ResultsError(f"{file}: not a whole {what} ({first_problem(error)}); delete it and {way_out}") from None
