"""Where the options of a verb come from: flag, else config file, else environment, else default."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mixer_bench.errors import UsageError, unknown
from mixer_bench.system import files
from mixer_bench.system.network import first_line
from mixer_bench.system.options import about
from mixer_bench.system.schema import UNREADABLE, brief, pairs

Options = TypeVar("Options", bound=BaseModel)
DEFAULT = "default"


def resolved(kind: type[Options], given: Mapping[str, Any], file: Path | None = None) -> tuple[Options, dict[str, str]]:
    """Return the options of a verb and the origin of each: its flag, the config file, a variable or the default.

    Args:
        kind: a model whose fields are declared by ``option``.
        given: by field, what flags or arguments say.
        file: a TOML or YAML file with more, by flag; its values are used where ``given`` has none.

    Raises:
        UsageError: no such option, or a value of the wrong kind or range; names the flag, or the file and its key.
    """
    if strange := given.keys() - kind.model_fields.keys():
        raise unknown("option", min(strange), kind.model_fields)
    configured = _read(kind, file) if file is not None else {}
    values: dict[str, Any] = {}
    origins = dict.fromkeys(kind.model_fields, DEFAULT)
    for name, field in kind.model_fields.items():
        flag, variable = about(kind, name)["flag"], about(kind, name)["variable"]
        sources = {flag: given.get(name), f"{file}": configured.get(name), variable: os.environ.get(variable) or None}
        for origin, value in reversed(sources.items()):
            if value is not None:
                values[name], origins[name] = value, origin
        if isinstance(values.get(name), bool) and field.annotation is not bool:  # pydantic takes true for 1
            raise UsageError(f"{_place(kind, name, origins[name], file)}: must not be {values[name]}")
        if isinstance(field.default, dict):  # settings: one named by a flag does not take away the file's others
            if not isinstance(configured.get(name, {}), dict):
                place = _place(kind, name, f"{file}", file)
                raise UsageError(f"{place}: must be a table of settings, not {brief(configured[name])}")
            values[name] = {}
            for origin, settings in ((f"{file}", configured.get(name)), (flag, given.get(name))):
                values[name] |= (named := pairs(settings or {}))
                origins |= {f"{name}.{key}": origin for key in named}
    try:
        return kind.model_validate(values), origins
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        place = _place(kind, name, origins[name], file)
        reason = problem["msg"].removeprefix("Value error, ")
        raise UsageError(f"{place}: {reason}, not {brief(problem['input'])}") from None


def _place(kind: type[BaseModel], name: str, origin: str, file: Path | None) -> str:
    """Where an error lies: a flag, a variable, or a file and its key."""
    return f"{file}: {about(kind, name)['flag'][2:]}" if origin == f"{file}" else origin


def shown(options: BaseModel, origins: Mapping[str, str]) -> str:
    """Return the options as a config file that says the same, with each one's origin."""
    lines = []
    for name, value in options.model_dump(mode="json").items():
        told = about(type(options), name)
        flag = told["flag"][2:]
        for part, item in value.items() if isinstance(value, dict) else [("", value)]:
            # Of numbers, text and lists, TOML and JSON have one form.
            text = f"{flag}{part and '.'}{part} = {json.dumps(item, ensure_ascii=False)}"
            left = item is None or (item == [] and told["shown"])
            origin = origins[f"{name}.{part}" if part else name]
            lines.append((f"# {flag}: {told['shown'] or 'none'}" if left else text, origin))
    width = max(len(line) for line, _ in lines)
    return "".join(f"{line:<{width}}  # {origin}\n" for line, origin in lines)


def _read(kind: type[BaseModel], file: Path) -> dict[str, Any]:
    """The values of a config file by field."""
    try:
        text = files.read(file).decode("utf-8-sig")
        values = _yaml(text) if file.suffix in (".yaml", ".yml") else _toml(text)
    except (OSError, *UNREADABLE) as error:
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        raise UsageError(f"--config {file}: {reason}") from None
    fields = {about(kind, name)["flag"][2:]: name for name in kind.model_fields}
    named: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("_", "-")
        if name in named:
            raise UsageError(f"--config {file}: key {name!r} is given twice")
        named[name] = value
    if strange := named.keys() - fields.keys():
        raise UsageError(f"--config {file}: {unknown('option', min(strange), fields)}")
    return {fields[key]: value for key, value in named.items()}


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        number = re.search(r"line (\d+)", str(error))
        line = text.splitlines()[int(number[1]) - 1 if number else -1]
        raise ValueError(f"{error}: {line.strip()}") from None


def _yaml(text: str) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(text)
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    if tree is None:  # nothing but comments
        return {}
    if not isinstance(values, dict):
        raise ValueError("must be a mapping of options")
    for mapping in (tree, *(value for _, value in tree.value if isinstance(value, yaml.MappingNode))):
        keys = [key.value for key, _ in mapping.value]
        if twice := [key for key in keys if keys.count(key) > 1]:  # PyYAML would take the last without a word
            raise ValueError(f"key {twice[0]!r} is given twice")
    return values
