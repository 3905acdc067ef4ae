"""What the README shows whole works as it stands there."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from mixer_bench.cli import app
from mixer_bench.models import zoo
from mixer_bench.results.store import Store

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shown(kind: str) -> str:
    match = re.search(rf"<!-- test: {kind} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert match, f"the README shows no {kind}"
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
    from mixer_bench.models import networks

    network = networks.build(card.architecture, 3)
    assert network.num_features == 64
    assert card.preprocessing.crop_pct == 1.0


def test_the_protocol() -> None:
    """It is the one that tests/protocols/test_plugins.py installs and runs."""
    assert shown("protocol") == (ROOT / "tests/protocols/examples/centroid.py").read_text(encoding="utf-8")


def test_the_file_tree_names_what_is_there() -> None:
    tree = README.split("## Where things are")[1]
    modules = {file.name for file in (ROOT / "mixer_bench").glob("*.py")} - {"__init__.py", "__main__.py"}
    assert {name for name in modules if name not in tree} == set()
    named = set(re.findall(r"\b(\w+\.py)\b", tree))
    there = {
        file.name
        for folder in ("mixer_bench", "benchmarks", "tools", "tests")
        for file in (ROOT / folder).rglob("*.py")
    }
    assert named - there == set()


def test_every_command_it_names_exists() -> None:
    import typer

    verbs = set(typer.main.get_command(app.app).commands)
    named = set(re.findall(r"(?:^    |`)mixer-bench ([a-z]+)\b", README, re.MULTILINE))
    assert named - verbs == set()
    assert verbs - named == set()
