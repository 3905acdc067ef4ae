"""What the README shows whole works as it stands there."""

import re
from pathlib import Path

from mixer_bench.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_it_names_exists() -> None:
    import typer

    verbs = set(typer.main.get_command(app.app).commands)
    named = set(re.findall(r"(?:^    |`)mixer-bench ([a-z]+)\b", README, re.MULTILINE))
    assert named - verbs == set()
    assert verbs - named == set()
