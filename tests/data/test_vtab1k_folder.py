"""The VTAB-1k folder that NOAH's script writes, and its zip: all 19 tasks, and what can be wrong."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mixer_bench import data
from mixer_bench.cli import app
from mixer_bench.data import names
from mixer_bench.data.examples import TaskData
from mixer_bench.errors import DataError
from mixer_bench.results.store import Store
from tests import vtab1k
from tests.vtab1k import VTAB

KITTI = next(task for task in VTAB if task.name == "vtab/kitti_distance")
LOSSY = ["--source", "vtab1k_folder", "--data-dir"]
Capture = pytest.CaptureFixture[str]


def load(root: Path, **changes: object) -> TaskData:
    (task,) = names.chosen_tasks([KITTI.name], source="vtab1k_folder")
    return data.load(task.model_copy(update=changes), root)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One task's folder, not to be changed."""
    return vtab1k.make(tmp_path_factory.mktemp("whole"), [KITTI])


@pytest.fixture
def kitti(tmp_path: Path) -> Path:
    """One task's folder, to be broken."""
    return vtab1k.make(tmp_path / "data", [KITTI]) / "vtab-1k/kitti"


@pytest.mark.parametrize("group", ["vtab/natural", pytest.param("vtab", marks=pytest.mark.slow)])
def test_tasks_run_from_the_folder_and_say_that_their_images_were_encoded_again(
    group: str, tmp_path: Path, capsys: Capture
) -> None:
    asked = [task for task in VTAB if group in task.tags]
    root = vtab1k.make(tmp_path / "data", asked)
    results = str(tmp_path / "results")
    command = ["run", "--task", group, *LOSSY, str(root), "--model", "mixer_nano", "--protocol", "knn,fewshot"]
    command += ["--shots", "1", "--seeds", "1", "--limit", "10", "--output-dir", results]
    assert app.main(command) == 0, capsys.readouterr().err
    records, _ = Store(Path(results)).records()
    assert {record.run.task for record in records} == {task.name for task in asked}
    assert {record.run.subset for record in records} == {"official-lossy"}
    capsys.readouterr()
    assert app.main(["report", "--results", results]) == 0
    told = " ".join(capsys.readouterr().out.split())
    words = f"mean accuracy in % ± 95 % interval; official-lossy: {len(asked)} of 19 tasks"
    assert f"VTAB-1k, knn: {words}" in told
    assert ("mean withheld, mixer_nano: no vtab/clevr_count, " in told) == (group != "vtab")


def test_a_copy_without_some_tasks_is_recognised(whole: Path, capsys: Capture) -> None:
    assert app.main(["doctor", "--task", "vtab", *LOSSY, str(whole)]) == 3
    told = " ".join(capsys.readouterr().out.split())
    assert "has 1 of 19 tasks; it lacks caltech101, cifar, " in told
    assert "1 of 19 tasks have a source that is right" in told
    assert "- vtab1k_folder (vtab/kitti_distance): images were saved as JPEG" in told


def test_examples_are_those_of_the_lists_in_their_order(whole: Path) -> None:
    found = load(whole)
    for split, name in vtab1k.LISTS.items():
        lines = (whole / f"vtab-1k/kitti/{name}.txt").read_text(encoding="utf-8").splitlines()
        part = found.splits[split]
        assert lines == [f"{file} {label}" for file, label in zip(part.names, part.labels, strict=True)]
    assert re.fullmatch(r"images/train800/000000\.jpg", found.train.names[0])
    assert found.subset == "official-lossy"
    assert str(whole) not in found.source


def archive(root: Path, place: Path, top: str = "vtab-1k/", more: Callable[[zipfile.ZipFile], object] = id) -> Path:
    """The folder's task as a zip in ``place``."""
    place.mkdir()
    with zipfile.ZipFile(place / "vtab-1k.zip", "w") as made:
        for file in sorted((root / "vtab-1k").rglob("*")):
            made.write(file, top + file.relative_to(root / "vtab-1k").as_posix())
        more(made)
    return place


@pytest.mark.parametrize("top", ["vtab-1k/", ""])
def test_the_zip_is_read_without_unpacking_and_holds_the_same_examples(whole: Path, tmp_path: Path, top: str) -> None:
    place = archive(whole, tmp_path / "zip", top)
    zipped, unpacked = load(place), load(whole)
    assert zipped.fingerprint == unpacked.fingerprint
    assert (zipped.test.images[700] == unpacked.test.images[700]).all()
    assert list(place.iterdir()) == [place / "vtab-1k.zip"]


