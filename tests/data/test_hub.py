"""The hub's tasks over a hub on 127.0.0.1, by the command line as a user has it."""

from __future__ import annotations

import gzip
import io
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mixer_bench.results.record import Record
from mixer_bench.results.store import Store
from mixer_bench.task.task import TASKS, load_tasks
from tests.hub_repositories import REPOSITORIES, Repository, make
from tests.loopback import User

ALL = load_tasks(TASKS)
VTAB = [task for task in ALL.values() if "vtab" in task.tags]


# --- VTAB-1k, all 19


def assert_says_what_it_stands_on(record: Record, user: User) -> None:
    """The source of its images, at which commit and in which order."""
    (source,) = [source for source in ALL[record.run.task].source if source.kind == "hub"]
    commit = user.hub.commit(user.hub.root / "datasets" / source.repo)
    assert record.source.startswith(f"hub {source.repo} at {commit}; "), "which images a number stands on"
    assert record.run.subset == source.subset
    assert ("in TFDS's order, by " if source.subset == "official" else "shuffled by a fixed seed") in record.source


@pytest.mark.parametrize(
    ("group", "lacking", "repository"),
    [
        ("vtab/natural", "vtab/dtd", "dpdl-benchmark/dtd"),
        pytest.param("vtab", "vtab/kitti_distance", "dpdl-benchmark/kitti", marks=pytest.mark.slow),
    ],
)
def test_vtab_runs_over_the_hub_and_a_missing_task_is_fetched_by_the_next_run(
    user: User, group: str, lacking: str, repository: str
) -> None:
    asked = {task.name for task in VTAB if group in task.tags}
    repositories = {source.repo for name in asked for source in ALL[name].source if source.kind == "hub"}
    for name in REPOSITORIES.keys() & repositories:
        make(user.hub.root, name)
    missing, aside = user.hub.root / "datasets" / repository, user.home / "aside"
    shutil.move(missing, aside)
    command = ["run", "--task", group, "--model", "mixer_nano", "--protocol", "knn,fewshot"]
    command += ["--shots", "1", "--seeds", "1", "--limit", "10", "--output-dir", "results"]

    first = user.run(*command)
    assert first.returncode == 3, first.stderr
    assert f"task '{lacking}': no source is there" in first.stderr
    assert f"{2 * len(asked) - 2} runs done, 0 failed" in first.stderr
    told = " ".join(user.run("report", "--results", "results").stdout.split())
    if group == "vtab":
        assert f"mean withheld, mixer_nano: no {lacking}" in told
        assert "VTAB's 19 tasks" in told, "the group means of the others stand"
    records, _ = Store(user.home / "results").records()
    assert {record.run.task for record in records} == asked - {lacking}

    shutil.move(aside, missing)
    user.hub.sent.clear()
    second = user.run(*command)
    assert second.returncode == 0, second.stderr
    assert f"{2 * len(asked)} runs asked for, 2 to do" in second.stderr
    assert {place.rsplit("/data/", 1)[0] for place in user.hub.sent} == {f"datasets/{repository}"}

    told = " ".join(user.run("report", "--results", "results").stdout.split())
    assert "VTAB-1k," not in told
    if group == "vtab":
        words = "mean accuracy in % ± 95 % interval; resampled: 16 of 19 tasks, official: 3 of 19"
        assert f"VTAB's 19 tasks, knn: {words}" in told

    records, problems = Store(user.home / "results").records()
    assert problems == []
    for record in records:
        assert_says_what_it_stands_on(record, user)
    official = {record.run.task for record in records if record.run.subset == "official"}
    assert official == {"vtab/pets", "vtab/cifar100", "vtab/svhn"}, "all three are natural"

    requests = len(user.hub.requests)
    again = user.run(*command, "--offline")
    assert (again.returncode, len(user.hub.requests)) == (0, requests), again.stderr
    assert f"all {2 * len(asked)} runs are there already" in again.stderr


# --- what can go wrong

SMALL = Repository({"train": 40, "validation": 20, "test": 30}, 5)
TASK = """
metric = "top1"
num_classes = 5
resize = "squash"
version = 1
duplicates = "allowed"
[splits]
train = "train"
val = "validation"
test = "test"
[sizes]
train = 40
val = 20
test = 30
[[source]]
kind = "hub"
repo = "{repo}"
access = "ask its owner"
"""


def declare(user: User, *names: str) -> list[str]:
    """A task file for each repository of that name."""
    folder = user.home / "tasks"
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.toml").write_text(TASK.replace("{repo}", f"a/{name}"), encoding="utf-8")
    return ["--include", str(folder), "--task", ",".join(names)]


def said(done: subprocess.CompletedProcess[str], task: str) -> str:
    """The line about a task."""
    return next(line for line in done.stderr.splitlines() if re.match(rf"\d+/\d+ {task}: ", line))


