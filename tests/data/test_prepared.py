"""Sets that TFDS prepared, fetched over loopback as from its public bucket, down to `official`."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixer_bench.data import loading, prepared
from mixer_bench.runs.prepare import Preparation
from mixer_bench.task.sources import TfdsSource
from mixer_bench.task.task import TASKS, Task, load_tasks
from tests import maker_archives
from tests.maker_archives import Server

PREPARED = Path(__file__).parent / "prepared"
READ_BY_TFDS = json.loads((PREPARED / "read_by_tfds.json").read_text())
ALL = load_tasks(TASKS)
SHARD = "kitti/3.3.0/kitti-train.tfrecord-00001-of-00002"
INFO = "kitti/3.3.0/dataset_info.json"


def kitti(**splits: str) -> Task:
    """VTAB's task with its prepared set alone, scaled down."""
    task = ALL["vtab/kitti_distance"]
    source = next(source for source in task.source if isinstance(source, TfdsSource))
    table = task.splits.model_copy(update={"train": "train[:12]", "val": "validation[:4]", **splits})
    sizes = task.sizes and task.sizes.model_copy(update={"train": 12, "val": 4, "test": 16})
    return task.model_copy(
        update={"splits": table, "sizes": sizes, "pixels": None, "source": (source.model_copy(update={"rows": {}}),)}
    )


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The bucket, with all that tests/data/prepared has."""
    files = {file.relative_to(PREPARED).as_posix(): file.read_bytes() for file in PREPARED.rglob("*.*.*/*")}
    with maker_archives.serving(files) as server:
        places = prepared.bucket().model_copy(update={"address": server.address.rstrip("/")})
        monkeypatch.setattr(prepared, "bucket", lambda: places)
        yield server


def prepare(folder: Path, task: Task | None = None, download: str | None = "tfds") -> str:
    """The exit code, and what the command says of the task."""
    said: list[str] = []
    done = Preparation(folder, said.append, quiet=True)
    done.prepare_tasks([task or kitti()], download=download)
    return f"{done.exit_code} {said[-1]}"


def there(folder: Path) -> set[str]:
    return {file.name for file in (folder / "tensorflow_datasets/kitti/3.3.0").iterdir()}


def test_a_set_is_fetched_once_and_read_as_tfds_reads_it(tmp_path: Path, public: Server) -> None:
    assert prepare(tmp_path).startswith("0 1/1 vtab/kitti_distance: prepared by TFDS, kitti:3.3.0 (official), 12 train")
    data = loading.load(kitti(), tmp_path)
    rows = loading.read(kitti().source[0], tmp_path).splits
    assert data.subset == "official" and set(rows) == {"train", "validation", "test"}
    for split, of in rows.items():
        hashes = [hashlib.sha256(of.content(index)).hexdigest() for index in range(len(of))]
        assert hashes == [example["sha256"] for example in READ_BY_TFDS["kitti"][split]]
    assert data.train.labels.tolist() == rows["train"].labels[:12].tolist()
    assert {"features.json", "dataset_info.json"} < there(tmp_path)
    requests = len(public.requests)
    assert "was prepared before, nothing has changed" in prepare(tmp_path)
    assert len(public.requests) == requests


def test_only_the_splits_that_a_task_needs_are_fetched_and_others_later(tmp_path: Path, public: Server) -> None:
    assert prepare(tmp_path, kitti(val="train[12:16]")).startswith("0 ")
    assert not any("validation" in name for name in there(tmp_path))
    public.requests.clear()
    assert prepare(tmp_path).startswith("0 ")
    asked = [name for name, _ in public.requests if "tfrecord" in name]
    assert asked and all("validation" in name for name in asked)


def test_what_was_broken_off_goes_on_and_is_no_set_before_it_is_whole(tmp_path: Path, public: Server) -> None:
    public.broken_at[SHARD] = 1000
    assert prepare(tmp_path).startswith("3 1/1 vtab/kitti_distance: error: task 'vtab/kitti_distance': ")
    assert {"dataset_info.json", Path(SHARD).name} & there(tmp_path) == set()
    assert "no kitti:3.*.*" in prepare(tmp_path, download=None), "nobody takes a half for the whole"
    public.requests.clear()
    assert prepare(tmp_path).startswith("0 ")
    assert (SHARD, "bytes=1000-") in public.requests
    assert INFO not in [name for name, _ in public.requests]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (SHARD, "record 3 is damaged (checksum)"),
        (INFO, "dataset_info.json.partial: is not what TFDS writes"),
    ],
)
def test_what_arrives_damaged_is_named_not_kept_and_fetched_anew(
    name: str, words: str, tmp_path: Path, public: Server
) -> None:
    whole = public.files[name]
    place = len(whole) // 2
    public.files[name] = whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :]
    assert words in prepare(tmp_path)
    assert not list(tmp_path.rglob("*.partial"))
    public.files[name] = whole
    assert prepare(tmp_path).startswith("0 ")


def test_a_shard_that_is_missing_or_another_is_named(tmp_path: Path, public: Server) -> None:
    whole = public.files.pop(SHARD)
    assert f"{SHARD} answers 404" in prepare(tmp_path)
    public.files[SHARD] = public.files[SHARD.replace("kitti-train", "kitti-test")]
    said = prepare(tmp_path)
    assert "kitti/3.3.0 has 7,162 bytes, 7,198 by its dataset_info.json: these are not of one set" in said
    shutil.rmtree(tmp_path / "tensorflow_datasets")
    public.files[SHARD] = whole + whole
    assert "gives more than 7,198 bytes" in prepare(tmp_path)


def test_a_set_that_is_not_public_says_so_and_older_versions_are_asked_for(tmp_path: Path, public: Server) -> None:
    public.files = {name.replace("3.3.0", "3.2.0"): content for name, content in public.files.items()}
    assert "kitti:3.2.0 (official)" in prepare(tmp_path)
    public.files = {}
    said = prepare(tmp_path / "other")
    for version in ("3.3.0", "3.2.0", "3.1.0"):
        assert f"kitti/{version}/dataset_info.json answers 404" in said
    assert "is not to be had ready-made" in said and "TFDS_DATA_DIR" in said


def test_one_that_is_at_hand_elsewhere_is_left_as_it_is(
    tmp_path: Path, public: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PREPARED / "kitti", tmp_path / "sets/kitti")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "sets"))
    assert prepare(tmp_path).startswith("0 ")
    (tmp_path / "sets" / SHARD).unlink()
    assert f"{SHARD}: No such file or directory" in prepare(tmp_path)
    assert public.requests == []


def test_a_disk_that_is_too_small_is_named_before_a_shard_is_fetched(
    tmp_path: Path, public: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1))
    assert "kitti: 0.0 MB are needed" in prepare(tmp_path)
    assert not any("tfrecord" in name for name, _ in public.requests)


def test_offline_nothing_is_asked_for(tmp_path: Path, public: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "no kitti:3.*.*" in prepare(tmp_path)
    assert public.requests == []


def test_every_prepared_set_of_a_task_has_versions_to_ask_for() -> None:
    sources = [source for task in ALL.values() for source in task.source if isinstance(source, TfdsSource)]
    versions = prepared.bucket().versions
    assert {source.dataset for source in sources} == versions.keys()
    for source in sources:
        assert {version.split(".")[0] for version in versions[source.dataset]} == {str(source.major)}