def link(made: zipfile.ZipFile) -> None:
    member = zipfile.ZipInfo("vtab-1k/kitti/images/test/way-out.jpg")
    member.external_attr = 0o120777 << 16
    made.writestr(member, "/etc/passwd")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (lambda made: made.writestr("../evil.txt", "x"), "'../evil.txt': ../evil.txt leads out of the folder"),
        (lambda made: made.writestr("/etc/evil", "x"), "leads out of the folder"),
        (lambda made: made.writestr("a\\..\\..\\evil", "x"), "leads out of the folder"),
        (link, "way-out.jpg': a link"),
    ],
)
def test_a_zip_that_could_escape_is_refused_whole(
    whole: Path, tmp_path: Path, more: Callable[[zipfile.ZipFile], None], said: str
) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        load(archive(whole, tmp_path / "zip", more=more))


def test_a_truncated_or_damaged_zip_is_named(whole: Path, tmp_path: Path) -> None:
    place = archive(whole, tmp_path / "zip")
    file = place / "vtab-1k.zip"
    content = file.read_bytes()
    file.write_bytes(content[:-5000])
    with pytest.raises(DataError, match="not a whole zip"):
        load(place)
    start = content.index(b"images/test/000003.jpg") + 60
    file.write_bytes(content[:start] + bytes(40) + content[start + 40 :])
    with pytest.raises(DataError, match=r"member 'vtab-1k/kitti/images/test/000003\.jpg': damaged"):
        load(place)


def test_two_tasks_of_one_zip_with_equal_lists_are_two_data_sets(whole: Path, tmp_path: Path) -> None:
    def a_twin(made: zipfile.ZipFile) -> None:
        for name in list(made.namelist()):
            content = made.read(name)
            made.writestr(name.replace("/kitti/", "/svhn/"), content if name.endswith(".txt") else content + b"twin")

    place = archive(whole, tmp_path / "zip", more=a_twin)
    twin = vtab1k.source_of(KITTI).model_copy(update={"folder": "svhn"})
    assert load(place, source=(twin,)).test.digests != load(place).test.digests


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [*lines[:4], lines[2], *lines[5:]], "test.txt, line 5: images/test/000002.jpg is in line 3"),
        (lambda lines: lines[:-1], "split test has 710 examples, 711 declared"),
        (lambda lines: [*lines[:6], lines[6].replace(" ", ","), *lines[7:]], "test.txt, line 7: 'images/test/000006"),
        (lambda lines: [*lines[:6], "images/test/000006.jpg 4", *lines[7:]], "images/test/000006.jpg: label 4 is"),
        (lambda lines: [*lines[:6], "../../../etc/passwd 1", *lines[7:]], "line 7: ../../../etc/passwd leads out"),
        (lambda lines: [*lines[:6], "images/test/999999.jpg 1", *lines[7:]], "line 7: images/test/999999.jpg cannot"),
        (lambda lines: lines[:0], "the list is empty"),
    ],
)
def test_a_wrong_list_is_refused_by_task_file_and_line(
    kitti: Path, change: Callable[[list[str]], list[str]], said: str, capsys: Capture
) -> None:
    vtab1k.rewrite(kitti / "test.txt", change)
    root = kitti.parent.parent
    with pytest.raises(DataError, match=re.escape(said)) as raised:
        load(root)
    assert str(raised.value).startswith("task 'vtab/kitti_distance': vtab1k_folder: ")
    assert app.main(["doctor", "--task", KITTI.name, *LOSSY, str(root), "--json"]) == 3
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["state"], finding["remarks"][0]) == ("wrong", str(raised.value).replace(str(root), "DATA"))


def test_a_missing_list_or_a_link_out_of_the_folder_is_refused(kitti: Path, tmp_path: Path) -> None:
    image = kitti / "images/val200/000007.jpg"
    image.rename(tmp_path / "outside.jpg")
    image.symlink_to(tmp_path / "outside.jpg")
    with pytest.raises(DataError, match=r"val200/000007\.jpg: leads out of "):
        load(kitti.parent.parent)
    (kitti / "val200.txt").unlink()
    with pytest.raises(DataError, match=r"val200\.txt: cannot be read"):
        load(kitti.parent.parent)


def test_without_folder_and_zip_the_message_says_where_to_put_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no source is there.*vtab-1k\.zip of the hub data set XiN0919/VTAB-1k"):
        load(tmp_path)


def test_a_changed_image_of_a_prepared_folder_is_named(kitti: Path, tmp_path: Path, capsys: Capture) -> None:
    common = ["--task", KITTI.name, *LOSSY, str(kitti.parent.parent)]
    assert app.main(["prepare", *common]) == 0
    image = kitti / "images/test/000042.jpg"
    changed = image.read_bytes() + b"\0"
    image.unlink()  # it is a hard link
    image.write_bytes(changed)
    capsys.readouterr()
    assert app.main(["doctor", *common, "--json"]) == 3
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["state"], finding["prepared"]) == ("wrong", "changed")
    assert "test images/test/000042.jpg: its image has changed" in finding["remarks"]
    assert app.main(["run", *common, "--model", "pixels", "--output-dir", str(tmp_path / "results")]) == 3
    assert "test images/test/000042.jpg: its image has changed (1 in all)" in capsys.readouterr().err
