"""Task files: strict reading, selection, and the contract that every file in tasks/ must keep."""

import functools
import re
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest

from mixer_bench import data
from mixer_bench.data.examples import TaskData
from mixer_bench.errors import DataError, UsageError
from mixer_bench.system import plugins
from mixer_bench.task import task as task_module
from mixer_bench.task.sources import EmbeddedSource
from mixer_bench.task.task import TASKS, Task, load_tasks, read_task, select, tasks

FILES = sorted(TASKS.rglob("*.toml"))
NAMES = [file.relative_to(TASKS).with_suffix("").as_posix() for file in FILES]
EMBEDDED = [name for name, task in load_tasks(TASKS).items() if isinstance(task.source[0], EmbeddedSource)]


@functools.cache
def loaded(name: str) -> TaskData:
    return data.load(load_tasks(TASKS)[name])


# --- the contract


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_a_task_file_is_named_by_its_place_and_begins_with_what_it_is(file: Path) -> None:
    task = read_task(file, TASKS)
    assert task.name == file.relative_to(TASKS).as_posix().removesuffix(".toml")
    assert file.read_text(encoding="utf-8").startswith("# "), "the first line says what the task is"
    assert task.description
    assert task.licence
    assert task.tags
    assert bool(task.title) == bool(task.position), "papers print a name at a place"


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_task_is_what_its_file_declares(name: str) -> None:
    task, found = load_tasks(TASKS)[name], loaded(name)
    assert {split: len(examples) for split, examples in found.splits.items()} == task.sizes.model_dump()
    assert len(set(found.class_names)) == task.num_classes == found.num_classes
    assert found.metric == task.metric
    classes = set(range(task.num_classes))
    assert set(found.train.labels.tolist()) == set(found.test.labels.tolist()) == classes
    assert set(found.val.labels.tolist()) <= classes
    for examples in found.splits.values():
        assert examples.labels.dtype == np.int64
        assert len(examples.labels) == len(examples.names) == len(examples.digests) == len(examples.images)
        images = [examples.images[index] for index in range(len(examples))]
        assert {(image.dtype, image.ndim, image.shape[2]) for image in images} == {(np.dtype("uint8"), 3, 3)}
    again = data.load(task)
    assert again.fingerprint == found.fingerprint != again.limited(20).fingerprint


@pytest.mark.parametrize("by", ["bytes", "pixels"])
def test_no_drawing_lies_on_two_sides_of_cliparts_split(by: str) -> None:
    where: dict[str | bytes, str] = {}
    for split, examples in loaded("clipart").splits.items():
        for index, digest in enumerate(examples.digests):
            identity = digest if by == "bytes" else examples.images[index].tobytes()
            assert where.setdefault(identity, split) == split, examples.names[index]


def test_embedded_tasks_are_told_apart_by_their_fingerprints() -> None:
    assert len({loaded(name).fingerprint for name in EMBEDDED}) == len(EMBEDDED) >= 2


# --- strictness

RIGHT = """\
metric = "top1"
num_classes = 10
resize = "squash"
tags = ["mine", "mine/small"]
version = 1
[splits]
train = "train"
val = "val"
test = "test"
[sizes]
train = 540
val = 179
test = 1078
[[source]]
kind = "embedded"
folder = "digits"
"""
WITHOUT_SOURCE = RIGHT.partition("[[source]]")[0]


def written(folder: Path, text: str, name: str = "mine") -> Path:
    file = folder / f"{name}.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def task_of(folder: Path, text: str) -> Task:
    return read_task(written(folder, text), folder)


def changed(line: str, to: str, text: str = RIGHT) -> str:
    assert text.count(line) == 1, line
    return text.replace(line, to)


def test_the_right_text_is_read_into_its_values(tmp_path: Path) -> None:
    task = task_of(tmp_path, RIGHT)
    assert (task.name, task.metric, task.num_classes, task.version) == ("mine", "top1", 10, 1)
    assert task.tags == ("mine", "mine/small")
    assert task.sizes.model_dump() == {"train": 540, "val": 179, "test": 1078}
    assert task.source == (EmbeddedSource(kind="embedded", folder="digits", subset="official"),)
    assert len(data.load(task).test) == 1078


def without(key: str) -> str:
    return "".join(line for line in RIGHT.splitlines(keepends=True) if not line.startswith(f"{key} ="))


