"""What is released: one version, and whatever code opens is in the wheel."""

import re
import tomllib
from pathlib import Path

import yaml

import mixer_bench
from mixer_bench.report import published
from mixer_bench.task import task
from tests.test_architecture import modules_naming

ROOT = Path(__file__).parent.parent
BUILD = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_said_alike() -> None:
    assert yaml.safe_load(text("CITATION.cff"))["version"] == mixer_bench.__version__
    newest = re.search(r"^## (\S+)", text("CHANGELOG.md"), re.MULTILINE)
    assert newest and newest[1] == mixer_bench.__version__
    major = mixer_bench.__version__.partition(".")[0]
    assert set(re.findall(r"OWNER/mixer-bench@(\S+)", text("docs/gate.md"))) == {f"v{major}"}


def test_data_that_lie_outside_the_package_are_put_into_the_wheel() -> None:
    assert modules_naming(r"PACKAGE\.parent") == {"report/published.py", "system/machine.py", "task/task.py"}
    places = {task.TASKS: task._INSTALLED, published.PUBLISHED: published._INSTALLED}
    relative = {here.relative_to(ROOT).as_posix(): there.relative_to(ROOT) for here, there in places.items()}
    assert {here: there.as_posix() for here, there in relative.items()} == BUILD["targets"]["wheel"]["force-include"]
