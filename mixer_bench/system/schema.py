"""Values from outside (settings, files) to frozen, checked ones, and what is wrong with them in one line."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import inspect
import io
import json
import reprlib
import textwrap
import tokenize
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from mixer_bench.errors import ResultsError, UsageError, unknown
from mixer_bench.system import files
from mixer_bench.system.network import first_line

UNREADABLE = (ValueError, RecursionError)  # what parsers raise; the latter for brackets in thousands of brackets
_NONE = set[str]()  # never added to: values are frozen
Model = TypeVar("Model", bound=BaseModel)
Count = Annotated[int, Field(ge=0, le=1 << 53)]  # a number of things, no larger than a float can tell apart
CHECKSUM = "checksum"
_CHECKSUM_SCHEMA = {CHECKSUM: {"type": "string", "description": "Hash of all else."}}
# Made once: for each of thousands of records that would take as long as its use.
CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Frozen(BaseModel):
    """A value read from a file: immutable, no unknown keys, and no number that is infinite or undefined."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the JSON Schema; a field is described by the comment that its line in the source has."""
        schema = handler(core)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, comment in _comments(cls).items():
            if name in properties:
                properties[name].setdefault("description", comment)
        return schema

    def model_post_init(self, _context: Any, /) -> None:
        """Let go of the list of fields that were given: of a record it would be half of the memory."""
        object.__setattr__(self, "__pydantic_fields_set__", _NONE)


def _comments(model: type[BaseModel]) -> dict[str, str]:
    """Return the comment of each field of a class: behind it, else in the lines before it."""
    source = textwrap.dedent(inspect.getsource(model))
    words = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (declared,) = ast.parse(source).body
    told: dict[str, str] = {}
    for node in ast.walk(declared):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            beside = [words[line] for line in range(node.lineno, (node.end_lineno or 0) + 1) if line in words]
            line, before = node.lineno - 1, list[str]()
            while line in words and source.splitlines()[line - 1].lstrip().startswith("#"):
                before.insert(0, words[line])
                line -= 1
            if comment := " ".join(beside or before):
                told[node.target.id] = comment
    return told


class Sealed(Frozen):
    """A value that its file keeps with a checksum of the content."""

    model_config = ConfigDict(json_schema_extra=lambda schema: schema["properties"].update(_CHECKSUM_SCHEMA))


def sealed_text(value: Sealed, indent: int = 2) -> str:
    """Return the text of a file for ``value``: indented, sorted, with a checksum of all else in it."""
    values = value.model_dump(mode="json")
    told = {**values, CHECKSUM: _checksum(values)}
    return json.dumps(told, indent=indent, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _checksum(values: Mapping[str, Any]) -> str:
    """Return the hash of the canonical JSON; a file may be indented anew and stays what it is."""
    return hashlib.sha256(CANONICAL.encode(values).encode()).hexdigest()[:32]


def _unsealed(values: dict[str, Any]) -> dict[str, Any]:
    """Return what a file holds but its checksum, which was compared.

    Raises:
        ValueError: it was changed, or holds numbers that are infinite or undefined.
    """
    told = values.pop(CHECKSUM, None)
    if told != _checksum(values):
        raise ValueError(f"it was changed since it was written: its checksum is {'another' if told else 'missing'}")
    return values


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
        raise UsageError(f"{what} {problem['loc'][0]}: {problem['msg']}, not {brief(problem['input'])}") from None


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
    return f"key {brief('.'.join(map(str, problem['loc'])) or '(top level)')}: {' '.join(problem['msg'].split())}"


def brief(value: Any) -> str:
    """Return a value of a file or command as errors show it: what is long or deep is cut."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 80, 80
    try:
        return short.repr(value)
    except ValueError:
        return "a number of thousands of digits"


def read_toml(file: Path) -> dict[str, Any]:
    """Return what is in a TOML file.

    Raises:
        UsageError: it cannot be read, or is not TOML; names it.
    """
    try:
        return tomllib.loads(files.read(file).decode("utf-8-sig"))
    except (OSError, *UNREADABLE) as error:
        raise UsageError(f"{file}: {error.strerror if isinstance(error, OSError) else first_line(error)}") from None


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
        values = json.loads(files.read(file))
        if not isinstance(values, dict):
            raise ValueError("its content is no object")
        return model.model_validate(_unsealed(values) if issubclass(model, Sealed) else values)
    except ValidationError as error:
        versions = [problem["input"] for problem in error.errors() if problem["loc"] == ("schema_version",)]
        if versions:
            known = model.model_fields["schema_version"].default
            other = f"{what} of schema version {versions[0]}; this program reads {known}"
            raise ResultsError(f"{file}: {other}; delete it and {way_out}") from None
        raise ResultsError(f"{file}: not a whole {what} ({first_problem(error)}); delete it and {way_out}") from None
    except (OSError, *UNREADABLE) as error:
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        raise ResultsError(f"{file}: not a whole {what} ({reason}); delete it and {way_out}") from None


def noted(file: Path, model: type[Model]) -> Model | None:
    """Return what ``note`` left in a file of a cache; None where nothing is, or it is damaged."""
    try:
        return read_file(file, model, "note", "it is made again")
    except ResultsError:
        return None


def note(file: Path, value: Sealed) -> None:
    """Keep a value in a file of a cache; one that cannot be written costs time, nothing else."""
    with contextlib.suppress(OSError):
        files.write(file, sealed_text(value))
