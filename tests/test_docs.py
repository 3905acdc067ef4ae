"""What the pages of docs/ say is so."""

import ast
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixer_bench.cli import app
from mixer_bench.models import networks, zoo
from mixer_bench.results.store import Store

ROOT = Path(__file__).parent.parent
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
EXTENDING = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", EXTENDING, re.DOTALL)
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


@pytest.mark.parametrize(("file", "text"), FILES, ids=[file for file, _ in FILES])
def test_what_is_shown_whole_is_a_file_that_other_tests_run(file: str, text: str) -> None:
    assert text == (ROOT / file).read_text(encoding="utf-8")
    runs_it = [test for test in ROOT.glob("tests/*/test_*.py") if Path(file).stem in test.read_text(encoding="utf-8")]
    assert runs_it


def shown(kind: str) -> str:
    match = re.search(rf"<!-- test: {kind} -->\n```\w+\n(.*?)```", EXTENDING, re.DOTALL)
    assert match, f"docs/extending.md shows no {kind}"
    return match[1]


def test_the_task(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "leaves.toml").write_text(shown("task"), encoding="utf-8")
    generator = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 1), ("test", 1)):
        for number in range(12):
            folder = tmp_path / "data" / "leaves" / split / f"tree {number:02d}"
            folder.mkdir(parents=True)
            for index in range(count):
                image = generator.integers(0, 256, (9, 11, 3), dtype=np.uint8)
                Image.fromarray(image).save(folder / f"{index}.png")
    command = ["run", "--task", "plants", "--model", "pixels", "--include", str(tmp_path / "tasks"), "--shots", "1"]
    assert app.main([*command, "--data-dir", str(tmp_path / "data"), "--output-dir", str(tmp_path)]) == 0
    records, _ = Store(tmp_path).records()
    assert {record.run.task for record in records} == {"leaves"}


def test_the_model(tmp_path: Path) -> None:
    (tmp_path / "cards.toml").write_text(shown("model"), encoding="utf-8")
    card = zoo.read_cards(tmp_path / "cards.toml")["mixer_pico"]
    network = networks.build(card.architecture, 3)
    assert network.num_features == 64
    assert card.preprocessing.crop_pct == 1.0
