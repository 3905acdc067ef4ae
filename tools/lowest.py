"""Print the lowest versions that pyproject.toml allows, as constraints for pip.

    python tools/lowest.py > constraints.txt && pip install --constraint constraints.txt --editable '.[dev]'

What a test needs only to check style (linters, type checkers, stubs) stays free: it moves no behaviour.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def lowest(requirements: list[str]) -> list[str]:
    """Return ``name==version`` of each requirement with a lower bound.

    Raises:
        ValueError: a requirement has none, so that nothing is known of its oldest version that works.
    """
    constraints = []
    for requirement in requirements:
        bound = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)", requirement)
        if bound is None:
            raise ValueError(f"{requirement!r} in {PROJECT.name}: name its lowest version, name>=version")
        constraints.append(f"{bound[1]}=={bound[2]}")
    return constraints


if __name__ == "__main__":
    print("\n".join(lowest(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"])))
