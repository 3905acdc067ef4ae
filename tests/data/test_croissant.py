"""Croissant files of the embedded tasks: of the task and its files as they are, and readable by its own library."""

from __future__ import annotations

import csv
import json
import logging
import runpy
from pathlib import Path
from typing import Any

import pytest

from mixer_bench.system import files
from mixer_bench.system.paths import EMBEDDED
from mixer_bench.task.task import tasks

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "make_croissant.py"))
NAMES = sorted(TOOL["ORIGINS"])


def told(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((EMBEDDED / name / "croissant.json").read_text(encoding="utf-8"))
    return read


def test_each_embedded_task_has_one() -> None:
    assert [name for name, task in tasks().items() if "embedded" in task.tags] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_the_task_and_its_files_say(name: str) -> None:
    text = (EMBEDDED / name / "croissant.json").read_text(encoding="utf-8")
    assert text == TOOL["text"](tasks()[name]), "run python tools/make_croissant.py"
    listed = {entry["@id"]: entry for entry in told(name)["distribution"] if "sha256" in entry}
    assert {place: entry["sha256"] for place, entry in listed.items()} == {
        place: files.sha256(EMBEDDED / name / place) for place in ("images.csv", "images.zip")
    }
    assert told(name)["license"].startswith("https://creativecommons.org/")
    with (EMBEDDED / name / "images.csv").open(encoding="utf-8", newline="") as file:
        columns = next(csv.reader(file))
    assert set(columns) <= {field["name"] for field in told(name)["recordSet"][0]["field"]}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # mlcroissant's, which also leaves files open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("name", NAMES)
def test_its_own_library_reads_every_image_with_its_class_and_split(
    name: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path_factory.mktemp("croissant")
    monkeypatch.setenv("CROISSANT_CACHE", str(cache))  # read when it is imported
    mlcroissant = pytest.importorskip("mlcroissant", reason="needs mlcroissant")
    logging.getLogger("absl").setLevel(logging.ERROR)
    with (EMBEDDED / name / "images.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    for record in mlcroissant.Dataset(str(EMBEDDED / name / "croissant.json")).records("examples"):
        row = rows.pop(record["examples/file"].decode())
        assert {key: record[f"examples/{key}"].decode() for key in row} == row
        assert record["examples/image"].size in ((64, 64), (8, 8))
    assert not rows
