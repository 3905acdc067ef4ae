"""What the README shows whole works as it stands there."""

import re
from collections import Counter
from pathlib import Path

import pytest

from mixer_bench.cli import app
from mixer_bench.task.task import TASKS, load_tasks

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_it_names_exists() -> None:
    import typer

    verbs = set(typer.main.get_command(app.app).commands)
    named = set(re.findall(r"(?:^    |`)mixer-bench ([a-z]+(?:-[a-z]+)*)\b", README, re.MULTILINE))
    assert named - verbs == set()
    assert verbs - named == set()


VTAB = [task for task in load_tasks(TASKS).values() if "vtab" in task.tags]


@pytest.mark.parametrize("kind", ["hub", "tfds", "originals", "torchvision", "vtab1k_folder"])
def test_the_table_of_sources_counts_what_the_task_files_say(kind: str) -> None:
    of_kind = [subset for task in VTAB for subset in {source.subset for source in task.source if source.kind == kind}]
    (row,) = re.findall(rf"^\| `{kind}` \|.*$", README, re.MULTILINE)
    last = row.rstrip(" |").rpartition("|")[2]
    for subset, count in Counter(of_kind).items():
        assert f"`{subset}` for " in last
        # Up to three are named instead of counted.
        assert re.search(rf"`{subset}` for (all )?{count}\b", last) or (count <= 3 and last.count(",") + 2 >= count)
