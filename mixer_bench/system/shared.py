"""Equal values of thousands of records, kept once: but for a seed and a score they say the same."""

from __future__ import annotations

import functools
import sys
from typing import Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, BaseModel

Value = TypeVar("Value")


def shared(value: Value) -> Value:
    """Return the first value met that is the same in every character of its text; neither is ever changed."""
    if isinstance(value, str) and type(value) is str:  # most are, and this is ten times as fast
        return cast(Value, sys.intern(value))
    text = value.model_dump_json() if isinstance(value, BaseModel) else repr(value)
    kept = _kept(type(value).__qualname__, text)
    if not kept:
        kept.append(value)
    return cast(Value, kept[0])


@functools.lru_cache(maxsize=1 << 14)
def _kept(_kind: str, _text: str) -> list[Any]:
    return []


Shared = Annotated[Value, AfterValidator(shared)]  # of a field that is a value read again and again
