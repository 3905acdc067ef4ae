"""Task files: strict reading, selection, and the contract that every file in tasks/ must keep."""

import functools
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from mixer_bench import data
from mixer_bench.data.examples import TaskData
from mixer_bench.errors import DataError, UsageError
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
def test_an_embedded_task_has_the_sizes_labels_and_classes_it_declares(name: str) -> None:
    task, found = load_tasks(TASKS)[name], loaded(name)
    assert {split: len(examples) for split, examples in found.splits.items()} == task.sizes.model_dump()
    assert len(set(found.class_names)) == task.num_classes == found.num_classes
    assert found.metric == task.metric
    for examples in found.splits.values():
        assert examples.labels.dtype == np.int64
        assert examples.labels.min() >= 0
        assert examples.labels.max() < task.num_classes
        assert len(examples.labels) == len(examples.names) == len(examples.digests) == len(examples.images)
    for examples in (found.train, found.test):
        assert set(examples.labels.tolist()) == set(range(task.num_classes))


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_image_of_an_embedded_task_is_a_image(name: str) -> None:
    for examples in loaded(name).splits.values():
        for index in range(len(examples)):
            image = examples.images[index]
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.shape[2] == 3


@pytest.mark.parametrize("by", ["bytes", "pixels"])
def test_no_drawing_lies_on_two_sides_of_cliparts_split(by: str) -> None:
    where: dict[str | bytes, str] = {}
    for split, examples in loaded("clipart").splits.items():
        for index, digest in enumerate(examples.digests):
            identity = digest if by == "bytes" else examples.images[index].tobytes()
            assert where.setdefault(identity, split) == split, examples.names[index]


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_fingerprint_is_the_same_at_every_loading(name: str) -> None:
    again = data.load(load_tasks(TASKS)[name])
    assert again.fingerprint == loaded(name).fingerprint
    assert again.fingerprint != again.limited(20).fingerprint


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


@pytest.mark.parametrize(
    ("line", "typo", "complaints"),
    [
        ("metric =", "metrc =", ["unknown key 'metrc'; did you mean metric", "'metric'"]),
        ("num_classes =", "num_clases =", ["unknown key 'num_clases'; did you mean num_classes"]),
        ("resize =", "resise =", ["unknown key 'resise'; did you mean resize"]),
        ("[sizes]", "[size]", ["'sizes'"]),
        ("train = 540", "trian = 540", ["'sizes.trian'", "'sizes.train'"]),
        ('train = "train"', 'trian = "train"', ["'splits.trian'", "'splits.train'"]),
        ('folder = "digits"', 'foldr = "digits"', ["foldr'", "folder'"]),
        ("tags =", "zebra =", ["unknown key 'zebra'; known: ", "num_classes"]),
    ],
)
def test_a_typo_in_a_key_names_the_file_and_the_key(
    tmp_path: Path, line: str, typo: str, complaints: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        task_of(tmp_path, changed(line, typo))
    assert str(caught.value).startswith(f"{tmp_path / 'mine.toml'}: ")
    for complaint in complaints:
        assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("line", "wrong", "key"),
    [
        ("num_classes = 10", 'num_classes = "many"', "num_classes"),
        ("num_classes = 10", "num_classes = 2.5", "num_classes"),
        ("num_classes = 10", "num_classes = 1", "num_classes"),
        ('metric = "top1"', 'metric = "top5"', "metric"),
        ('resize = "squash"', 'resize = "stretch"', "resize"),
        ("version = 1", "version = 0", "version"),
        ('tags = ["mine", "mine/small"]', 'tags = "mine"', "tags"),
        ('train = "train"', 'train = ["train"]', "splits.train"),
        ("train = 540", "train = 0", "sizes.train"),
        ("train = 540", 'train = "all"', "sizes.train"),
        ('kind = "embedded"', 'kind = "torrent"', "source.0"),
        ('folder = "digits"', 'folder = "digits"\nsubset = "inofficial"', "source.0.embedded.subset"),
    ],
)
def test_a_value_of_the_wrong_kind_names_the_file_and_the_key(tmp_path: Path, line: str, wrong: str, key: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"key '{key}': ")) as caught:
        task_of(tmp_path, changed(line, wrong))
    assert str(caught.value).startswith(f"{tmp_path / 'mine.toml'}: ")