def changed(file: Path, **changes: Callable[[list[Any]], list[Any]]) -> None:
    """Change columns of a parquet file."""
    table = pq.read_table(file)
    for name, change in changes.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(change(table[name].to_pylist())))
    pq.write_table(table.replace_schema_metadata(None), file)


def at(row: int, value: object) -> Callable[[list[Any]], list[Any]]:
    return lambda values: [*values[:row], value, *values[row + 1 :]]


def renamed(file: Path) -> None:
    pq.write_table(pq.read_table(file).rename_columns(["photo", "label"]).replace_schema_metadata(None), file)


def without_a_class(file: Path) -> None:
    for split in file.parent.iterdir():
        changed(split, label=lambda labels: [min(label, 3) for label in labels])


TEST = "test-00000-of-00001.parquet"
FAULTS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "gone": (
        lambda file: shutil.rmtree(file.parent.parent),
        ["no source is there; hub: ", "a/gone", "(ask its owner)"],
    ),
    "gated": (id, ["no source is there; hub: ", "gated", "(ask its owner)"]),
    "columns": (renamed, ["hub: ", "1 new columns ({'photo'}) and 1 missing columns ({'image'})"]),
    "outside": (lambda file: changed(file, label=at(17, 5)), ["hub: test/17: label 5 is outside 0..4"]),
    "fewer": (
        lambda file: pq.write_table(pq.read_table(file).slice(0, 29), file),
        ["hub: split test has 29 examples, 30 declared"],
    ),
    "classes": (without_a_class, ["hub: 4 of 5 classes occur; class '4' has no example"]),
    "truncated": (
        lambda file: file.write_bytes(file.read_bytes()[:-100]),
        ["hub: a/truncated: ", f"data/{TEST} is damaged after 0 rows"],
    ),
    "unlabelled": (
        lambda file: changed(file, label=at(3, None)),
        ["hub: split 'test': 1 of 30 labels are hidden", "of test/3;"],
    ),
    "broken": (
        lambda file: changed(file, image=at(7, {"bytes": b"no image", "path": None})),
        ["test/7: cannot be decoded as an image"],
    ),
}


def test_each_fault_is_named_by_task_file_and_row_and_the_other_tasks_go_on(user: User) -> None:
    user.hub.gated.add("a/gated")
    for name, (damage, _) in {"good": (id, []), **FAULTS}.items():
        damage(make(user.hub.root, f"a/{name}", SMALL) / "data" / TEST)
    done = user.run("prepare", *declare(user, "good", *FAULTS))
    assert done.returncode == 3
    assert "40 train, 20 val, 30 test" in said(done, "good")
    for name, (_, parts) in FAULTS.items():
        assert name == "broken" or f"task {name!r}: " in said(done, name)
        for part in parts:
            assert part in said(done, name), name
    assert "1 of 10 tasks prepared" in done.stdout


def test_a_truncated_tar_is_named(user: User) -> None:
    place = make(user.hub.root, "a/tars", replace(SMALL, webdataset=True, image="webp", label="cls", suffix="webp"))
    arguments = declare(user, "tars")
    file = user.home / "tasks/tars.toml"
    files = 'files = { train = "train/*.tar", validation = "validation/*.tar", test = "test/*.tar" }'
    file.write_text(f'{file.read_text()}image = "webp"\nlabel = "cls"\n{files}\n', encoding="utf-8")
    assert "30 test" in said(user.run("prepare", *arguments), "tars")
    (place / "test/0.tar").write_bytes((place / "test/0.tar").read_bytes()[:-12000])
    user.hub.commits.clear()
    done = user.run("prepare", *arguments)
    assert done.returncode == 3
    assert "task 'tars': hub: test/0.tar: breaks off before the archive's end" in said(done, "tars")


def test_a_dropped_connection_is_taken_up_again_and_afterwards_no_network_is_needed(user: User) -> None:
    place = make(user.hub.root, "a/long", replace(SMALL, shards=2))
    whole, shard = (f"data/train-{number:05}-of-00002.parquet" for number in range(2))
    # What was fetched is kept by pieces of 10 MB, so that the shard must be larger than one.
    noise = io.BytesIO()
    Image.effect_noise((3500, 3500), 200).save(noise, "bmp")
    changed(place / shard, image=at(0, {"bytes": noise.getvalue(), "path": None}))
    size, piece = (place / shard).stat().st_size, 10 * 2**20
    assert size > piece + 2**16
    user.hub.drop_at(shard, size - 2**16, 1000)
    arguments = declare(user, "long")
    broken = user.run("prepare", *arguments)
    assert broken.returncode == 3
    assert "fetching broke off; the same command goes on" in said(broken, "long")
    refused = user.run("prepare", *arguments, HF_HUB_OFFLINE="1")
    assert refused.returncode == 3, "a part is not taken for the whole"

    user.hub.drop_at(shard, size - 2**16, 1)
    user.hub.sent.clear()
    done = user.run("prepare", *arguments)
    assert done.returncode == 0, done.stderr
    assert "40 train" in said(done, "long")
    assert f"datasets/a/long/{whole}" not in user.hub.sent, "what was whole is not fetched again"
    assert 0 < user.hub.sent[f"datasets/a/long/{shard}"] <= size - piece, "nor is what came before the drop"

    requests = len(user.hub.requests)
    offline = user.run("run", *arguments, "--model", "pixels", "--shots", "1", "--seeds", "1", "--offline")
    assert (offline.returncode, len(user.hub.requests)) == (0, requests), offline.stderr
    assert "1 runs done" in offline.stderr


