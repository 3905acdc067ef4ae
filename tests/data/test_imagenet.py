"""ImageNet's folder, its ReaL labels, and ImageNet-V2 beside its training images; of a size for a test."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from mixer_bench import data
from mixer_bench.cli import app
from mixer_bench.errors import DataError
from mixer_bench.results.store import Store
from mixer_bench.stats import metrics
from mixer_bench.task.task import TASKS, Task, load_tasks
from tests.hub_repositories import image

WNIDS = ("n01440764", "n01443537", "n01484850", "n01491361")
ALL = load_tasks(TASKS)


def place(file: Path, colour: int, variant: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # Every image its own bytes: a comment after the image's end.
    file.write_bytes(image(colour, variant % 4, "jpg") + str(file).encode())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """``imagenet/{train,val}/<wnid>/`` and ImageNet-V2's folders 0 .. 3, and one called 10 that sorts after 3."""
    for label, wnid in enumerate(WNIDS):
        for number in range(25):
            place(tmp_path / "imagenet/train" / wnid / f"{wnid}_{number}.JPEG", label * 16, number)
        for number in range(10):
            name = f"ILSVRC2012_val_{label * 10 + number + 1:08}.JPEG"
            place(tmp_path / "imagenet/val" / wnid / name, label * 16, number)
            place(tmp_path / "imagenetv2-matched-frequency-format-val" / str(label) / f"{number}.jpeg", label, number)
    return tmp_path


def smaller(name: str, **changes: object) -> Task:
    """The task file as it is, but for the number of classes and images, and its folder sources only."""
    sizes = {"train": 99, "val": 1, "test": 40}
    whole = ALL[name].model_dump()
    source = whole["source"][0]
    for part in (source, *source.get("part", ())):
        part["rows"] = {}
    first = {**whole, "num_classes": 4, "classes": None, "sizes": sizes, "source": [source], **changes}
    return Task.model_validate(first)


def in_tfds_order(split: str, files: list[str]) -> list[str]:
    return sorted(files, key=lambda file: hashlib.md5(f"{split}{file}".encode()).hexdigest())


