"""Digests of code are of what it does: comments, docstrings and layout do not count, all else does."""

import hashlib

import pytest

from mixer_bench.system import code

TEXT = '''
"""A module."""
from math import (
    pi,
)

X = f"a {pi:.3f} {'b' + f'{pi!r}'}" "c"  # a comment


def area(radius: float) -> float:
    """Return the area."""
    if radius < 0:
        raise ValueError(f"""negative: {
  radius}""")
    return pi * radius**2


class Empty:
    r"""Nothing."""
'''
SAME = {
    "another comment": ("# a comment", "# another"),
    "no comment": ("  # a comment", ""),
    "another docstring": ("Return the area", "Return another"),
    "no docstring": ('"""A module."""', ""),
    "an empty line more": ("\n\nclass", "\n\n\n\nclass"),
    "deeper": ("    ", "        "),
    "on one line": ("(\n    pi,\n)", "(pi,)"),
    "a line in two": (
        "pi * radius**2",
        "pi \\\n        * radius**2",
    ),
}
OTHER = {
    "a number": ("radius < 0", "radius < 1"),
    "in an f-string": (":.3f", ":.4f"),
    "in an f-string in an f-string": ("pi!r", "pi!s"),
    "a message": ("negative", "below 0"),
    "a name": ("Empty", "Full"),
    "out of a block": ("    return pi * radius**2", "return_ = pi"),
}


def digest(text: str) -> list[str]:
    return list(code.words(text))


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_what_moves_no_number_is_the_same(change: tuple[str, str]) -> None:
    assert change[0] in TEXT
    assert digest(TEXT.replace(*change)) == digest(TEXT)


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_what_may_move_a_number_differs(change: tuple[str, str]) -> None:
    assert change[0] in TEXT
    assert digest(TEXT.replace(*change)) != digest(TEXT)


def test_an_f_string_is_one_word_under_every_version_of_python() -> None:
    words = digest(TEXT)
    assert words[words.index("X") + 2 :][:2] == ["f\"a {pi:.3f} {'b' + f'{pi!r}'}\"", '"c"']
    assert 'f"""negative: {\n  radius}"""' in words
    assert hashlib.sha256("\n".join(words).encode()).hexdigest()[:12] == "893508e7f661"
