"""Images of one's own without a task file: a CSV or parquet list, a data set in the hub's layout, and ``explain``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest

from mixer_bench import data
from mixer_bench.cli import app
from mixer_bench.data import names
from mixer_bench.data.examples import TaskData
from mixer_bench.errors import DataError, MixerBenchError, UsageError
from mixer_bench.results.store import Store
from tests import hub_repositories
from tests.hub_repositories import Repository, image

CLASSES = ("ant", "bee", "cat")
COMMON = ["--model", "pixels", "--shots", "1", "--seeds", "1", "--output-dir"]
Capture = pytest.CaptureFixture[str]
Change = Callable[[pandas.DataFrame], pandas.DataFrame]


@pytest.fixture
def listed(tmp_path: Path) -> pandas.DataFrame:
    """Thirty images below ``tmp_path/shots`` and the list of them."""
    files = [f"shots/{number:02}.png" for number in range(30)]
    (tmp_path / "shots").mkdir()
    for number, file in enumerate(files):
        (tmp_path / file).write_bytes(image(number % 3 * 20, number % 4) + bytes([number]))  # each its own bytes
    return pandas.DataFrame({"path": files, "label": [CLASSES[number % 3] for number in range(30)]})


def load(name: str | Path, image: str | None = None, label: str | None = None, skip_bad: bool = False) -> TaskData:
    (task,) = names.chosen_tasks([str(name)], reading=names.Reading(image, label, skip_bad))
    return data.load(task)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_list_is_a_task_whose_splits_are_drawn(listed: pandas.DataFrame, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"insects.{suffix}"
    listed.to_csv(file, index=False) if suffix == "csv" else listed.to_parquet(file)
    found = load(file)
    assert found.class_names == CLASSES
    assert [np.bincount(part.labels).tolist() for part in found.splits.values()] == [[6] * 3, [2] * 3, [2] * 3]
    assert found.subset == "resampled"
    assert found.source.startswith(f"list insects.{suffix}; train, val, test drawn")
    assert str(tmp_path) not in found.source
    label = dict(zip(listed["path"], listed["label"], strict=True))
    for part in found.splits.values():
        assert [CLASSES[number] for number in part.labels] == [label[name] for name in part.names]


def test_columns_can_have_other_names_and_splits_can_be_given(listed: pandas.DataFrame, tmp_path: Path) -> None:
    listed["split"] = ["train"] * 18 + ["val"] * 6 + ["test"] * 6
    listed["label"] = [10 - number % 3 for number in range(30)]
    listed["path"] = listed["path"].str.replace("/", "\\")  # as in a list made on Windows
    listed.rename(columns={"path": "file", "label": "species"}).to_csv(tmp_path / "a.csv", index=False)
    found = load(tmp_path / "a.csv", "file", "species")
    assert found.class_names == ("8", "9", "10"), "numbers in the order of numbers"
    assert [len(part) for part in found.splits.values()] == [18, 6, 6]
    assert found.subset == "official", "the splits are the list's own"


def test_a_list_runs_by_the_command_line_and_its_record_is_explained(
    listed: pandas.DataFrame, tmp_path: Path, capsys: Capture
) -> None:
    file, results = tmp_path / "insects.csv", tmp_path / "results"
    listed.to_csv(file, index=False)
    assert app.main(["run", "--task", str(file), *COMMON, str(results)]) == 0
    (record,), _ = Store(results).records()
    assert record.run.task == "table/insects"
    assert str(tmp_path) not in Store(results).place(record.run, ".json").read_text()
    explain = ["explain", record.run.key, "--results", str(results)]
    capsys.readouterr()
    assert app.main(explain) == 2
    assert "name it with --task" in capsys.readouterr().err
    assert app.main([*explain, "--task", str(file)]) == 0
    listed.assign(label=listed["label"].replace("ant", "aardvark")).to_csv(file, index=False)
    assert app.main([*explain, "--task", str(file)]) == 0, "names of classes are not identity, their order is"
    listed[:-3].to_csv(file, index=False)
    capsys.readouterr()
    assert app.main([*explain, "--task", str(file)]) == 1
    assert "  data: was " in capsys.readouterr().out
    (tmp_path / "other.csv").write_text(file.read_text(), encoding="utf-8")
    assert app.main([*explain, "--task", str(tmp_path / "other.csv")]) == 2


def with_value(column: str, value: object) -> Change:
    def change(frame: pandas.DataFrame) -> pandas.DataFrame:
        frame.loc[7, column] = value
        return frame

    return change


def with_splits(**counts: int) -> Change:
    return lambda frame: frame.assign(split=[name for name, count in counts.items() for _ in range(count)])


def twice(frame: pandas.DataFrame) -> pandas.DataFrame:
    return frame.assign(more="x").set_axis(["path", "label", "label"], axis="columns")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_value("path", "shots/06.png"), "row 8: shots/06.png is in row 7 already"),
        (with_value("path", "shots/gone.png"), "row 8: shots/gone.png cannot be read (No such file or directory)"),
        (with_value("path", "../out.png"), "row 8: ../out.png leads out of the list's folder"),
        (with_value("path", "/etc/passwd"), "row 8: /etc/passwd leads out of the list's folder"),
        (with_value("path", "shots/link.png"), "shots/link.png: leads out of "),
        (with_value("path", "shots/a\0b.png"), "row 8: "),
        (with_value("label", None), "list a.csv, split 'train': 1 of 30 labels are hidden or missing"),
        (with_value("label", "rare"), "class 'rare' has 1 image; 3 or more are needed to split it"),
        (with_splits(train=18, test=6, trian=6), "split 'trian' is none of train, val, valid, validation, test"),
        (with_splits(train=12, test=6, val=6, validation=6), "more than one of the splits"),
        (lambda frame: frame.assign(label="one"), "1 classes in column 'label'"),
        (lambda frame: frame.rename(columns={"path": "image"}), "no column 'path'; it has image, label"),
        (lambda frame: frame[:0], "lists no image"),
        (twice, "two columns 'label'"),
    ],
)
def test_a_wrong_list_is_refused_by_row(listed: pandas.DataFrame, tmp_path: Path, change: Change, said: str) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "shots").rename(tmp_path / "lists/shots")
    (tmp_path / "out.png").write_bytes(image(1, 1))
    (tmp_path / "lists/shots/link.png").symlink_to(tmp_path / "out.png")
    change(listed).to_csv(tmp_path / "lists/a.csv", index=False)
    with pytest.raises(DataError, match=re.escape(said)):
        load(tmp_path / "lists/a.csv")


@pytest.mark.parametrize(
    ("row", "said"),
    [("shots/04.png,bee,more", "not a CSV .*Expected 2 fields in line 6, saw 3"), ("shots/04.png", "1 of 30 labels")],
)
def test_a_row_of_another_length_is_named(listed: pandas.DataFrame, tmp_path: Path, row: str, said: str) -> None:
    text = listed.to_csv(index=False).replace("shots/04.png,bee", row)
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"a\.csv.*{said}"):
        load(tmp_path / "a.csv")


def test_a_parquet_file_that_is_none_and_a_list_that_is_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"a\.parquet: not a CSV or parquet file"):
        load(tmp_path / "a.parquet")
    with pytest.raises(MixerBenchError, match="no file"):
        load(tmp_path / "none.csv")


def test_a_parquet_file_of_images_is_no_list_of_paths_and_no_byte_of_it_is_printed(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"image": [image(1, 1), image(2, 2)], "label": ["ant", "bee"]})
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column 'image' holds binary, not paths; .* hf:") as raised:
        load(tmp_path / "a.parquet", "image")
    assert len(str(raised.value)) < 300


def test_paths_may_be_absolute_within_the_lists_folder_and_the_list_in_capitals(
    listed: pandas.DataFrame, tmp_path: Path
) -> None:
    listed.to_csv(tmp_path / "a.csv", index=False)
    absolute = listed.assign(path=[str(tmp_path / path) for path in listed["path"]])
    absolute.to_csv(tmp_path / "B.CSV", index=False)
    here, there = load(tmp_path / "a.csv"), load(tmp_path / "B.CSV")
    assert (here.fingerprint, here.train.names) == (there.fingerprint, there.train.names)


def test_the_same_image_in_two_splits_is_refused_or_left_out_of_what_is_learned_from(
    listed: pandas.DataFrame, tmp_path: Path
) -> None:
    for original, copy in [
        ("00", "29"),
        ("02", "19"),
        ("16", "24"),
    ]:  # of train in test, of train in val, of val in test
        (tmp_path / f"shots/{copy}.png").write_bytes((tmp_path / f"shots/{original}.png").read_bytes())
    listed.assign(split=["train"] * 15 + ["val"] * 6 + ["test"] * 9).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match=r"3 images are in two splits, byte for byte: .*16.png is test .*24.png"):
        load(tmp_path / "a.csv")
    data = load(tmp_path / "a.csv", skip_bad=True)
    learned = [f"shots/{number:02}.png" for number in range(21) if number not in (0, 2, 16)]
    assert [*data.train.names, *data.val.names] == learned
    assert len(data.test) == 9
    assert "3 images are left out of the split learned from" in data.source and "00.png" in data.source
    assert sorted(data.development.pool) == list(range(18))


def test_columns_are_refused_where_nothing_has_them() -> None:
    with pytest.raises(UsageError, match="--image and --label name columns"):
        load("digits", "img")


# --- a folder in the hub's layout

COLUMNS = ["--image", "img", "--label", "kind"]


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """A parquet data set with columns img and kind, images all different."""
    place = hub_repositories.make(tmp_path, "me/mine", Repository({"train": 60, "test": 30}, 3, "kind", "img"))
    change_splits(
        place,
        lambda frame, split: frame.assign(
            img=[{"bytes": p["bytes"] + f"{split}{row}".encode(), "path": None} for row, p in enumerate(frame["img"])]
        ),
    )
    return place


def change_splits(layout: Path, change: Callable[[pandas.DataFrame, str], pandas.DataFrame]) -> None:
    for split in ("train", "test"):
        file = layout / f"data/{split}-00000-of-00001.parquet"
        change(pandas.read_parquet(file), split).to_parquet(file)


def test_a_folder_in_the_hubs_layout_is_a_task(layout: Path, tmp_path: Path, capsys: Capture) -> None:
    found = load(f"hf:{layout}", "img", "kind")
    assert {name: len(part) for name, part in found.splits.items()} == {"train": 48, "val": 12, "test": 30}
    assert found.subset == "resampled"
    assert str(layout) not in found.source
    task, results = ["--task", f"hf:{layout}", *COLUMNS], str(tmp_path / "results")
    assert app.main(["run", *task, *COMMON, results]) == 0
    (record,), _ = Store(Path(results)).records()
    assert record.run.task == "hf/mine"
    assert app.main(["explain", record.run.key, "--results", results, *task]) == 0
    capsys.readouterr()
    assert app.main(["prepare", *task, "--json"]) == 0
    lines = Path(json.loads(capsys.readouterr().out)["manifests"]["hf/mine"]).read_text().splitlines()
    assert lines[0].split(",")[:4] == ["split", "name", "label", "sha256"]
    assert len(lines) == 1 + 90


def test_bare_numbers_need_not_begin_at_0(layout: Path) -> None:
    change_splits(layout, lambda frame, _: frame.assign(kind=frame["kind"] * 1000 + 7))
    found = load(f"hf:{layout}", "img", "kind")
    assert found.class_names == ("7", "1007", "2007")
    assert set(found.test.labels.tolist()) == {0, 1, 2}


def test_rows_that_name_files_may_not_leave_the_folder_and_a_changed_file_is_noticed(
    layout: Path, tmp_path: Path
) -> None:
    def in_files(frame: pandas.DataFrame, split: str) -> pandas.DataFrame:
        names = [f"shots/{split}{row}.png" for row in range(len(frame))]
        for name, shown in zip(names, frame["img"], strict=True):
            (layout / name).write_bytes(shown["bytes"])
        return frame.assign(img=[{"bytes": None, "path": name} for name in names])

    (layout / "shots").mkdir()
    change_splits(layout, in_files)
    before = load(f"hf:{layout}", "img", "kind").fingerprint
    (layout / "shots/test3.png").write_bytes(image(9, 1) + b"new")
    assert load(f"hf:{layout}", "img", "kind").fingerprint != before
    (layout / "shots/test3.png").unlink()
    (tmp_path / "secret.png").write_bytes(image(1, 1))
    (layout / "shots/test3.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match=r"test3\.png: leads out of "):
        load(f"hf:{layout}", "img", "kind")


def test_mixed_up_columns_are_named(layout: Path) -> None:
    with pytest.raises(DataError, match=r"column 'kind' of split '.*' holds no images"):
        load(f"hf:{layout}", "kind", "img")
    with pytest.raises(DataError, match=r"no column 'label' in split '.*'; it has img, kind"):
        load(f"hf:{layout}", "img")
