"""The store: whatever is damaged, odd or doubled in a results folder is named, refused and never believed."""

import contextlib
import functools
import json
import math
import operator
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from mixer_bench.cli import app
from mixer_bench.errors import ResultsError
from mixer_bench.results.record import Selection
from mixer_bench.results.store import Predictions, Store, read_failure, read_record
from mixer_bench.system import arrays, files
from mixer_bench.system.schema import sealed_text
from tests.builders import a_profile, a_record, a_run, resealed

PREDICTIONS = Predictions(np.array([0, 1, 2]), np.array([0, 1, 1]), np.array([0.5, 0.25, 0.125], np.float32))


def test_saved_and_read_again_it_is_the_same(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = a_record(selection=Selection.best("l2", (1.0, 2.0), (0.1, 0.2), 30), preset="small")
    assert not store.has(record.run)
    place = store.save(record, PREDICTIONS)
    assert store.has(record.run)
    assert read_record(place) == record
    text = place.read_text()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    predictions = store.predictions(record)
    for name in ("label", "prediction", "score"):
        np.testing.assert_array_equal(getattr(predictions, name), getattr(PREDICTIONS, name))
    assert predictions.confidence is None, "of scores that are no probabilities, and in records of before"
    store.save(record, replace(PREDICTIONS, confidence=np.array([0.25, 0.5, 1.0], np.float32)))
    assert store.predictions(record).confidence.tolist() == [0.25, 0.5, 1.0]
    assert place.relative_to(tmp_path).as_posix() == f"runs/colours/toy/fewshot-{record.run.key}.json"


def test_a_record_comes_after_its_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is there is a run that finished: killed between the two, the run is done again."""
    written, write = [], files.write
    monkeypatch.setattr(files, "write", lambda path, content: (written.append(path.suffix), write(path, content)))
    Store(tmp_path).save(a_record(), PREDICTIONS)
    assert written == [".npz", ".json"]


def test_a_failure_is_kept_apart_and_goes_when_the_run_succeeds(tmp_path: Path) -> None:
    store, run = Store(tmp_path), a_run()
    try:
        raise FloatingPointError("no number")
    except FloatingPointError as error:
        place = store.save_failure(run, error)
    kept = json.loads(place.read_text())
    assert (kept["kind"], kept["message"]) == ("FloatingPointError", "no number")
    assert "test_store.py" in kept["traceback"]
    assert str(Path(__file__).parents[1]) not in place.read_text(), "records carry no folders"
    assert store.has_failed(run)
    assert not store.has(run)
    assert store.records() == ([], [])
    assert store.failures() == [place]
    store.save(a_record(), PREDICTIONS)
    assert store.failures() == []


@pytest.mark.parametrize("kind", ["record", "profile", "failure"])
def test_no_flipped_bit_is_believed(tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path)
    read: Callable[[Path], object] = read_record
    if kind == "record":
        place = store.save(a_record(), PREDICTIONS)
    elif kind == "failure":
        place, read = store.save_failure(a_run(), ValueError("no number")), read_failure
    else:
        place = store.save_profile(a_profile())
        read = lambda _: store.profiles()[0] or read_record(place)  # noqa: E731
    whole, generator = place.read_bytes(), np.random.default_rng(0)
    read(place)
    believed = []
    for position in generator.integers(0, 8 * len(whole), 300):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << (position % 8)
        place.write_bytes(damaged)
        with contextlib.suppress(ResultsError):
            read(place)
            believed.append(bytes(damaged))
    # A blank that became another sign of the same meaning changes no value.
    assert [text for text in believed if json.loads(text) != json.loads(whole)] == []


def test_a_file_may_be_indented_anew(tmp_path: Path) -> None:
    place = Store(tmp_path).save(a_record(), PREDICTIONS)
    place.write_text(json.dumps(json.loads(place.read_text())).replace('", "', '",\r\n"'))
    assert read_record(place) == a_record()


def test_a_value_that_was_changed_is_not_believed(tmp_path: Path, capsys) -> None:
    """With its checksum, nor without any."""
    store = Store(tmp_path)
    places = [store.save(a_record(2 / 3, a_run(seed=seed), n_test=3), PREDICTIONS) for seed in range(3)]
    places[0].write_text(places[0].read_text().replace(f"{2 / 3!r}", "0.875"))
    places[1].write_text(re.sub(r'"checksum": "[0-9a-f]{32}",\s*', "", places[1].read_text()))
    (record,), problems = store.records()
    assert record.run.seed == 2
    for place, said in zip(places, ("another", "missing"), strict=False):
        begins = f"{place}: not a whole record (it was changed since it was written: its checksum is {said}"
        assert sum(problem.startswith(begins) for problem in problems) == 1
    assert app.main(["report", "--results", str(tmp_path)]) == 1
    assert "1 records in" in capsys.readouterr().out


ODD = [
    ("run", "config", {"shots": "five"}),
    ("run", "config", {"shots": True}),
    ("run", "config", {"shots": 10**30}),
    ("run", "config", {"[/x]": 1}),
    ("run", "seed", 10**30),
    ("n_test", 10**30),
    ("cost", "throughput", math.inf),
    ("cost", "throughput", -1.0),
    ("curve", [[1, math.nan]]),
    ("deviation", math.inf),
    ("metrics", "top1", "ci95", [0.6, 0.4]),
    ("metrics", "top1", "ci95", [0.4, math.inf]),
    ("metrics", "top1", "ci95", [-1.0, 0.6]),
]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_an_odd_record_is_refused_by_name_and_the_rest_is_reported(tmp_path: Path, capsys, odd: tuple) -> None:
    store = Store(tmp_path)
    store.save(a_record(run=a_run(seed=5)), PREDICTIONS)
    *path, last, value = odd
    place = store.save(a_record(), PREDICTIONS)
    values = json.loads(place.read_text())
    functools.reduce(operator.getitem, path, values)[last] = value
    place.write_text(resealed(json.dumps(values)))
    for command in (["report"], ["report", "--format", "json"], ["report", "--format", "html"]):
        assert app.main([*command, "--results", str(tmp_path)]) == 1
        shown = capsys.readouterr()
        assert f"{place}: not a whole record (" in shown.err
        assert shown.out


def test_thousands_of_brackets_are_no_record(tmp_path: Path) -> None:
    place = Store(tmp_path).save(a_record(), PREDICTIONS)
    place.write_text("[" * 100_000)
    records, (problem,) = Store(tmp_path).records()
    assert records == []
    assert problem.startswith(f"{place}: not a whole record (")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[: len(text) // 2], "not a whole record ("),
        (lambda text: text.replace('"schema_version": 2', '"schema_version": 3'), "version 3; this program reads 2"),
        (lambda text: text.replace('"seed": 0', '"seed": 7'), "was changed or renamed"),
        (lambda text: text.replace('"value": 0.5', '"value": NaN'), "not JSON compliant"),
        (lambda text: text.replace('"num_classes": 3', '"num_classes": 3, "more": 1'), "key 'more'"),
        (lambda text: text.replace('"top1": {', '"other": {'), "no value of its metric, top1"),
        (lambda _: "[]", "its content is no object"),
    ],
)
def test_a_damaged_record_is_named_and_the_rest_is_read(tmp_path: Path, spoil, said: str) -> None:
    store = Store(tmp_path)
    good = a_record(run=a_run(seed=5))
    store.save(good, PREDICTIONS)
    place = store.save(a_record(), PREDICTIONS)
    spoiled = resealed(spoil(place.read_text()))
    assert spoiled != place.read_text()
    place.write_text(spoiled)
    records, problems = store.records()
    assert records == [good]
    (problem,) = problems
    assert str(place) in problem
    assert said in problem


def test_missing_predictions_are_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    place = store.save(a_record(), PREDICTIONS)
    place.with_suffix(".npz").unlink()
    with pytest.raises(ResultsError, match="no predictions"):
        store.predictions(a_record())


def test_predictions_come_back_as_they_were_whatever_the_classes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for highest in (3, 255, 256, 70_000):
        classes = np.array([0, highest, 1])
        store.save(a_record(), Predictions(classes, classes[::-1], PREDICTIONS.score[:3]))
        found = store.predictions(a_record())
        assert found.label.dtype == found.prediction.dtype == np.int64
        assert found.label.tolist() == [0, highest, 1]
        assert [array.tolist() for array in store.answers(a_record())] == [[0, highest, 1], [1, highest, 0]]
    with np.load(store.place(a_record().run, ".npz")) as kept:
        assert kept["label"].dtype == np.uint32, "no wider than they need"


def test_whatever_byte_of_kept_arrays_is_damaged_they_are_right_or_refused(tmp_path: Path) -> None:
    file, kept = tmp_path / "kept.npz", np.arange(40) % 7
    arrays.save(file, label=kept, prediction=kept[::-1])
    whole = file.read_bytes()
    refused = 0
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            (found,) = arrays.load(file, "prediction", most=640)
        except arrays.DamagedFile:
            refused += 1
        else:
            assert found.tolist() == kept[::-1].tolist(), f"byte {place}"
    assert refused > 100
    file.write_bytes(whole[:-30])
    with pytest.raises(arrays.DamagedFile):
        arrays.load(file, "prediction", most=640)


@pytest.mark.parametrize("classes", [np.array([0.5, 1.5, 2.0]), np.array([-1, 300, 2])], ids=["shares", "unlabelled"])
def test_what_is_no_class_is_kept_as_it_is(tmp_path: Path, classes: np.ndarray) -> None:
    store = Store(tmp_path)
    store.save(a_record(), Predictions(classes, classes, PREDICTIONS.score))
    assert store.predictions(a_record()).label.tolist() == classes.tolist()


def test_a_folder_that_cannot_be_read_is_named_and_the_rest_is_read(tmp_path: Path, monkeypatch) -> None:
    store, scan = Store(tmp_path), os.scandir
    assert store.records() == ([], [])
    store.save(a_record(), PREDICTIONS)
    closed = store.save(a_record(run=a_run(model="other", weights="8" * 64)), PREDICTIONS).parent

    def refused(folder: str) -> object:
        if str(folder) == str(closed):
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refused)
    (record,), problems = store.records()
    assert record == a_record()
    assert problems == [f"{closed}: cannot be read: Permission denied"]
    assert store.failures() == []


@pytest.mark.parametrize(("value", "differs"), [(0.5, ""), (0.9, ", with other content")])
@pytest.mark.parametrize("before", [True, False])
def test_of_two_records_of_a_run_the_one_in_its_place_counts(
    tmp_path: Path, value: float, differs: str, before: bool
) -> None:
    store = Store(tmp_path)
    place = store.save(a_record(0.5), PREDICTIONS)
    folder = tmp_path / "runs" / ("backup" if before else "later")  # in the order of names
    folder.mkdir()
    copy = folder / place.name
    copy.write_text(sealed_text(a_record(value)), encoding="utf-8")
    (record,), problems = store.records()
    assert record.metrics["top1"].value == 0.5
    assert problems == [f"{copy}: the run of {place} once more{differs}; not used: delete it"]


def test_of_many_copies_of_a_record_the_one_in_its_place_counts(tmp_path: Path) -> None:
    place = Store(tmp_path).save(a_record(), PREDICTIONS)
    copies = [tmp_path / "runs" / folder / place.name for folder in ("a", "b", "y", "z")]  # two before it, two after
    for copy in copies:
        copy.parent.mkdir()
        copy.write_bytes(place.read_bytes())
    records, problems = Store(tmp_path).records_by_file()
    assert list(records) == [place]
    assert [problem.partition(":")[0] for problem in problems] == [str(copies[n]) for n in (1, 0, 2, 3)]


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "..", "a//b", "a\\..\\b", "a\x1b[31m", "a\nb", ""])
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    for field in ("task", "protocol"):
        with pytest.raises(ValidationError, match="is no name"):
            a_run(**{field: name})


def test_a_model_of_dots_stays_in_the_folder(tmp_path: Path) -> None:
    assert Store(tmp_path).place(a_run(model=".."), ".json").parent == tmp_path / "runs/colours/_"


def test_a_failure_beside_a_good_record_is_past(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(a_record(), PREDICTIONS)
    store.save_failure(a_run(), RuntimeError("from another process"))
    assert store.failures() == []