WRONG = [
    # a typo in a key
    (changed("metric =", "metrc ="), ["unknown key 'metrc'; did you mean metric", "'metric'"]),
    (changed("num_classes =", "num_clases ="), ["unknown key 'num_clases'; did you mean num_classes"]),
    (changed("tags =", "zebra ="), ["unknown key 'zebra'; known: ", "num_classes"]),
    (changed("[sizes]", "[size]"), ["'sizes'"]),
    (changed("train = 540", "trian = 540"), ["'sizes.trian'"]),
    (changed('train = "train"', 'trian = "train"'), ["'splits.trian'"]),
    (changed('folder = "digits"', 'foldr = "digits"'), ["foldr'", "folder'"]),
    (changed("resize =", "resise =", changed("version = 1", "version = 0")), ["'resise'", "'resize'", "'version'"]),
    # a value of the wrong kind
    *[
        (changed("num_classes = 10", f"num_classes = {value}"), ["key 'num_classes': "])
        for value in ('"many"', "2.5", "1")
    ],
    (changed('metric = "top1"', 'metric = "top5"'), ["key 'metric': "]),
    (changed('resize = "squash"', 'resize = "stretch"'), ["key 'resize': "]),
    (changed("version = 1", "version = 0"), ["key 'version': "]),
    (changed('tags = ["mine", "mine/small"]', 'tags = "mine"'), ["key 'tags': "]),
    (changed('train = "train"', 'train = ["train"]'), ["key 'splits.train': "]),
    (changed("train = 540", "train = 0"), ["sizes.train is 0, splits.train 'train': both or neither"]),
    (changed("train = 540", "train = -1"), ["key 'sizes.train': "]),
    (changed("train = 540", 'train = "all"'), ["key 'sizes.train': "]),
    (changed('kind = "embedded"', 'kind = "torrent"'), ["key 'source.0': "]),
    (changed('folder = "digits"', 'folder = "digits"\nsubset = "inofficial"'), ["key 'source.0.embedded.subset': "]),
    # a key too few or too many
    *[(without(key), [f"key '{key}': Field required"]) for key in ("metric", "num_classes", "resize", "version")],
    (WITHOUT_SOURCE, ["key 'source': Field required"]),
    ("source = []\n" + WITHOUT_SOURCE, ["key 'source': "]),
    (re.sub(r"\[sizes\][^[]*", "", RIGHT), ["key 'sizes': is missing"]),
    (re.sub(r"\[splits\][^[]*", "", RIGHT), ["key 'splits': Field required"]),
    (changed("test = 1078\n", ""), ["key 'sizes.test': Field required"]),
    (changed('val = "val"\n', ""), ["key 'splits': ", "train and val are given both or neither"]),
    (changed('train = "train"\nval = "val"\n', ""), ["sizes.train is 540, splits.train '': both or neither"]),
    ('name = "mine"\n' + RIGHT, ["key 'name': is the file's name"]),
    (RIGHT + RIGHT[RIGHT.index("[[source]]") :], ["the same source is named twice"]),
    # what a stranger's file might ask for
    *[
        (
            changed('kind = "embedded"\nfolder = "digits"', f'kind = "folder"\nfolder = "{place}"'),
            ["leads out of the data"],
        )
        for place in ("/etc", "../mine", "a/../../b")
    ],
    *[
        (changed('folder = "digits"', f'folder = "digits"\norder = "tfds"\nkey = "{key}"'), ["key"])
        for key in ("{file!r:>99999999999}", "{file:5}", "{0}", "{file", "{file.__class__}", "{}")
    ],
    # no TOML
    (changed("version = 1", "version = "), ["line 5"]),
    ("metric = \n" + RIGHT, ["line 1"]),
]


