"""Settings a user names (``--set key=value``) to a validated, frozen config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mixer_bench.errors import UsageError, unknown

Config = TypeVar("Config", bound=BaseModel)


def validated(what: str, config: type[Config], settings: Mapping[str, Any]) -> Config:
    """``config`` with ``settings`` in place of its defaults; text values are parsed by the field's type.

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
    """A setting that takes several values takes one, too."""
    if not isinstance(config.model_fields[key].default, tuple):
        return value
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return value if isinstance(value, list | tuple) else [value]
