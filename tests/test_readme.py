"""What README and the pages of docs/ show works as it stands there."""

import re
import shlex
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from mixer_bench import data
from mixer_bench.cli import app
from mixer_bench.cli.options import given
from mixer_bench.data.names import chosen_tasks
from mixer_bench.models import names
from mixer_bench.runs.options import Options
from mixer_bench.system.config_file import resolved
from mixer_bench.system.schema import parts
from mixer_bench.task.task import TASKS, load_tasks
from tests import browser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in ROOT.glob("docs/**/*.md")}
PAGES["README.md"] = README
VERBS = typer.main.get_command(app.app).commands
# A line of a code block, after `- run:` of a workflow, too; a comment after two blanks is not part of it.
SHOWN = re.compile(r"^(?: {4}| +- run: )mixer-bench ([a-z].*?)(?:  +#.*)?$", re.MULTILINE)
COMMANDS = sorted({line for page in PAGES.values() for line in SHOWN.findall(page)})
OWN = {"my_net", "plants"}  # made by readers


def test_every_command_it_names_exists() -> None:
    text = "\n".join(PAGES.values())
    named = set(re.findall(r"(?:^    |`)mixer-bench ([a-z]+(?:-[a-z]+)*)\b", text, re.MULTILINE))
    assert named - VERBS.keys() == set()
    assert VERBS.keys() - named == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_shown_is_one_that_is_understood(command: str) -> None:
    verb, *arguments = (word for word in shlex.split(command) if word not in ("...", "[OPTIONS]"))
    said = VERBS[verb].make_context(verb, arguments).params
    if verb == "run":
        resolved(Options, given({name: value for name, value in said.items() if name in Options.model_fields}))
    for name in parts(said.get("task") or ()):
        if name not in OWN and not re.match(r"\.|hf:|[A-Z]+$|.*\.csv$", name):
            assert chosen_tasks([name])
    for name in parts(said.get("model") or ()):
        if name.removeprefix("random:") not in OWN and not re.match(r"file:|[A-Z]+$", name):
            assert all(map(names.card, names.matching([name])))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", PAGES[page]):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_readme_is_short_and_shows_python_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(README.encode()) <= 8 * 1024
    (shown,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXER_BENCH_CACHE", f"{tmp_path}")
    assert "output_dir=" not in shown
    exec(
        shown.replace('"fewshot"', '"fewshot", limit=20').replace('("clipart").test', '("clipart").limited(20).test'),
        {},
    )


def test_the_first_minutes_with_images_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """The commands that README shows, in its order and offline, but with two small candidates and little time."""
    own = README.partition("## Your own images")[2].partition("## The paper's tasks")[0]
    asked = ("recommend", "report", "audit", "export", "predict")
    lines = SHOWN.findall(own)
    assert tuple(line.split()[0] for line in lines) == asked
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXER_BENCH_CACHE", f"{tmp_path}/cache")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    train = data.load(load_tasks(TASKS)["digits"]).train
    for place in (number for label in range(3) for number in np.flatnonzero(train.labels == label)[:14].tolist()):
        file = tmp_path / ("new_images" if place % 7 == 0 else f"my_images/{train.labels[place]}") / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(train.images[place]).save(file)
    instead = {"20ms --budget 10m": "60s --budget 3s --model resnet_nano,pixels", "mixer_nano": "resnet_nano"}
    for line in lines:
        command = line
        for shown, small in instead.items():
            command = command.replace(shown, small)
        assert app.main(shlex.split(command)) == 0, command
        for run in re.findall(r"mixer-bench export (\w{16})", capsys.readouterr().out):
            instead["RUN"] = run
    assert (tmp_path / "predictions.csv").read_text().count("new_images/") == len([*tmp_path.glob("new_images/*")])
    if (program := browser.installed()) is not None:
        with browser.Browser(program, tmp_path / "profile") as running, running.page() as page:
            page.open(tmp_path / "results" / "report.html")
            assert "folder/my_images" in page.run("document.body.innerText")
            assert page.complaints == []


VTAB = [task for task in load_tasks(TASKS).values() if "vtab" in task.tags]


@pytest.mark.parametrize("kind", ["hub", "tfds", "originals", "torchvision", "vtab1k_folder"])
def test_the_table_of_sources_counts_what_the_task_files_say(kind: str) -> None:
    of_kind = [subset for task in VTAB for subset in {source.subset for source in task.source if source.kind == kind}]
    (row,) = re.findall(rf"^\| `{kind}` \|.*$", PAGES["docs/paper.md"], re.MULTILINE)
    last = row.rstrip(" |").rpartition("|")[2]
    for subset, count in Counter(of_kind).items():
        assert f"`{subset}` for " in last
        # Up to three are named instead of counted.
        assert re.search(rf"`{subset}` for (all )?{count}\b", last) or (count <= 3 and last.count(",") + 2 >= count)


def test_numbers_that_pages_repeat_are_those_of_the_package() -> None:
    from mixer_bench.models import zoo
    from mixer_bench.training import presets

    everywhere = "\n".join(PAGES.values())
    assert f"The zoo has {len(zoo.cards())} cards" in everywhere
    assert all(f"`{name}`" in everywhere for name in presets.presets())