def test_the_folder_is_cut_in_tfds_order_and_val_is_one_percent_of_train(root: Path) -> None:
    found = data.load(smaller("imagenet"), root)
    assert found.class_names == WNIDS
    train = in_tfds_order("train", [f"{wnid}_{number}.JPEG" for wnid in WNIDS for number in range(25)])
    test = in_tfds_order("validation", [f"ILSVRC2012_val_{number:08}.JPEG" for number in range(1, 41)])
    files = [[name.partition("/")[2] for name in part.names] for part in found.splits.values()]
    assert files == [train[:99], train[99:], test]
    assert found.test.labels.tolist() == [(number_of(file) - 1) // 10 for file in test]


def number_of(name: str) -> int:
    return int(name[-13:-5])


def reassessed() -> list[list[int]]:
    """ReaL's lists, read once more."""
    (folder,) = importlib.util.find_spec("timm").submodule_search_locations
    return json.loads((Path(folder) / "data/_info/imagenet_real_labels.json").read_text())


def test_real_labels_go_by_the_images_number_whatever_the_order(root: Path) -> None:
    found = data.load(smaller("imagenet"), root)
    lists = reassessed()
    assert (len(lists), sum(1 for accepted in lists if accepted)) == (50_000, 46_837)
    for some, count in ((found, 40), (found.limited(7), 7)):
        assert [list(accepted) for accepted in some.accepted] == [
            lists[number_of(name) - 1] for name in some.test.names
        ]
        assert len(some.accepted) == count


@pytest.mark.parametrize("name", ["image_00000007.JPEG", "ILSVRC2012_val_00050001.JPEG"])
def test_without_a_number_of_the_lists_there_is_no_real_score_and_the_record_says_so(root: Path, name: str) -> None:
    file = next((root / "imagenet/val").rglob("*_00000007.JPEG"))
    file.rename(file.with_name(name))
    found = data.load(smaller("imagenet"), root)
    assert found.accepted is None
    assert "no ReaL score: the rows carry no names of validation files" in found.source


def test_a_image_without_accepted_classes_does_not_count() -> None:
    accepted = ((1,), (), (2, 3), (0,), ())
    real = metrics.get("real")
    assert real.score(np.array([1, 0, 3, 2, 4]), accepted, 5) == 2 / 3
    assert real.score(np.array([0, 0, 0, 1, 0]), accepted, 5) == 0


SMALLER = {"1000": "4", "1268355": "99", "12812": "1", "= 50000\n": "= 40\n"}


def test_a_split_that_is_not_whole_is_refused_though_it_would_be_cut_to_the_right_size(root: Path) -> None:
    task = smaller("imagenet")
    source = task.source[0].model_copy(update={"rows": {"train": 100, "validation": 41}})
    with pytest.raises(DataError, match="split 'validation' holds 40 images, 41 when whole; fetch it again"):
        data.load(task.model_copy(update={"source": (source,)}), root)


def test_what_else_lies_beside_train_and_val_is_not_looked_at(root: Path) -> None:
    place(root / "imagenet/test/ILSVRC2012_test_00000001.JPEG", 1, 1)
    place(root / "imagenet/ILSVRC2012_devkit_t12/data/meta.mat", 1, 1)
    assert len(data.load(smaller("imagenet"), root).test) == 40


def test_a_run_records_both_scores_and_the_report_shows_both(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tasks").mkdir()
    lines = (TASKS / "imagenet.toml").read_text(encoding="utf-8").splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith(("rows", "description", "classes")))
    for number, smaller_number in SMALLER.items():
        text = text.replace(number, smaller_number)
    (tmp_path / "tasks/small_imagenet.toml").write_text(text, encoding="utf-8")
    results = tmp_path / "results"
    command = ["run", "--task", "small_imagenet", "--include", str(tmp_path / "tasks"), "--data-dir", str(root)]
    assert app.main([*command, "--model", "pixels", "--shots", "5", "--seeds", "2", "--output-dir", str(results)]) == 0
    store = Store(results)
    records, _ = store.records()
    lists = reassessed()
    names = data.load(smaller("imagenet"), root).test.names
    for record in records:
        predicted = store.predictions(record).prediction
        judged = [(p, lists[number_of(name) - 1]) for p, name in zip(predicted, names, strict=True)]
        right = [p in accepted for p, accepted in judged if accepted]
        assert record.metrics["real"].value == pytest.approx(sum(right) / len(right))
        assert record.metrics["real"].value != record.metrics["top1"].value
    capsys.readouterr()
    assert app.main(["report", "--results", str(results)]) == 0
    told = capsys.readouterr().out
    assert "small_imagenet: top-1 accuracy in %" in told
    assert "small_imagenet: ReaL accuracy in %" in told


def test_v2_is_the_test_split_beside_imagenets_own_training_images(root: Path) -> None:
    found = data.load(smaller("imagenet_v2"), root)
    assert set(found.test.names) == {f"{label}/{number}.jpeg" for label in range(4) for number in range(10)}
    assert [int(name.partition("/")[0]) for name in found.test.names] == found.test.labels.tolist()
    assert found.train.fingerprint == data.load(smaller("imagenet"), root).train.fingerprint
    assert found.class_names == WNIDS, "ImageNet's, not the folders' numbers"


def test_v2s_folders_are_sorted_as_numbers_as_classes_are(root: Path) -> None:
    for split in ("train", "val"):
        for number in range(9):
            place(root / f"imagenet/{split}/n1{number}" / f"{split}_{number}_{'x' * number}.JPEG", number, 0)
    for number in range(4, 13):
        place(root / "imagenetv2-matched-frequency-format-val" / str(number) / "0.jpeg", number, 0)
    task = smaller("imagenet_v2", num_classes=13, sizes={"train": 108, "val": 1, "test": 49})
    found = data.load(task, root)
    assert [int(name.partition("/")[0]) for name in found.test.names] == found.test.labels.tolist()
    assert found.test.labels.max() == 12


def test_joined_parts_give_the_whole_the_worst_of_their_subsets(root: Path) -> None:
    task = smaller("imagenet_v2")
    joined = task.source[0]
    first = joined.part[0].model_copy(update={"subset": "resampled", "order": "seeded", "key": ""})
    task = task.model_copy(update={"source": (joined.model_copy(update={"part": (first, joined.part[1])}),)})
    found = data.load(task, root)
    assert found.subset == "resampled"
    assert "shuffled by a fixed seed" in found.source


def test_without_either_part_the_message_says_how_both_are_had(root: Path) -> None:
    (root / "imagenetv2-matched-frequency-format-val").rename(root / "elsewhere")
    with pytest.raises(DataError, match=r"accept the terms at image-net\.org.*vaishaal/ImageNetV2"):
        data.load(smaller("imagenet_v2"), root)
