"""Copies of TFDS's sets that carry its keys in some column: recognised by digests, whatever the column is called."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mixer_bench.data import assemble, loading, names
from mixer_bench.data.examples import TaskData
from mixer_bench.data.rows import Read, Rows, Stored
from mixer_bench.errors import DataError
from mixer_bench.task.sources import Carried, HubSource
from mixer_bench.task.task import TASKS, Task, load_tasks
from tests.data.test_order import HEADS, LAND_USE, _without_comments, by_hand

ALL = load_tasks(TASKS)
TOLD = {(row["task"], row["part"]): row for row in csv.DictReader(_without_comments(HEADS))}
CLASSES = sorted(LAND_USE)


def hub(task: Task) -> HubSource:
    return next(source for source in task.source if isinstance(source, HubSource))


CARRYING = [name for name, task in ALL.items() if any(isinstance(s, HubSource) and s.carried for s in task.source)]


def image(form: str = "PNG", side: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (200, 10, 10)).save(buffer, form)
    return buffer.getvalue()


def rows(files: Sequence[str], content: bytes, columns: Mapping[str, Sequence[object]]) -> Rows:
    """A split of a copy with these columns, each image's label by its file's name."""

    def field(values: Sequence[object]):
        return lambda positions: [values[position] for position in positions.tolist()]

    fields = {name: field(values) for name, values in columns.items()}
    stored = Stored(lambda position: files[position], lambda _: content, fields=fields)
    return Rows.all(stored, [CLASSES.index(file.rpartition("_")[0]) for file in files])


# --- as the task files have it


@pytest.mark.parametrize("name", CARRYING)
def test_digests_are_those_of_the_table(name: str) -> None:
    task = ALL[name]
    stem = name.removeprefix("vtab/").replace("clevr_distance", "clevr_count")
    carried = hub(task).carried
    assert carried and hub(task).splits is None, "the parts are the task's"
    assert carried.digests.model_dump() == {part: TOLD[stem, part]["digest"] for part in ("train", "val", "test")}


def test_those_whose_keys_can_be_proved_are_declared() -> None:
    named = {"clevr_count", "clevr_distance", "eurosat", "flowers102", "kitti_distance", "resisc45", "sun397"}
    assert {name.removeprefix("vtab/") for name in CARRYING} == named


def test_a_whole_copy_of_eurosat_is_official_in_the_published_order() -> None:
    task = ALL["vtab/eurosat"]
    files = [f"{kind}_{n}.jpg" for kind, count in LAND_USE.items() for n in range(1, count + 1)]
    files = [files[place] for place in np.random.default_rng(0).permutation(len(files))]
    copy = Read({"train": rows(files, image(), {"source": ["x"] * len(files), "origin": files})}, None, "a copy")
    data = assemble.assembled(task, hub(task), copy)
    words = (
        "a copy; its column 'origin' holds TFDS's keys; in TFDS's order, by {tfds_key} (that of TFDS 4.2.0 and later"
    )
    assert data.subset == "official" and data.source.startswith(words)
    for part, examples in data.splits.items():
        keys = [f"{file.rpartition('_')[0]}_{file}" for file in examples.names]
        assert keys[:10] == TOLD["eurosat", part]["keys"].split()
        assert hashlib.sha256(",".join(keys).encode()).hexdigest()[:16] == TOLD["eurosat", part]["digest"]
        assert examples.labels.tolist() == [CLASSES.index(key.partition("_")[0]) for key in keys]


# --- scaled down

FILES = [f"{kind}_{n}.jpg" for n in range(1, 7) for kind in CLASSES]


def digest(keys: Sequence[str]) -> str:
    return hashlib.sha256(",".join(keys).encode()).hexdigest()[:16]


ORDER = by_hand("train", [f"{file.rpartition('_')[0]}_{file}" for file in FILES])
PARTS = {"train": ORDER[:40], "val": ORDER[40:50], "test": ORDER[50:]}


def small() -> Task:
    """EuroSAT's task of 60 images; what the digests must be is worked out here."""
    task = ALL["vtab/eurosat"]
    carried = hub(task).carried
    digests = carried and carried.digests.model_copy(update={part: digest(keys) for part, keys in PARTS.items()})
    first: list[str] = []  # classes as they first occur
    for key in ORDER:
        first += [kind for kind in [key.partition("_")[0]] if kind not in first]
    labels = digest([str(first.index(key.partition("_")[0])) for key in ORDER])
    changed = carried and carried.model_copy(update={"digests": digests, "labels": labels})
    source = hub(task).model_copy(update={"carried": changed})
    table = task.splits.model_copy(update={"train": "train[:40]", "val": "train[40:50]", "test": "train[50:]"})
    sizes = task.sizes and task.sizes.model_copy(update={"train": 40, "val": 10, "test": 10})
    return task.model_copy(update={"splits": table, "sizes": sizes, "num_classes": None, "source": (source,)})