def test_a_image_that_changed_since_it_was_prepared_is_named(user: User) -> None:
    place = make(user.hub.root, "a/moving", SMALL)
    arguments = declare(user, "moving")
    assert user.run("prepare", *arguments).returncode == 0
    changed(place / "data" / TEST, image=lambda images: [*images[:4], images[5], *images[5:]])
    user.hub.commits.clear()
    done = user.run("run", *arguments, "--model", "pixels", "--shots", "1", "--seeds", "1")
    assert done.returncode == 3
    assert "not as it was prepared: test test/4: its image has changed (1 in all)" in done.stderr
    again = user.run("prepare", *arguments)
    assert again.returncode == 0, "prepared again, it is the new image that counts"


def test_a_hub_that_cannot_be_reached_is_no_reason_to_take_another_source(user: User) -> None:
    make(user.hub.root, "a/good", SMALL)
    arguments = declare(user, "good")
    file = user.home / "tasks/good.toml"
    file.write_text(file.read_text() + '[[source]]\nkind = "folder"\nfolder = "good"\n', encoding="utf-8")
    done = user.run("run", *arguments, "--model", "pixels", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 3
    assert "the hub cannot be reached" in done.stderr
    assert "--offline" in done.stderr


CONFIGS = """---
configs:
- config_name: small
  data_files:
  - {split: train, path: data/train-*}
  - {split: test, path: data/test-*}
- config_name: other
  data_files:
  - {split: train, path: other/*}
---
"""


def test_a_configuration_of_a_data_set_of_the_hub_runs_as_a_task_of_ones_own(user: User) -> None:
    place = make(user.hub.root, "me/two", replace(SMALL, splits={"train": 60, "test": 30}, readme=CONFIGS))
    for file in sorted((place / "data").iterdir()):
        # The pool's images are in both splits, which one's own must not be.
        end = file.name.encode()
        changed(
            file,
            image=lambda images, end=end: [
                {"bytes": image["bytes"] + b"%s %d" % (end, row), "path": None} for row, image in enumerate(images)
            ],
        )
    make(user.hub.root, "me/two", replace(SMALL, splits={"train": 9}, folder="other", readme=CONFIGS))
    common = ["--model", "pixels", "--shots", "1", "--seeds", "1", "--output-dir", "results"]
    unnamed = user.run("run", "--task", "hf:me/two", *common)
    assert unnamed.returncode == 3
    assert "small" in unnamed.stderr, "the configurations there are"
    done = user.run("run", "--task", "hf:me/two:small", *common)
    assert done.returncode == 0, done.stderr
    (record,), _ = Store(user.home / "results").records()
    assert (record.run.task, record.n_train, record.n_val, record.n_test) == ("hf/me/two/small", 50, 10, 30)
    assert record.source.startswith(f"hub me/two, small at {user.hub.commit(place)}; test is test, val drawn 20%")
    assert not any("/other/" in name for name in user.hub.sent), "only the files of the configuration are fetched"
    explained = user.run("explain", record.run.key, "--task", "hf:me/two:small")
    assert explained.returncode == 0, explained.stdout + explained.stderr


def test_an_answer_that_is_none_is_one_line(user: User) -> None:
    """What answers may be a proxy's page, another service, or hostile."""
    bomb = gzip.compress(bytes(1 << 27))
    user.hub.odd = {
        **{
            f"odd/{name}": (200, {}, body)
            for name, body in {"null": b"null", "list": b"[1, 2]", "empty": b"{}"}.items()
        },
        "odd/page": (200, {"Content-Type": "text/html"}, b"<!DOCTYPE html><html>"),
        "odd/bomb": (200, {"Content-Encoding": "gzip", "Content-Type": "application/json"}, bomb),
        "odd/loop": (302, {"Location": "/api/datasets/odd/loop"}, b""),
    }
    names = [*user.hub.odd]
    models = ",".join(f"hf-hub:{name}" for name in names)
    done = user.run("prepare", "--task", ",".join(f"hf:{name}" for name in names), "--model", models)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    for kind, prefix in (("task", "hf/"), ("model", "hf-hub:")):
        told = [line for line in done.stderr.splitlines() for name in names if f"{prefix}{name}: error: " in line]
        assert len(told) == len(names), (kind, done.stderr)
