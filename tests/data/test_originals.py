"""VTAB-1k from the makers' archives: fetched over loopback, unpacked, read, put in TFDS's order, down to `official`."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mixer_bench.data import archives, loading, unpacking
from mixer_bench.data.decoding import decode
from mixer_bench.data.examples import TaskData
from mixer_bench.data.readers import originals, sun397
from mixer_bench.errors import Absent, DataError
from mixer_bench.task.sources import Source
from mixer_bench.task.task import TASKS, Task, load_tasks
from tests import maker_archives

ALL = load_tasks(TASKS)


def small(name: str, splits: Mapping[str, str], sizes: Mapping[str, int], classes: int) -> Task:
    """A task of VTAB with its makers' archives alone, scaled down: slices, sizes, classes, and images of any size."""
    task = ALL[f"vtab/{name}"]

    def shrunk(source: Source) -> Source:
        return source.model_copy(update={"rows": {}, "sizes": {}, "begins": ""})

    return task.model_copy(
        update={
            "splits": task.splits.model_copy(update=splits),
            "sizes": task.sizes and task.sizes.model_copy(update=sizes),
            "num_classes": classes,
            "pixels": None,
            "source": tuple(shrunk(source) for source in task.source if source.originals),
        }
    )


def by_hand(salt: str, keys: list[str]) -> list[str]:
    return sorted(keys, key=lambda key: int(hashlib.md5(f"{salt}{key}".encode()).hexdigest(), 16))


def shown(data: TaskData, split: str) -> list[np.ndarray]:
    examples = data.splits[split]
    return [np.asarray(examples.images[index]) for index in range(len(examples))]


def check(data: TaskData, split: str, images: list[np.ndarray], labels: list[int]) -> None:
    assert data.subset == "official"
    assert data.splits[split].labels.tolist() == labels
    for image, expected in zip(shown(data, split), images, strict=True):
        assert np.array_equal(image, expected)


# --- each data set, from the server to the task


def test_cifar100_by_row_of_the_binary_files(tmp_path: Path, offered: Any) -> None:
    files, images = maker_archives.cifar100({"train": 260, "test": 100})
    task = small(
        "cifar100", {"train": "train[:200]", "val": "train[200:]"}, {"train": 200, "val": 60, "test": 100}, 100
    )
    with maker_archives.serving(files) as server:
        offered("cifar100", server)
        data = loading.load(task, tmp_path)
        assert not (tmp_path / "cifar-100-binary.tar.gz").exists(), "it is unpacked"
        rows = [int(key) for key in by_hand("train", [str(row) for row in range(260)])]
        check(data, "train", [images["train"][row] for row in rows[:200]], [row % 100 for row in rows[:200]])
        loading.load(task, tmp_path)
        assert len(server.requests) == 1


def test_smallnorb_by_row_the_left_camera_and_both_labels(tmp_path: Path, offered: Any) -> None:
    files, images = maker_archives.smallnorb(90)
    with maker_archives.serving(files) as server:
        offered("smallnorb", server)
        for name, classes in (("smallnorb_azimuth", 18), ("smallnorb_elevation", 9)):
            sizes = {"train": 80, "val": 20, "test": 45}
            data = loading.load(small(name, {"train": "train[:80]", "val": "test[:20]"}, sizes, classes), tmp_path)
            rows = [int(key) for key in by_hand("test", [str(row) for row in range(90)])]
            grey = [np.stack([images["test"][row]] * 3, 2) for row in rows]
            check(data, "val", grey[:20], [row % classes for row in rows[:20]])
            check(data, "test", grey[45:], [row % classes for row in rows[45:]])


