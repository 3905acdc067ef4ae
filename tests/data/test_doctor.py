"""What doctor recognises, as people meet it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixer_bench import data
from mixer_bench.cli import app
from mixer_bench.data import doctor, names
from mixer_bench.data.examples import Examples
from mixer_bench.data.readers import files
from mixer_bench.data.rows import Rows
from mixer_bench.task.task import TASKS, load_tasks
from tests import original_files, vtab1k

ALL = load_tasks(TASKS)
Capture = pytest.CaptureFixture[str]


def examined(capsys: Capture, *arguments: str) -> tuple[int, list[dict]]:
    code = app.main(["doctor", *arguments, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["environment"]["torch"] == metadata.version("torch"), "who reports a fault is asked for this"
    return code, told["findings"]


def test_embedded_tasks_are_right_with_their_counts(capsys: Capture, tmp_path: Path) -> None:
    code, findings = examined(capsys, "--task", "embedded", "--data-dir", str(tmp_path))
    assert code == 0
    by_task = {finding["task"]: finding for finding in findings}
    assert by_task["digits"]["splits"]["test"] == {"examples": 1078, "classes": 10, "fewest": 104, "most": 110}
    assert {finding["state"] for finding in findings} == {"ok"}
    assert by_task["digits"]["prepared"] == "no"
    assert app.main(["prepare", "--task", "digits"]) == 0
    capsys.readouterr()
    _, (digits,) = examined(capsys, "--task", "digits")
    assert digits["prepared"] == "yes"


def test_what_is_told_in_public_has_no_folder_or_name_of_a_person(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "ulrich"
    (home / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))  # Windows'
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.chdir(home / "work")
    monkeypatch.delenv("TFDS_DATA_DIR")  # whose usual place is in the home folder
    assert app.main(["doctor", "--task", "vtab/pets", "--data-dir", "/scratch/ulrich/images", "--json"]) == 3
    text = capsys.readouterr().out
    assert not {"ulrich", "secret", "scratch"} & set(re.findall(r"[a-z]+", text))
    assert "DATA/oxford-iiit-pet" in text
    assert {"device", "packages", "blas", "encodings", "terminal", "processors"} <= set(
        json.loads(text)["surroundings"]
    )


def test_on_an_empty_machine_every_source_is_absent_and_says_how_it_is_had(capsys: Capture, tmp_path: Path) -> None:
    arguments = ("--task", "paper", "--data-dir", str(tmp_path / "nothing"))
    code, findings = examined(capsys, *arguments)
    assert code == 3
    assert {finding["state"] for finding in findings} == {"absent"}
    assert {finding["task"] for finding in findings} == {name for name, task in ALL.items() if "paper" in task.tags}
    assert all(finding["remarks"] for finding in findings)
    retinopathy = [finding for finding in findings if finding["task"] == "vtab/retinopathy"]
    assert any("terms must be accepted" in finding["access"] for finding in retinopathy)
    assert any("how many training images" in note for finding in retinopathy for note in finding["unverified"])
    assert app.main(["doctor", *arguments]) == 3
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 100
    assert "0 of 26 tasks have a source that is right" in told


MISTAKES: list[tuple[str, Callable[[int], int], str]] = [
    ("vtab/caltech101", lambda label: min(label, 100), "without its background class, as torchvision has it"),
    ("vtab/dsprites_location", lambda label: 2 * label + label % 2, "the raw 32 places"),
    ("vtab/dsprites_orientation", lambda label: label * 39 // 15, "the raw 40 orientations"),
    ("vtab/clevr_count", lambda label: label + 3, "VTAB's class is that number less 3"),
    ("vtab/smallnorb_azimuth", lambda label: 2 * label, "VTAB halves it"),
]


@pytest.mark.parametrize(("name", "mistaken", "said"), MISTAKES, ids=[mistake[0] for mistake in MISTAKES])
def test_labels_as_other_libraries_have_them_are_recognised(
    name: str, mistaken: Callable[[int], int], said: str, tmp_path: Path, capsys: Capture
) -> None:
    task = ALL[name].model_copy(update={"sizes": ALL[name].sizes.model_copy(update={"test": 400})})
    source = vtab1k.source_of(task).model_copy(update={"sizes": {}})
    vtab1k.make(tmp_path, [task.model_copy(update={"source": (source,)})])
    for file in (tmp_path / "vtab-1k" / source.folder).glob("*.txt"):
        vtab1k.rewrite(file, lambda lines: [f"{path} {mistaken(int(label))}" for path, label in map(str.split, lines)])
    code, (finding,) = examined(capsys, "--task", name, "--source", "vtab1k_folder", "--data-dir", str(tmp_path))
    assert (code, finding["state"]) == (3, "wrong")
    assert said in " ".join(finding["remarks"])


def test_the_folders_order_is_compared_with_the_one_rebuilt_from_keys(tmp_path: Path, capsys: Capture) -> None:
    pets = ALL["vtab/pets"]
    breeds = [(f"breed{label:02}_{number}", label) for number in range(100) for label in range(37)]
    original_files.pets(tmp_path, breeds[:3680], [(f"{name}x", label) for name, label in breeds[:3669]])
    vtab1k.make(tmp_path, [pets])
    (keyed,) = names.chosen_tasks(["vtab/pets"], source="torchvision")
    folder = tmp_path / "vtab-1k" / vtab1k.source_of(pets).folder
    for split, examples in data.load(keyed, tmp_path).splits.items():
        name = vtab1k.LISTS[split]
        lines = [f"images/{name}/{row:06}.jpg {label}" for row, label in enumerate(examples.labels)]
        vtab1k.rewrite(folder / f"{name}.txt", lambda _, lines=lines: lines)
    code, findings = examined(capsys, "-t", pets.name, "--data-dir", str(tmp_path))
    lossy = findings[-1]
    assert (code, lossy["state"], lossy["subset"]) == (0, "ok", "official-lossy")
    assert "the labels of all splits are in torchvision's order" in lossy["remarks"]

    def other_labels(lines: list[str]) -> list[str]:
        labels = ("1", "0") if [line.split()[1] for line in lines[:2]] == ["0", "1"] else ("0", "1")
        return [f"{line.split()[0]} {label}" for line, label in zip(lines, labels, strict=False)] + lines[2:]

    vtab1k.rewrite(folder / "train800.txt", other_labels)
    code, findings = examined(capsys, "-t", pets.name, "--data-dir", str(tmp_path))
    assert (code, findings[-1]["state"]) == (3, "wrong")
    assert "the labels of train are not those of torchvision, in order" in findings[-1]["remarks"]


def _saved(folder: Path, form: str, **options: object) -> Examples:
    """Twelve gradients, each another, as files of a format."""
    folder.mkdir()
    for number in range(12):
        ramp = np.add.outer(np.arange(40) * (number % 4 + 1), np.arange(50) * (number // 4 + 1))[:, :, None]
        image = Image.fromarray(((ramp + np.array([0, 60, 120])) % 200).astype(np.uint8))
        image.save(folder / f"{number:02}.{form}", **options)
    names_ = sorted(file.name for file in folder.iterdir())
    return Examples.of(Rows.all(files.stored(folder, names_), [0] * len(names_)), upright=False)


def test_the_images_of_two_sources_are_compared_one_by_one(tmp_path: Path) -> None:
    exact, again = _saved(tmp_path / "a", "png"), _saved(tmp_path / "b", "jpeg", quality=75)
    splits, words = doctor._images_compared({"test": again}, {"test": exact}, "torchvision")
    assert splits == [] and words.startswith("all 12 images are torchvision's, ")
    swapped = again.take(np.array([1, 0, *range(2, 12)]))
    splits, words = doctor._images_compared({"test": swapped}, {"test": exact}, "torchvision")
    assert (splits, words) == (["test"], "2 of 12 images are not torchvision's: test 01.jpeg, test 00.jpeg")


def test_a_split_that_tfds_read_from_two_files_in_turn_is_the_same_split(tmp_path: Path) -> None:
    exact, again = _saved(tmp_path / "a", "png"), _saved(tmp_path / "b", "jpeg", quality=75)
    labels = np.arange(12) // 5
    in_turn = np.array([*range(4), *range(8, 12), *range(4, 8)])
    exact, turned = (replace(each, labels=labels).take(of) for each, of in ((exact, np.arange(12)), (again, in_turn)))
    assert doctor._labels_compared({"val": turned}, {"val": exact}) == ([], ["val"])
    paired = turned.take(doctor._partners(turned, exact))
    assert doctor._images_compared({"val": paired}, {"val": exact}, "originals")[0] == []
    lacking = turned.take(np.array([0, *range(11)]))  # one twice, one not at all
    assert doctor._labels_compared({"val": replace(lacking, labels=lacking.labels)}, {"val": exact})[0] == ["val"]
    same = replace(lacking, labels=turned.labels)
    assert doctor._images_compared({"val": same.take(doctor._partners(same, exact))}, {"val": exact}, "x")[0] == ["val"]


def test_a_source_of_an_unknown_kind_is_named(capsys: Capture) -> None:
    assert app.main(["doctor", "--task", "vtab", "--source", "vtab1k_foldr"]) == 2
    assert "did you mean vtab1k_folder" in capsys.readouterr().err
