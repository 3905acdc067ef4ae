"""What the pages of docs/ say is so."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
QUESTIONS = re.findall(r"^\| (Wh[^|]+\?) \| `([^`]+)` \| `([^`]+)` \|$", ARCHITECTURE, re.MULTILINE)


def test_the_sketch_of_the_storeys_is_what_is_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (c for c in project["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    assert ARCHITECTURE.split("```")[1].strip().splitlines() == contract["layers"]


def test_every_room_is_named() -> None:
    rooms = {path.name for path in (ROOT / "mixer_bench").iterdir() if (path / "__init__.py").exists()}
    assert {room for room in rooms if f"| `{room}/` |" not in ARCHITECTURE} == set()


def test_there_are_answers_to_what_newcomers_ask() -> None:
    assert len(QUESTIONS) >= 15


@pytest.mark.parametrize(("question", "file", "name"), QUESTIONS, ids=[question for question, _, _ in QUESTIONS])
def test_the_file_answers_the_question(question: str, file: str, name: str) -> None:
    defined = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    assert name in {node.name for node in defined if isinstance(node, ast.FunctionDef | ast.ClassDef)}
