"""VTAB-1k from the makers' archives: unpacked, read, put in TFDS's order, down to `official`."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mixer_bench.data import archives, loading
from mixer_bench.data.decoding import decode
from mixer_bench.data.examples import TaskData
from mixer_bench.data.readers import originals, sun397
from mixer_bench.errors import DataError
from tests import maker_archives
from tests.data.makers import ALL, by_hand, shown, small


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