@pytest.mark.parametrize(("text", "complaints"), WRONG)
def test_a_wrong_file_names_itself_and_every_wrong_key(tmp_path: Path, text: str, complaints: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        task_of(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.toml'}: ")
    for complaint in complaints:
        assert complaint in str(caught.value)


def test_a_file_that_is_not_utf8_names_itself(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(RIGHT.encode() + b'# caf\xe9"\n')
    with pytest.raises(UsageError, match=r"mine\.toml"):
        read_task(file, tmp_path)


# --- what a declaration says against what the data are


@pytest.mark.parametrize(
    ("line", "wrong", "complaint"),
    [
        ("train = 540", "train = 12345", "split train has 540 examples, 12345 declared"),
        ("val = 179", "val = 12345", "split val has 179 examples, 12345 declared"),
        ("test = 1078", "test = 12345", "split test has 1078 examples, 12345 declared"),
        ("num_classes = 10", "num_classes = 11", "10 classes found, 11 declared"),
        *[
            ('train = "train"', f'train = "{expression}"', expression)
            for expression in ("train[:9999]", "validation", "train[", "train[:0]")
        ],
        ('val = "val"', 'val = "train[539:]"', "example 539 of 'train' is in train and again in val"),
    ],
)
def test_what_does_not_fit_the_data_is_named_with_the_task(
    tmp_path: Path, line: str, wrong: str, complaint: str
) -> None:
    with pytest.raises((UsageError, DataError)) as caught:
        data.load(task_of(tmp_path, changed(line, wrong)))
    assert str(caught.value).startswith("task 'mine': embedded: ")
    assert complaint in str(caught.value)


def test_split_expressions_cut_the_sources_own_splits(tmp_path: Path) -> None:
    text = changed('train = "train"', 'train = "train[:100]+val[50%:]"')
    text = changed("train = 540", "train = 189", changed("val = 179", "val = 90", text))
    found = data.load(task_of(tmp_path, changed('val = "val"', 'val = "val[:50%]"', text)))
    whole = loaded("digits")
    assert found.train.digests == whole.train.digests[:100] + whole.val.digests[90:]
    assert found.train.labels.tolist() == [*whole.train.labels[:100], *whole.val.labels[90:]]
    assert np.array_equal(found.train.images[100], whole.val.images[90])
    assert found.val.digests == whole.val.digests[:90]


def test_the_first_source_that_is_there_is_used_and_recorded(tmp_path: Path) -> None:
    first = '[[source]]\nkind = "folder"\nfolder = "not there"\nsubset = "resampled"\n'
    found = data.load(task_of(tmp_path, WITHOUT_SOURCE + first + RIGHT[RIGHT.index("[[source]]") :]), tmp_path)
    assert (found.subset, found.source) == ("official", "embedded in the package: digits")
    assert found.fingerprint == loaded("digits").fingerprint


def test_without_any_source_the_task_and_what_was_tried_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXER_BENCH_DATA", str(tmp_path / "root"))
    sources = '[[source]]\nkind = "folder"\nfolder = "pets"\n[[source]]\nkind = "embedded"\nfolder = "gone"\n'
    tried = rf"folder: .*{re.escape(str(tmp_path / 'root/pets'))}.*; embedded: .*gone"
    with pytest.raises(DataError, match=f"task 'mine': no source is there; {tried}"):
        data.load(task_of(tmp_path, WITHOUT_SOURCE + sources))


# --- folders of tasks


def test_tasks_in_subfolders_are_named_by_their_path_and_a_wrong_one_by_its_file(tmp_path: Path) -> None:
    written(tmp_path, RIGHT, "a/b/pets")
    written(tmp_path, RIGHT, "cars")
    assert sorted(load_tasks(tmp_path)) == ["a/b/pets", "cars"]
    wrong = written(tmp_path, RIGHT.replace("metric", "metrik"), "sub/wrong")
    with pytest.raises(UsageError, match=re.escape(str(wrong))):
        load_tasks(tmp_path)


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_task_files_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=re.escape(f"{tmp_path / name}: there is no task file")):
        tasks([tmp_path / name])


def test_an_included_folder_adds_its_tasks_and_changes_no_other(tmp_path: Path) -> None:
    written(tmp_path, RIGHT, "my pets")
    assert set(tasks([tmp_path])) == {*tasks(), "my pets"}
    assert "my pets" not in tasks()


@pytest.mark.parametrize("name", ["digits", "mine"])
def test_an_included_task_may_not_take_the_name_of_another(tmp_path: Path, name: str) -> None:
    folders = [tmp_path / "a", tmp_path / "b"] if name == "mine" else [tmp_path / "b"]
    for folder in folders:
        written(folder, RIGHT, name)
    with pytest.raises(UsageError, match=re.escape(f"{tmp_path / 'b'}: there is a task {name!r} already")):
        tasks(folders)


PLUGGED: list[Path] = []


def test_a_package_brings_tasks_and_a_broken_one_is_named_only_where_a_task_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, RIGHT, "brought")
    monkeypatch.setattr(f"{__name__}.PLUGGED", [tmp_path])
    values = {"good": f"{__name__}:PLUGGED.pop", "broken": "no_such_module:tasks"}
    points = EntryPoints(EntryPoint(name, value, task_module.GROUP) for name, value in values.items())
    monkeypatch.setattr(plugins, "entry_points", points.select)
    monkeypatch.setattr(task_module, "_installed", functools.cache(task_module._installed.__wrapped__))
    assert [task.name for task in select(["brought", "digits"], tasks())] == ["brought", "digits"]
    with pytest.raises(
        UsageError, match=r"unknown task 'brough'; did you mean brought.*'broken' .* cannot be imported"
    ):
        select(["brough"], tasks())