@pytest.mark.parametrize("key", ["metric", "num_classes", "resize", "version"])
def test_a_missing_key_names_the_file_and_the_key(tmp_path: Path, key: str) -> None:
    text = "\n".join(line for line in RIGHT.splitlines() if not line.startswith(f"{key} ="))
    with pytest.raises(UsageError, match=f"mine.toml: key '{key}': Field required"):
        task_of(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (WITHOUT_SOURCE, "key 'source': Field required"),
        ("source = []\n" + WITHOUT_SOURCE, "key 'source': "),
        (re.sub(r"\[sizes\][^[]*", "", RIGHT), "key 'sizes': is missing"),
        (re.sub(r"\[splits\][^[]*", "", RIGHT), "key 'splits': Field required"),
        (changed("test = 1078\n", ""), "key 'sizes.test': Field required"),
        (changed('val = "val"\n', ""), "key 'splits.val': Field required"),
        ('name = "mine"\n' + RIGHT, "key 'name': is the file's name"),
        (changed("version = 1", "version = "), "line 5"),
        ("metric = \n" + RIGHT, "line 1"),
    ],
)
def test_a_wrong_file_names_itself_and_the_place(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        task_of(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.toml'}: ")
    assert complaint in str(caught.value)


def test_a_file_that_is_not_utf8_names_itself(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(RIGHT.encode() + b'# caf\xe9"\n')
    with pytest.raises(UsageError, match=r"mine\.toml"):
        read_task(file, tmp_path)


def test_the_same_source_twice_is_refused(tmp_path: Path) -> None:
    source = RIGHT[RIGHT.index("[[source]]") :]
    with pytest.raises(UsageError, match=r"mine\.toml: .*the same source is named twice"):
        task_of(tmp_path, RIGHT + source)


def test_all_wrong_keys_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        task_of(tmp_path, changed("resize =", "resise =", changed("version = 1", "version = 0")))
    for key in ("resise", "resize", "version"):
        assert f"'{key}'" in str(caught.value)


# --- what a declaration says against what the data are


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_wrong_size_names_the_task_the_split_and_both_numbers(tmp_path: Path, split: str) -> None:
    right = {"train": 540, "val": 179, "test": 1078}[split]
    task = task_of(tmp_path, changed(f"{split} = {right}", f"{split} = 12345"))
    with pytest.raises(DataError, match=f"task 'mine': embedded: split {split} has {right} examples, 12345 declared"):
        data.load(task)


def test_a_wrong_number_of_classes_names_the_task_and_both_numbers(tmp_path: Path) -> None:
    task = task_of(tmp_path, changed("num_classes = 10", "num_classes = 11"))
    with pytest.raises(DataError, match="task 'mine': embedded: 10 classes found, 11 declared"):
        data.load(task)


@pytest.mark.parametrize("expression", ["train[:9999]", "validation", "train[", "train[:0]"])
def test_a_wrong_split_expression_names_the_task_and_the_expression(tmp_path: Path, expression: str) -> None:
    task = task_of(tmp_path, changed('train = "train"', f'train = "{expression}"'))
    with pytest.raises((UsageError, DataError), match=re.escape(expression)) as caught:
        data.load(task)
    assert "'mine'" in str(caught.value), "which of many tasks is it?"


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
    task = task_of(tmp_path, WITHOUT_SOURCE + first + RIGHT[RIGHT.index("[[source]]") :])
    found = data.load(task, tmp_path)
    assert found.subset == "official"
    assert found.source == "embedded in the package: digits"
    assert found.fingerprint == loaded("digits").fingerprint


def test_without_any_source_the_task_and_what_was_tried_are_named(tmp_path: Path) -> None:
    sources = '[[source]]\nkind = "folder"\nfolder = "nowhere"\n[[source]]\nkind = "embedded"\nfolder = "gone"\n'
    with pytest.raises(DataError, match=r"task 'mine': no source is there; folder: .*nowhere.*; embedded: .*gone"):
        data.load(task_of(tmp_path, WITHOUT_SOURCE + sources), tmp_path)


def test_a_folder_source_is_looked_for_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXER_BENCH_DATA", str(tmp_path / "root"))
    task = task_of(tmp_path, WITHOUT_SOURCE + '[[source]]\nkind = "folder"\nfolder = "pets"\n')
    with pytest.raises(DataError, match=re.escape(str(tmp_path / "root" / "pets"))):
        data.load(task)


# --- folders of tasks


def test_tasks_in_subfolders_are_named_by_their_path(tmp_path: Path) -> None:
    written(tmp_path, RIGHT, "a/b/pets")
    written(tmp_path, RIGHT, "cars")
    assert sorted(load_tasks(tmp_path)) == ["a/b/pets", "cars"]


def test_one_wrong_file_among_right_ones_is_named(tmp_path: Path) -> None:
    written(tmp_path, RIGHT, "right")
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


def test_an_included_task_may_not_take_the_name_of_another(tmp_path: Path) -> None:
    shutil.copy(TASKS / "digits.toml", tmp_path)
    with pytest.raises(UsageError, match=re.escape(f"{tmp_path}: there is a task 'digits' already")):
        tasks([tmp_path])


def test_two_included_folders_may_not_share_a_name(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        written(tmp_path / folder, RIGHT)
    with pytest.raises(UsageError, match=re.escape(f"{tmp_path / 'two'}: there is a task 'mine' already")):
        tasks([tmp_path / "one", tmp_path / "two"])


# --- selection


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    folder = tmp_path_factory.mktemp("tasks")
    for name, tags in {
        "vtab/pets": '["vtab", "vtab/natural"]',
        "vtab/svhn": '["vtab", "vtab/natural"]',
        "vtab/dmlab": '["vtab"]',
        "birds": '["fine"]',
    }.items():
        written(folder, changed('["mine", "mine/small"]', tags), name)
    return load_tasks(folder)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["birds"], ["birds"]),
        (["vtab"], ["vtab/dmlab", "vtab/pets", "vtab/svhn"]),
        (["vtab/natural"], ["vtab/pets", "vtab/svhn"]),
        (["vtab/*"], ["vtab/dmlab", "vtab/pets", "vtab/svhn"]),
        (["*"], ["birds", "vtab/dmlab", "vtab/pets", "vtab/svhn"]),
        (["*/[ps]*"], ["vtab/pets", "vtab/svhn"]),
        (["vtab/svhn", "birds", "vtab"], ["vtab/svhn", "birds", "vtab/dmlab", "vtab/pets"]),
        (["birds", "birds"], ["birds"]),
        ([], []),
    ],
)
def test_names_groups_and_globs_select_in_order_each_once(
    known: dict[str, Task], names: list[str], expected: list[str]
) -> None:
    assert [task.name for task in select(names, known)] == expected


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("bird", "did you mean birds?"),
        ("vtab/pet", "did you mean vtab/pets"),
        ("vtab/naturl", "did you mean vtab/natural"),
        ("nothing like it", "known: birds, fine, vtab, vtab/dmlab"),
        ("q*", "known: birds"),
    ],
)
def test_an_unknown_name_is_quoted_with_the_nearest_known(known: dict[str, Task], name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"unknown task {name!r}; {hint}")):
        select(["birds", name], known)


def test_the_embedded_tasks_are_a_group() -> None:
    assert {"clipart", "digits"} <= {task.name for task in select(["embedded"], task_module.tasks())}
