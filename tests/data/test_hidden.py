"""Nothing of a data set is passed over: labels that are hidden or missing, files that `datasets` would leave out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixer_bench import data
from mixer_bench.cli import app
from mixer_bench.data import names
from mixer_bench.data.examples import TaskData
from mixer_bench.data.readers import torchvision
from mixer_bench.data.rows import Rows, Stored, is_blank
from mixer_bench.errors import DataError
from tests.hub_repositories import image
from tests.loopback import User

SPLITS = {"train": 18, "val": 9, "test": 6}
HIDDEN = 4  # labels of a split that are not told
COMMON = ["--model", "pixels", "--protocol", "fewshot,knn,linear", "--shots", "1", "--seeds", "1", "--output-dir"]


def load(name: str) -> TaskData:
    (task,) = names.chosen_tasks([name])
    return data.load(task)


def contents(split: str) -> list[bytes]:
    start = list(SPLITS).index(split) * 100
    return [image(n % 3 * 20, n % 4) + bytes([start // 100, n]) for n in range(SPLITS[split])]


def hub(folder: Path, labels: dict[str, Sequence[object]], names: Sequence[str] = ()) -> str:
    """A folder of parquet files whose labels are of a ClassLabel, where names are given."""
    import datasets

    for split, values in labels.items():
        table = pa.table({"image": [{"bytes": c, "path": None} for c in contents(split)], "label": pa.array(values)})
        if names:
            features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=[*names])})
            table = table.replace_schema_metadata(features.arrow_schema.metadata)
        (folder / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / f"data/{split}-00000-of-00001.parquet")
    return f"hf:{folder}"


def listed(folder: Path, labels: dict[str, Sequence[object]], suffix: str) -> str:
    rows = []
    for split, values in labels.items():
        for number, (content, label) in enumerate(zip(contents(split), values, strict=True)):
            (folder / f"{split}{number}.png").write_bytes(content)
            rows.append({"path": f"{split}{number}.png", "label": label, "split": split})
    frame = pandas.DataFrame(rows)
    file = folder / f"list.{suffix}"
    frame.to_csv(file, index=False) if suffix == "csv" else frame.to_parquet(file)
    return str(file)


def spoiled(split: str, told: Sequence[object], blank: object) -> dict[str, list[object]]:
    labels: dict[str, list[object]] = {name: [told[n % 3] for n in range(count)] for name, count in SPLITS.items()}
    labels[split][-HIDDEN:] = [blank] * HIDDEN
    return labels


NUMBERS, TEXTS = (0, 1, 2), ("ant", "bee", "cat")
KINDS = {
    "hub, -1": (hub, NUMBERS, -1),
    "hub, none": (hub, NUMBERS, None),
    "hub, NaN": (hub, (0.0, 1.0, 2.0), math.nan),
    "hub, no text": (hub, TEXTS, None),
    "hub, empty text": (hub, TEXTS, ""),
    "hub, a class of ClassLabel": (lambda folder, labels: hub(folder, labels, TEXTS), NUMBERS, -1),
    "csv, -1": (lambda folder, labels: listed(folder, labels, "csv"), NUMBERS, -1),
    "csv, empty": (lambda folder, labels: listed(folder, labels, "csv"), TEXTS, None),
    "csv, nan": (lambda folder, labels: listed(folder, labels, "csv"), TEXTS, "nan"),
    "csv, None": (lambda folder, labels: listed(folder, labels, "csv"), TEXTS, "None"),
    "csv, floats": (lambda folder, labels: listed(folder, labels, "csv"), (0.0, 1.0, 2.0), -1.0),
    "parquet list, NaN": (lambda folder, labels: listed(folder, labels, "parquet"), (0.0, 1.0, 2.0), math.nan),
    "parquet list, none": (lambda folder, labels: listed(folder, labels, "parquet"), TEXTS, None),
}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", KINDS)
def test_labels_that_are_not_told_are_refused_by_split_and_count(kind: str, split: str, tmp_path: Path) -> None:
    write, told, blank = KINDS[kind]
    task = write(tmp_path, spoiled(split, told, blank))
    with pytest.raises(DataError, match=rf"split '{split}': {HIDDEN} of {SPLITS[split]} labels are hidden or missing"):
        load(task)
    whole = {name: [told[n % 3] for n in range(count)] for name, count in SPLITS.items()}
    again = load(write(tmp_path, whole))
    assert again.class_names in (("0", "1", "2"), ("0.0", "1.0", "2.0"), TEXTS)
    assert [part.labels.tolist() for part in again.splits.values()] == [
        [n % 3 for n in range(count)] for count in SPLITS.values()
    ]


def test_hidden_labels_end_with_3_and_leave_no_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = hub(tmp_path / "set", spoiled("test", NUMBERS, -1))
    assert app.main(["run", "--task", task, *COMMON, str(tmp_path / "r")]) == 3
    assert "split 'test': 4 of 6 labels are hidden or missing" in capsys.readouterr().err
    assert not list((tmp_path / "r").rglob("*.json"))


@pytest.mark.parametrize(
    "held",
    [
        {"_image_files": ["0.png", "1.png", "2.png"], "_labels": [None] * 3},  # its CLEVR's test split
        {"data": np.zeros((3, 3, 8, 8), np.uint8), "labels": np.full(3, -1)},  # its STL10's unlabelled one
    ],
)
def test_labels_that_torchvision_has_not_are_refused(held: dict[str, object], tmp_path: Path) -> None:
    folders(tmp_path, ["0.png", "1.png", "2.png"])
    held = {key: [tmp_path / name for name in value] if "files" in key else value for key, value in held.items()}
    rows = torchvision._rows(SimpleNamespace(**held), "test", tmp_path, "label")
    with pytest.raises(DataError, match="split 'test': 3 of 3 labels are hidden or missing"):
        rows.check_told("split 'test'")


def test_whole_numbers_are_classes_and_measures_are_not() -> None:
    stored = Stored(lambda position: f"image {position}", lambda _: b"")
    mixed = [None, 1, 2.0, math.nan, -1, np.int8(3), True]
    assert Rows.all(stored, mixed).labels.tolist() == [-1, 1, 2, -1, -1, 3, 1]
    with pytest.raises(DataError, match=r"image 1: label 0\.5 is no class"):
        Rows.all(stored, [1, 0.5])
    assert not any(map(is_blank, ("none", "na", "0", 0, "-", "a-1", "unknown", False)))
    assert all(map(is_blank, ("-1", " -1", "-1.0", "-100", "NaN", "", " ", None, -1, np.float32("nan"))))


# --- files that `datasets` would leave out


def folders(root: Path, files: Sequence[str]) -> Path:
    for number, file in enumerate(files):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(image(number % 9, number % 4) + bytes([number]))
    return root


PLAIN = [f"{name}/{n}.png" for name in TEXTS for n in range(6)]
LEAVES_OUT = {
    "file names": ([*PLAIN, "ant/crash_test_1.png", "bee/steam_train.png"], 18, "ant/0.png"),
    "one of another suffix": ([*PLAIN, "ant/test.jpg"], 18, "ant/0.png"),
    "a class called train": ([*PLAIN, "train/0.png", "train/1.png", "train/2.png"], 18, "ant/0.png"),
    "a third split": (
        [*(f"{split}/{f}" for split in ("train", "test", "spare") for f in PLAIN)],
        18,
        "spare/ant/0.png",
    ),
}


@pytest.mark.parametrize("kind", LEAVES_OUT)
def test_files_that_would_be_left_out_are_named(kind: str, tmp_path: Path) -> None:
    files, count, first = LEAVES_OUT[kind]
    with pytest.raises(DataError, match=rf"{count} of {len(files)} files would be left out, the first {first}"):
        load(f"hf:{folders(tmp_path / 'set', files)}")


def test_files_beside_shards_of_the_hubs_own_names_are_none_of_the_data(tmp_path: Path) -> None:
    whole = {name: [n % 3 for n in range(count)] for name, count in SPLITS.items()}
    task = hub(tmp_path, whole)
    (tmp_path / "old.parquet").write_bytes((tmp_path / "data/train-00000-of-00001.parquet").read_bytes())
    assert [len(part) for part in load(task).splits.values()] == list(SPLITS.values())


def test_of_a_set_on_the_hub_files_that_would_be_left_out_are_named_and_none_is_fetched(user: User) -> None:
    root = folders(user.hub.root / "datasets/me/insects", [*PLAIN, "ant/crash_test_1.png"])
    command = ["run", "--task", "hf:me/insects", *COMMON, "r"]
    refused = user.run(*command)
    assert refused.returncode == 3
    assert "18 of 19 files would be left out, the first ant/0.png" in refused.stderr
    assert not [place for place in user.hub.sent if place.endswith(".png")]
    (root / "ant/crash_test_1.png").rename(root / "ant/crash.png")
    assert user.run(*command).returncode == 0


def test_split_folders_class_folders_and_what_a_readme_says_are_used_whole(tmp_path: Path) -> None:
    splits = [f"{split}/{f}" for split in ("train", "test") for f in PLAIN]
    for name, files in {"plain": [*PLAIN, "ant/.hidden.png"], "splits": splits}.items():
        task = load(f"hf:{folders(tmp_path / name, files)}")
        assert sum(map(len, task.splits.values())) == len([file for file in files if "hidden" not in file])
    readme = "---\nconfigs:\n- config_name: whole\n  data_files: '*/0*.png'\n---\n"
    chosen = folders(tmp_path / "chosen", [f"{name}/{n:02}.png" for name in TEXTS for n in range(20)])
    (chosen / "README.md").write_text(readme)
    assert sum(map(len, load(f"hf:{chosen}").splits.values())) == 30
    for name in TEXTS:  # `datasets` would go on to use what it found under this README before
        (chosen / name / "030.png").write_bytes(image(5, 1) + name.encode())
    assert sum(map(len, load(f"hf:{chosen}").splits.values())) == 33
