"""Images ahead: the manifest and what it finds, room on the disk, and tasks that cannot be had."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mixer_bench.cli import app
from mixer_bench.data import manifest
from mixer_bench.data.examples import TaskData
from mixer_bench.data.readers import hub_files
from mixer_bench.errors import DataError
from mixer_bench.runs import prepare
from mixer_bench.task import task

CLIPART = task.tasks()["clipart"]
SOURCE = CLIPART.source[0]
HERE = Path("data")
Capture = pytest.CaptureFixture[str]


# --- the manifest


def noted(data: TaskData) -> Path:
    return manifest.write("clipart", SOURCE, data, HERE)


def test_a_manifest_lists_every_image_once(task_data: TaskData) -> None:
    rows = list(csv.DictReader(noted(task_data).read_text(encoding="utf-8").splitlines()))
    assert [row["split"] for row in rows] == ["train"] * 60 + ["val"] * 30 + ["test"] * 90
    assert [row["sha256"] for row in rows[60:90]] == list(task_data.val.digests)
    assert manifest.differences("clipart", SOURCE, task_data, HERE) == []


def test_what_was_never_prepared_has_nothing_to_differ_from(task_data: TaskData) -> None:
    assert manifest.differences("clipart", SOURCE, task_data, HERE) is None


def test_each_kind_of_change_is_named(task_data: TaskData) -> None:
    noted(task_data)
    val = task_data.val
    digests = (*val.digests[:3], "0" * 64, *val.digests[4:])
    changed = replace(task_data, val=replace(val, digests=digests))
    assert manifest.differences("clipart", SOURCE, changed, HERE) == ["val val/3: its image has changed"]
    labels = val.labels.copy()
    labels[5] = (labels[5] + 1) % 3
    changed = replace(task_data, val=replace(val, labels=labels))
    assert manifest.differences("clipart", SOURCE, changed, HERE) == ["val val/5: its label has changed"]
    names = ("new", *val.names[1:])
    changed = replace(task_data, val=replace(val, names=names))
    assert manifest.differences("clipart", SOURCE, changed, HERE) == ["val new is new", "val val/0 is missing"]
    swapped = replace(task_data, val=val.take([1, 0, *range(2, 30)]))
    assert manifest.differences("clipart", SOURCE, swapped, HERE) == ["the order of the images has changed"]


@pytest.mark.parametrize("content", ["", "split,name\n", "split,name,label,sha256\ntrain,a\n"])
def test_a_damaged_manifest_is_named(task_data: TaskData, content: str) -> None:
    noted(task_data).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="is no whole manifest; prepare the task again"):
        manifest.differences("clipart", SOURCE, task_data, HERE)


def test_other_files_of_a_source_have_another_manifest() -> None:
    other = SOURCE.model_copy(update={"folder": "digits"})
    assert manifest.place("clipart", SOURCE, HERE) != manifest.place("clipart", other, HERE)


def test_the_same_task_in_another_data_folder_was_not_prepared_with_this_one(tmp_path: Path) -> None:
    source = next(s for s in task.tasks()["vtab/pets"].source if s.kind == "vtab1k_folder")
    assert manifest.place("vtab/pets", source, tmp_path) != manifest.place("vtab/pets", source, tmp_path / "other")


# --- the verb


def test_prepared_twice_nothing_is_decoded_again(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert app.main(["prepare", "--task", "digits"]) == 0
    said = capsys.readouterr()
    assert "540 train, 179 val, 1078 test" in said.err.replace(",078", "078")
    assert "1 of 1 tasks prepared" in said.out

    def never(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(prepare, "_decode", never)
    assert app.main(["prepare", "--task", "digits"]) == 0
    assert "was prepared before, nothing has changed" in capsys.readouterr().err


def test_what_cannot_be_had_is_said_with_the_way_and_the_others_go_on(capsys: Capture, tmp_path: Path) -> None:
    command = ["prepare", "--task", "imagenet,vtab/resisc45,digits", "--source", "folder", "--data-dir", str(tmp_path)]
    assert app.main(command) == 2, "digits has no folder source"
    capsys.readouterr()
    command = ["prepare", "--task", "imagenet,vtab/resisc45", "--source", "folder", "--data-dir", str(tmp_path)]
    assert app.main(command) == 3
    said = capsys.readouterr().err
    assert "1/2 imagenet: error: task 'imagenet': no source is there; folder: no folder" in said
    assert "accept the terms at image-net.org" in said
    assert "imagenet/train/<wnid>/" in said
    assert "2/2 vtab/resisc45: error: " in said


def test_too_small_a_disk_is_said_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    listed = hub_files.Listing(repo="timm/oxford-iiit-pet", commit="a" * 40, files={"data/train.parquet": 800_000_000})
    monkeypatch.setattr(hub_files, "listing", lambda _: listed)
    monkeypatch.setattr(hub_files, "missing_bytes", lambda listing: listing.bytes)
    monkeypatch.setattr(hub_files, "folder", lambda *_: pytest.fail("fetched"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_500_000_000))
    assert app.main(["prepare", "--task", "pets,vtab/pets", "--source", "hub", "--data-dir", str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert "pets: timm/oxford-iiit-pet, 800.0 MB, 800.0 MB of it to fetch" in said
    assert "error: 1.6 GB are needed in " in said, "once, though two tasks share it"
    assert "1.5 GB are free; make room or set HF_HOME" in said