def read(
    columns: Mapping[str, Sequence[object]], content: bytes | None = None, files: Sequence[str] = FILES
) -> TaskData:
    task = small()
    return assemble.assembled(
        task, hub(task), Read({"train": rows(files, content or image(), columns)}, None, "a copy")
    )


@pytest.mark.parametrize("form", ["{file}", "{stem}", "2750/{group}/{file}", "{group}\\{file}", "/tmp/x/{stem}.png"])
def test_a_key_in_any_form_counts(form: str) -> None:
    stems = [file.removesuffix(".jpg") for file in FILES]
    values = [form.format(file=f"{stem}.jpg", stem=stem, group=stem.rpartition("_")[0]) for stem in stems]
    data = read({"whatever": values})
    assert data.subset == "official"
    assert [f"{name.rpartition('_')[0]}_{name}" for name in data.train.names] == PARTS["train"]


def test_saved_anew_it_is_lossy_and_resized_it_is_not_taken_for_it() -> None:
    data = read({"f": FILES}, image("JPEG"))
    assert data.subset == "official-lossy" and "may have been saved anew" in data.source
    assert [f"{name.rpartition('_')[0]}_{name}" for name in data.test.names] == PARTS["test"]
    data = read({"f": FILES}, image(side=32))
    assert data.subset == "resampled"
    said = "another size than the published ones: half of those looked at have 1,024 pixels or less, not 4,096"
    assert "its column 'f' holds TFDS's keys" in data.source and said in data.source


OTHERS: dict[str, dict[str, Sequence[object]]] = {
    "none": {},
    "another file": {"f": [*FILES[:-1], "SeaLake_7.jpg"]},
    "twice": {"f": [*FILES[:-1], FILES[0]]},
    "its own numbers": {"f": [f"{n:06}.jpg" for n in range(60)], "n": [*range(60)]},
    "missing": {"f": [*FILES[:-1], None]},
    "empty": {"f": [""] * 60},
    "of other classes": {"f": [file.replace("_", "__") for file in FILES]},
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_are_not_the_published_keys_changes_nothing_and_is_said(what: str) -> None:
    data = read(OTHERS[what])
    assert data.subset == "resampled"
    words = "no column of it proves to hold TFDS's keys; no key to TFDS's order, so shuffled by a fixed seed"
    assert data.source == f"a copy; {words}"
    assert data.fingerprint == read({}).fingerprint


def test_labels_that_contradict_the_keys_are_refused() -> None:
    swapped = [FILES[1], FILES[0], *FILES[2:]]  # of two classes: the labels go by the first, the keys by the second
    with pytest.raises(DataError, match="its labels are others than go with them; the copy is damaged"):
        read({"f": FILES}, files=swapped)


@pytest.mark.parametrize("where", ["column", "path of the image"])
def test_a_copy_on_disk_is_recognised_by_a_column_or_the_images_own_path(where: str, tmp_path: Path) -> None:
    task = small()
    folder = tmp_path / hub(task).repo / "data"
    folder.mkdir(parents=True)
    paths = FILES if where != "column" else [None] * len(FILES)
    columns = {"image": [{"bytes": image(), "path": path} for path in paths]}
    columns["label"] = [CLASSES.index(file.rpartition("_")[0]) for file in FILES]  # type: ignore[assignment]
    if where == "column":
        columns["name"] = FILES  # type: ignore[assignment]
    pq.write_table(pa.table(columns), folder / "train-00000-of-00001.parquet")
    data = loading.load(task, tmp_path)
    assert data.subset == "official"
    assert ("its column 'name'" if where == "column" else "its column 'image/path'") in data.source


# --- what is asked for


def test_a_copy_that_may_be_official_is_tried_where_it_alone_is_asked_for() -> None:
    (task,) = names.chosen_tasks(["vtab/kitti_distance"], source="hub", subset="official")
    assert [source.kind for source in task.source] == ["hub"]
    (task,) = names.chosen_tasks(["vtab/kitti_distance"], subset="official")
    assert "hub" not in {source.kind for source in task.source}, "gigabytes are not fetched to find out"


@pytest.mark.parametrize("key", ["x", "{other}", "{stem:>9}", "{0}", "{}", "{stem!r}", "{"])
def test_a_key_of_something_else_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        Carried.model_validate({"key": key, "digests": {"train": "", "val": "", "test": ""}})
