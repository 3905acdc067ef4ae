"""Folders that TensorFlow Datasets prepared, against what it reads of them itself (tools/tfds_sample.py)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixer_bench.data import assemble, loading
from mixer_bench.data.decoding import zero_one
from mixer_bench.data.readers import numbers, tfrecord
from mixer_bench.data.rows import Read
from mixer_bench.errors import Absent, DataError
from mixer_bench.task.sources import TfdsSource
from mixer_bench.task.task import TASKS, load_tasks
from tests import maker_archives

PREPARED = Path(__file__).parent / "prepared"
READ_BY_TFDS: dict[str, dict[str, list[Any]]] = json.loads((PREPARED / "read_by_tfds.json").read_text())
ALL = load_tasks(TASKS)
VTAB = [task for task in ALL.values() if "vtab" in task.tags]
MADE = {"svhn", "caltech101", "clevr_count", "clevr_distance", "kitti_distance"}
MADE |= {"dsprites_location", "dsprites_orientation", "smallnorb_azimuth", "smallnorb_elevation"}


def source_of(name: str) -> TfdsSource:
    (source,) = (source for source in ALL[f"vtab/{name}"].source if isinstance(source, TfdsSource))
    return source


def read(name: str, monkeypatch: pytest.MonkeyPatch, folder: Path = PREPARED) -> Read:
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    return loading.read(source_of(name), Path("nowhere"))


def _clevr_distance(example: dict[str, Any]) -> int:
    closest = np.float32(min(depth for _, _, depth in example["pixel_coords"]))
    return max(np.flatnonzero(np.array([0, 8, 8.5, 9, 9.5, 10, 100], np.float32) - closest < 0).tolist())


def _kitti_distance(example: dict[str, Any]) -> int:
    depths = [place[2] for place, kind in zip(example["location"], example["type"], strict=True) if kind < 3]
    return max(np.flatnonzero(np.array([-100.0, 8.0, 20.0, 999.0]) < min([*depths, 1000.0])).tolist())


# The stored number that the task's source takes, as task_adaptation's files have it (data/clevr.py, data/kitti.py).
STORED: dict[str, Callable[[dict[str, Any]], int]] = {
    "clevr_count": lambda example: len(example["pixel_coords"]),
    "clevr_distance": _clevr_distance,
    "kitti_distance": _kitti_distance,
    "dsprites_location": lambda example: example["label_x_position"],
    "dsprites_orientation": lambda example: example["label_orientation"],
    "smallnorb_azimuth": lambda example: example["label_azimuth"],
    "smallnorb_elevation": lambda example: example["label_elevation"],
}


@pytest.mark.parametrize("name", sorted(MADE))
def test_order_labels_and_bytes_are_those_tfds_reads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held, expected = read(name, monkeypatch), READ_BY_TFDS[source_of(name).dataset]
    assert set(held.splits) == expected.keys() - {"version"}
    for split, rows in held.splits.items():
        hashes = [hashlib.sha256(rows.content(index)).hexdigest() for index in range(len(rows))]
        assert hashes == [example["sha256"] for example in expected[split]]
        stored = STORED.get(name, lambda example: example["label"])
        assert rows.labels.tolist() == [stored(example) for example in expected[split]]
        decoded = rows.stored.decode(rows.content(0), "x", False)
        assert decoded.shape[2] == 3 and decoded.max() > 1
        if source_of(name).zero_one == "stretched":
            assert set(np.unique(decoded)) == {0, 255}


def test_the_folder_is_in_the_order_of_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """What TFDS wrote proves the order that other sources are put into."""
    held = read("kitti_distance", monkeypatch)
    keyed = source_of("kitti_distance").model_copy(update={"order": "tfds", "key": "{file}"})
    for split, rows in assemble.in_order(keyed, held).splits.items():
        assert rows.positions.tolist() == list(range(len(rows))), split


def test_every_task_of_vtab_has_it_first_and_official() -> None:
    assert len(VTAB) == 19
    for task in VTAB:
        assert isinstance(task.source[0], TfdsSource) and task.source[0].subset == "official"


def test_it_is_found_below_the_data_folder_and_its_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", "elsewhere")
    (folder := Path("data")).mkdir()
    (folder / "tensorflow_datasets").symlink_to(PREPARED)
    held = loading.read(source_of("kitti_distance"), folder)
    assert held.description == "prepared by TFDS, kitti:3.3.0"


# --- what cannot be used


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def copied(tmp_path: Path, name: str = "kitti") -> Path:
    shutil.copytree(PREPARED / name, tmp_path / "sets" / name)
    (folder,) = (tmp_path / "sets" / name).iterdir()
    return folder


def refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str = "kitti_distance") -> str:
    with pytest.raises(DataError) as raised:
        [rows.content(index) for rows in read(name, monkeypatch, tmp_path / "sets").splits.values() for index in (0, 1)]
    return str(raised.value)


def test_another_version_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    folder.rename(folder.with_name("4.0.0"))
    with pytest.raises(Absent, match=r"kitti:3\.\*\.\* is wanted, 4\.0\.0 is there"):
        read("kitti_distance", monkeypatch, tmp_path / "sets")


def test_the_newest_of_the_versions_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    for version in ("3.10.0", "3.9.0", "4.0.0", "3.1.0incomplete"):
        shutil.copytree(folder, folder.with_name(version))
    assert read("kitti_distance", monkeypatch, tmp_path / "sets").description.endswith("kitti:3.10.0")


@pytest.mark.posix
def test_a_shard_that_is_missing_short_or_too_long_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = copied(tmp_path) / "kitti-train.tfrecord-00001-of-00002"
    whole = file.read_bytes()
    record = tfrecord.records(file)[-1]
    file.write_bytes(whole[:-1])
    assert refused(monkeypatch, tmp_path).endswith("ends within record 7; copy it again")
    file.write_bytes(whole[: record.start - 12])
    assert "holds 7 records, 8 are expected" in refused(monkeypatch, tmp_path)
    file.write_bytes(whole + whole[record.start - 12 :])
    assert "holds 9 records" in refused(monkeypatch, tmp_path)
    file.write_bytes(b"")
    assert "holds 0 records" in refused(monkeypatch, tmp_path)
    file.unlink()
    os.mkfifo(file)
    assert "is no file but a folder, pipe or device" in refused(monkeypatch, tmp_path)
    file.unlink()
    with pytest.raises(OSError, match="kitti-train"):  # named by the task, as all such errors are
        read("kitti_distance", monkeypatch, tmp_path / "sets")


def test_a_flipped_bit_anywhere_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = copied(tmp_path) / "kitti-train.tfrecord-00000-of-00002"
    whole = file.read_bytes()
    end = tfrecord.records(file)[1].start - 12  # of the first record and its checksum
    for place in {*range(0, 12), *range(12, end, 5), end - 1}:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        assert str(file) in refused(monkeypatch, tmp_path), place


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("fileFormat", "array_record", "is of array_record files; prepare it with file_format='tfrecord'"),
        ("splits", "none", "is not what TFDS writes"),
        ("splits", [{"name": "train", "shardLengths": ["-1"]}], "is not what TFDS writes"),
        ("splits", [{"name": "train", "shardLengths": ["1"], "filepathTemplate": "{X}"}], "are called otherwise than"),
        ("splits", [{"name": "../x", "shardLengths": ["1"]}], "is not what TFDS writes"),
    ],
)
def test_a_description_of_other_files_is_refused(
    key: str, value: object, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = copied(tmp_path) / "dataset_info.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    assert words in refused(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    "data", [b"", b"\x0a", b"\x0a\x05abc", b"\xff" * 30, b"\x0b", b"\x0a\x03\x0a\x01\x0a", b"\x80"]
)
def test_records_of_something_else_are_refused(data: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    (folder / "kitti-train.tfrecord-00000-of-00002").write_bytes(maker_archives.record(data) * 8)
    assert "record 0: it " in refused(monkeypatch, tmp_path)


def test_an_image_beyond_0_and_1_is_not_stretched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = read("dsprites_location", monkeypatch).splits["train"]
    grey = read("smallnorb_azimuth", monkeypatch).splits["train"].content(0)
    with pytest.raises(DataError, match="beyond 0 and 1"):
        rows.stored.decode(grey, "x", False)


def test_a_copy_that_was_not_stretched_is_refused_and_one_that_was_is_taken() -> None:
    for values, refused_ in (((0, 1), True), ((0, 255), False), ((0, 0), False)):
        image = np.array([[values] * 2] * 2, np.uint8)
        decoder = zero_one(lambda _content, _name, _upright, image=image: image, stretched=False)
        if refused_:
            with pytest.raises(DataError, match="x: its values are 0 and 1, not stretched to 0 and 255"):
                decoder(b"", "x", False)
        else:
            assert np.array_equal(decoder(b"", "x", False), image)


# --- labels of all records at once


def message(*parts: bytes, tag: int = 0x0A) -> bytes:
    """Fields with a length, one after the other, in a field of theirs."""
    body, length = b"".join(parts), b""
    size = len(body)
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([tag]) + length + bytes([size]) + body


def entry(name: str, *numbers: bytes) -> bytes:
    return message(message(name.encode()), message(message(message(*numbers), tag=0x1A), tag=0x12))


IMAGE = message(message(b"image"), message(message(message(bytes(300))), tag=0x12))
LABELLED = entry("label", b"\x07")
PLAIN = [message(IMAGE, LABELLED), message(LABELLED, IMAGE), message(entry("lable", b"\x01"), LABELLED)]
PLAIN += [
    message(entry("label", b"\xac\x02")),
    message(entry("label", b"\xff\xff\xff\x7f")),
    message(IMAGE, *[LABELLED] * 2),
]
PLAIN += [message(entry("label", b"\x01"), LABELLED), message(message(message(b"labe")), LABELLED)]
OTHER = {
    "two numbers": message(entry("label", b"\x07\x08")),
    "none": message(entry("label", b"")),
    "below 0": message(entry("label", b"\xff" * 9 + b"\x01")),
    "not packed": message(message(message(b"label"), message(message(b"\x08\x07", tag=0x1A)[2:], tag=0x12))),
    "no label": message(IMAGE),
    "text": message(message(message(b"label"), message(message(message(b"7")), tag=0x12))),
    "value before key": message(message(LABELLED[9:], LABELLED[2:9])),
    "two messages": message(LABELLED) + message(IMAGE),
    "not wholly": message(LABELLED)[:-1],
    "beyond its end": message(LABELLED + b"\x0a\x7f"),
    "another tag": message(LABELLED + b"\x12\x01\x00"),
    "empty": b"",
}


def read_at_once(tmp_path: Path, *records: bytes) -> list[int] | None:
    file = tmp_path / "made"
    file.write_bytes(b"".join(map(maker_archives.record, records)))
    values = numbers.numbers(file, tfrecord.records(file), "label")
    return None if values is None else values.tolist()


def test_labels_read_at_once_are_those_read_one_by_one(tmp_path: Path) -> None:
    expected = [int(np.asarray(tfrecord.features(data, ("label",))["label"]).item()) for data in PLAIN]
    assert read_at_once(tmp_path, *PLAIN) == expected and set(expected) == {7, 300, 0xFFFFFFF}
    assert read_at_once(tmp_path) == []


@pytest.mark.parametrize("what", OTHER)
def test_what_is_written_otherwise_is_left_to_the_slow_way(what: str, tmp_path: Path) -> None:
    for place in range(3):
        assert read_at_once(tmp_path, *PLAIN[:place], OTHER[what], *PLAIN[place:2]) is None


def test_what_tfds_wrote_is_read_at_once() -> None:
    (file, *_) = sorted((PREPARED / "dsprites/2.0.0").glob("*.tfrecord*"))
    assert numbers.numbers(file, tfrecord.records(file), "label_orientation") is not None


def test_numbers_that_are_not_packed_are_read() -> None:
    """TFDS packs them; protocol buffers allow both, and every reader must take both."""
    value = b"\x1a\x04" + b"\x08\x05\x08\x07"  # int64_list: 5 and 7, each a field of its own
    entry = b"\x0a\x01a\x12" + bytes([len(value)]) + value
    features = b"\x0a" + bytes([len(entry)]) + entry
    example = b"\x0a" + bytes([len(features)]) + features
    assert np.asarray(tfrecord.features(example, ("a",))["a"]).tolist() == [5, 7]