def test_dsprites_by_row_in_black_and_white(tmp_path: Path, offered: Any) -> None:
    files, images = maker_archives.dsprites(300, tmp_path / "made.hdf5")
    splits = {"train": "train[:200]", "val": "train[200:240]", "test": "train[240:]"}
    with maker_archives.serving(files) as server:
        offered("dsprites", server)
        for name, label in (("location", lambda row: row % 32 // 2), ("orientation", lambda row: int(row % 40 / 2.5))):
            task = small(f"dsprites_{name}", splits, {"train": 200, "val": 40, "test": 60}, 16)
            data = loading.load(task, tmp_path)
            rows = [int(key) for key in by_hand("train", [str(row) for row in range(300)])]
            pixels = [np.stack([images[row] * 255] * 3, 2) for row in rows]
            check(data, "train", pixels[:200], [label(row) for row in rows[:200]])


def test_dmlab_by_the_names_in_its_records(tmp_path: Path, offered: Any) -> None:
    counts = {"train": 40, "validation": 20, "test": 12}
    with maker_archives.serving(maker_archives.dmlab(counts)) as server:
        offered("dmlab", server)
        splits = {"train": "train[:30]", "val": "validation[:10]"}
        data = loading.load(small("dmlab", splits, {"train": 30, "val": 10, "test": 12}, 6), tmp_path)
    keys = by_hand("validation", [f"validation_{row}" for row in range(20)])[:10]
    rows = [int(key.rpartition("_")[2]) for key in keys]
    images = [decode(maker_archives.image(row % 4, row % 5, "jpg"), "it") for row in rows]
    check(data, "val", images, [row % 6 for row in rows])


def test_kitti_by_file_split_by_video(tmp_path: Path, offered: Any) -> None:
    depths = [5.0, 8.0, 8.01, 20.0, 20.01, None] * 20
    videos = [f"2011_09_26_drive_{number // 4:04d}_sync" for number in range(120)]  # 30 of 4 frames
    with maker_archives.serving(maker_archives.kitti(depths, videos)) as server:
        offered("kitti", server)
        splits = {"train": "train[:80]", "val": "validation[:9]"}
        data = loading.load(small("kitti_distance", splits, {"train": 80, "val": 9, "test": 12}, 4), tmp_path)
    np.random.seed(123)  # the builder's own way: the generator that the process shares
    names = sorted(set(videos))
    test = np.random.choice(names, 3, replace=False)
    keys = [f"{number:06d}.png" for number, video in enumerate(videos) if video in test]
    rows = [int(key[:6]) for key in by_hand("test", keys)]
    images = [decode(maker_archives.image(row % 4, row % 5, "png"), "it") for row in rows]
    check(data, "test", images, [[0, 0, 1, 1, 2, 3][row % 6] for row in rows])


def test_kittis_split_has_the_sizes_of_tfds_catalogue() -> None:
    """The 141 videos of the devkit's train_mapping.txt, and how many images train_rand.txt takes of each."""
    with Path(__file__).with_name("kitti_videos.csv").open(encoding="utf-8") as table:
        images = {row["video"]: int(row["images"]) for row in csv.DictReader(table)}
    videos = [video for video, count in images.items() for _ in range(count)]
    mapping = "".join(f"date {video} {number}\n" for number, video in enumerate(videos))
    splits = originals.kitti_splits(",".join(str(number + 1) for number in range(len(videos))), mapping)
    assert {split: len(numbers) for split, numbers in splits.items()} == {"train": 6347, "validation": 423, "test": 711}


def test_eurosat_goes_to_where_torchvision_reads_it(tmp_path: Path, offered: Any) -> None:
    names = [f"{kind}/{kind}_{number}.jpg" for kind in ("AnnualCrop", "Forest", "River") for number in range(1, 11)]
    splits = {"train": "train[:20]", "val": "train[20:25]", "test": "train[25:]"}
    with maker_archives.serving(maker_archives.eurosat(names)) as server:
        offered("eurosat", server)
        data = loading.load(small("eurosat", splits, {"train": 20, "val": 5, "test": 5}, 3), tmp_path)
    expected = by_hand("train", [name.replace("/", "_") for name in names])[:20]
    assert [name.rpartition("2750/")[2].replace("/", "_") for name in data.train.names] == expected


def test_sun397_by_tfds_lists_shrunk_and_saved_anew(tmp_path: Path, offered: Any) -> None:
    classes = ["/a/abbey", "/c/car_interior/backseat"]
    lines = [f"{classes[number % 2]}/sun_{number:04d}.jpg" for number in range(36)]
    rng = np.random.default_rng(0)

    def saved(side: int, form: str) -> bytes:
        buffer = io.BytesIO()
        pixels = np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((side // 4, side // 4 + 3, 1)))
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, form)
        return buffer.getvalue()

    contents = {line: saved(40 + 40 * (number % 12), "JPEG") for number, line in enumerate(lines)}
    lists = {"tr": [*lines[:24], sun397.UNDECODABLE], "va": lines[24:30], "te": lines[30:]}
    with maker_archives.serving(maker_archives.sun397(lists, classes, contents)) as server:
        offered("sun397", server)
        splits = {"train": "train[:20]", "val": "validation[:5]"}
        data = loading.load(small("sun397", splits, {"train": 20, "val": 5, "test": 6}, 2), tmp_path)
    keys = by_hand("train", lists["tr"][:-1])[:20]
    assert data.train.labels.tolist() == [classes.index(key.rpartition("/")[0]) for key in keys]
    for image, key in zip(shown(data, "train"), keys, strict=True):
        original = decode(contents[key], key)
        limit = original.shape[0] * original.shape[1] > sun397.LARGEST
        assert image.shape[0] * image.shape[1] <= 121_000 and (image.shape == original.shape) != limit


def test_an_image_that_opencv_cannot_read_has_red_and_blue_exchanged() -> None:
    red = Image.new("RGB", (16, 16), (250, 10, 10))
    for form, strong in (("GIF", 2), ("PNG", 0)):
        buffer = io.BytesIO()
        red.save(buffer, form)
        assert sun397.as_stored(buffer.getvalue(), "it", False)[8, 8].argmax() == strong


# --- fetching


FILES = {"EuroSAT.zip": maker_archives.zipped({f"2750/A/A_{n}.jpg": bytes(range(256)) * 40 for n in range(9)})}
THERE = "eurosat/2750"


def test_a_fetch_that_broke_off_goes_on_where_it_ended(tmp_path: Path, offered: Any) -> None:
    with maker_archives.serving(FILES) as server:
        offered("eurosat", server)
        server.broken_at["EuroSAT.zip"] = 100
        with pytest.raises(Absent, match=r"EuroSAT.zip: the connection broke off; the same command goes on; get Euro"):
            archives.fetch("eurosat", tmp_path)
        assert (tmp_path / "eurosat/EuroSAT.zip.partial").stat().st_size == 100
        archives.fetch("eurosat", tmp_path)
        assert server.requests[-1] == ("EuroSAT.zip", "bytes=100-")
    assert (tmp_path / THERE / "A/A_3.jpg").read_bytes() == bytes(range(256)) * 40
    assert sorted(file.name for file in (tmp_path / "eurosat").iterdir()) == ["2750"]


def test_what_is_left_of_a_longer_file_is_not_asked_to_go_on_for_ever(tmp_path: Path, offered: Any) -> None:
    content = FILES["EuroSAT.zip"]
    with maker_archives.serving({"EuroSAT.zip": content, "short": content[:50]}) as server:
        partial = tmp_path / "eurosat/EuroSAT.zip.partial"
        partial.parent.mkdir()
        partial.write_bytes(bytes(60))
        offered("eurosat", server, addresses=(server.address + "short",))
        with pytest.raises(Absent, match=r"short: .* has 60 bytes, .* are expected"):
            archives.fetch("eurosat", tmp_path)
        assert not partial.exists()
        offered("eurosat", server)
        archives.fetch("eurosat", tmp_path)
    assert (tmp_path / THERE).is_dir()


def test_a_wrong_hash_is_not_believed_and_the_next_address_is_tried(tmp_path: Path, offered: Any) -> None:
    content = FILES["EuroSAT.zip"]
    with maker_archives.serving({"EuroSAT.zip": content, "bad": content[:-1] + b"x", "long": content + b"x"}) as server:
        addresses = tuple(server.address + name for name in ("dead", "bad", "long"))
        offered("eurosat", server, addresses=addresses)
        with pytest.raises(Absent) as raised:
            archives.fetch("eurosat", tmp_path)
        for words in ("dead answers 404", "bad: ", "its SHA-256 is", "long: gives more than", "SHA-256", "put it into"):
            assert words in str(raised.value)
        assert list((tmp_path / "eurosat").iterdir()) == []
        offered("eurosat", server, addresses=(*addresses, server.address + "EuroSAT.zip"))
        archives.fetch("eurosat", tmp_path)
    assert (tmp_path / THERE).is_dir()


def test_a_file_put_there_by_hand_is_checked_used_and_kept(tmp_path: Path, offered: Any) -> None:
    with maker_archives.serving(FILES) as server:
        offered("eurosat", server)
        file = tmp_path / "eurosat/EuroSAT.zip"
        file.parent.mkdir()
        file.write_bytes(b"another")
        with pytest.raises(DataError, match=r"has 7 bytes, .* are expected: it is another version, or broken"):
            archives.fetch("eurosat", tmp_path)
        file.write_bytes(FILES["EuroSAT.zip"])
        archives.fetch("eurosat", tmp_path)
        assert server.requests == [] and file.exists() and (tmp_path / THERE).is_dir()


def test_a_disk_that_is_too_small_is_named_before_anything_is_fetched(
    tmp_path: Path, offered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with maker_archives.serving(FILES) as server:
        offered("eurosat", server)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1))
        with pytest.raises(Absent, match=r"EuroSAT.zip: 0.0 MB are needed in .*, 0.0 MB are free; make room"):
            archives.fetch("eurosat", tmp_path)
        assert server.requests == []


def test_a_folder_that_cannot_be_written_is_named_and_the_next_source_taken(
    tmp_path: Path, offered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with maker_archives.serving(FILES) as server:
        offered("eurosat", server)
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(Absent, match=r"EuroSAT.zip: .* cannot be written; name another data folder"):
            archives.fetch("eurosat", tmp_path)
        assert server.requests == []


@pytest.mark.parametrize(
    ("put", "moved"),
    [
        ("eurosat/2750/2750/A/A_1.jpg", "eurosat/2750/2750 is not where it belongs; move it to .*eurosat/2750"),
        ("eurosat/EuroSAT/2750/A/A_1.jpg", "eurosat/EuroSAT/2750 is not"),
        ("EuroSAT/2750/A/A_1.jpg", "EuroSAT/2750 is not"),
        ("2750/A/A_1.jpg", "2750 is not"),
        ("EuroSAT.zip", "EuroSAT.zip is not where it belongs; move it to .*eurosat/EuroSAT.zip"),
    ],
)
def test_what_a_person_put_near_to_where_it_belongs_is_not_fetched_again(
    tmp_path: Path, offered: Any, put: str, moved: str
) -> None:
    (tmp_path / put).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / put).write_bytes(FILES["EuroSAT.zip"])
    with maker_archives.serving(FILES) as server:
        offered("eurosat", server)
        with pytest.raises(DataError, match=moved):
            loading.load(small("eurosat", {}, {}, 3), tmp_path)
        assert server.requests == []


def test_a_folder_of_a_common_name_is_anybodys(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    archives.refuse_misplaced("oxford_iiit_pet", tmp_path)


@pytest.mark.parametrize("spelled", [str, str.upper])
def test_names_in_other_letters_are_refused_since_their_order_would_be_another(
    tmp_path: Path, spelled: Callable[[str], str]
) -> None:
    names = [f"{kind}/{kind}_{number:03}.jpg" for kind in ("airport", "beach") for number in range(1, 9)]
    for name in map(spelled, names):
        place = tmp_path / "NWPU-RESISC45" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(maker_archives.image(1, 1, "jpg"))
    first = by_hand("train", [name.replace("/", "_") for name in names])[0]
    cut = {"train": "train[:9]", "val": "train[9:12]", "test": "train[12:]"}
    task = small("resisc45", cut, {"train": 9, "val": 3, "test": 4}, 2)
    task = task.model_copy(update={"source": tuple(s.model_copy(update={"begins": first}) for s in task.source)})
    if spelled is str:
        assert (
            "TFDS 4.2.0 and later; before, it differed from machine to machine" in loading.load(task, tmp_path).source
        )
    else:
        with pytest.raises(DataError, match=f"its first key is '[A-Z_0-9.]*', not '{first}': names were changed"):
            loading.load(task, tmp_path)


def test_offline_nothing_is_asked_for(tmp_path: Path, offered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with maker_archives.serving(FILES) as server:
        offered("eurosat", server)
        with pytest.raises(DataError, match=r"no source is there"):
            loading.load(small("eurosat", {}, {}, 3), tmp_path)
        assert server.requests == []


def test_an_archive_read_as_it_is_is_hashed_once_for_each_state(tmp_path: Path, offered: Any) -> None:
    files, _ = maker_archives.dsprites(30, tmp_path / "made.hdf5")
    with maker_archives.serving(files) as server:
        offered("dsprites", server)
        archives.fetch("dsprites", tmp_path)
        (archive,) = archives.of("dsprites").archive
    file = archives.check(archive, tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match="its SHA-256 is"):
        archives.check(archive, tmp_path)


# --- unpacking


def _linked(kind: bytes, target: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("top/x")
        member.type, member.linkname = kind, target
        archive.addfile(member)
    return buffer.getvalue()


def _zip_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("top/x")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "up": (lambda: maker_archives.tarred({"top/../../x": b"1"}), "leads out of its folder"),
    "absolute": (lambda: maker_archives.tarred({"/tmp/x": b"1"}), "leads out of its folder"),
    "up in a zip": (lambda: maker_archives.zipped({"top/../../x": b"1"}), "leads out of its folder"),
    "backslash": (lambda: maker_archives.zipped({"..\\x": b"1"}), "leads out of its folder"),
    "symlink": (lambda: _linked(tarfile.SYMTYPE, "/etc/passwd"), "is a link or a device"),
    "hard link": (lambda: _linked(tarfile.LNKTYPE, "top/y"), "is a link or a device"),
    "device": (lambda: _linked(tarfile.CHRTYPE, ""), "is a link or a device"),
    "pipe": (lambda: _linked(tarfile.FIFOTYPE, ""), "is a link or a device"),
    "link in a zip": (_zip_link, "is a link"),
    "bomb": (lambda: maker_archives.zipped({"top/x": bytes(150_000_000)}), "unpacks to more than"),
    "another": (lambda: maker_archives.zipped({"other/x": b"1"}), "holds no top"),
    "cut off": (lambda: maker_archives.tarred({"top/x": bytes(range(256)) * 999})[:-500], "is damaged"),
    "no archive": (lambda: b"<html>", "is damaged"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_archive_to_be_trusted_leaves_nothing(what: str, tmp_path: Path) -> None:
    made, words = HOSTILE[what]
    file = tmp_path / "set.archive"
    file.write_bytes(made())
    with pytest.raises(DataError, match=words):
        unpacking.unpack(file, tmp_path / "data/top")
    assert list((tmp_path / "data").iterdir()) == []
    assert sorted(tmp_path.iterdir()) == [tmp_path / "data", file]


def test_an_archive_in_an_archive_is_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "caltech-101.zip"
    file.write_bytes(maker_archives.zipped({"a/b.tar.gz": maker_archives.tarred({"top/x": b"1"}), "__MACOSX/y": b"2"}))
    unpacking.unpack(file, tmp_path / "data/top", inner="a/b.tar.gz")
    assert (tmp_path / "data/top/x").read_bytes() == b"1"
    assert [place.name for place in (tmp_path / "data").iterdir()] == ["top"]


# --- the declarations


def test_every_set_that_a_task_names_is_declared_and_official() -> None:
    names = {source.originals for task in ALL.values() for source in task.source if source.originals}
    for name in names:
        assert archives.of(name).archive
    vtab = [task for task in ALL.values() if "vtab" in task.tags]
    official = [task for task in vtab if any(s.originals and s.subset == "official" for s in task.source)]
    assert {task.name for task in vtab} == {task.name for task in official}


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"x" + b[1:], lambda b: b[:10], lambda b: b + b"x"])
def test_a_norb_file_that_is_not_whole_is_refused(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    file = tmp_path / "x.mat"
    file.write_bytes(damage(maker_archives.norb(np.zeros((4, 2, 8, 8), np.uint8))))
    with pytest.raises(DataError, match="fetch it again"):
        originals._norb(file)
