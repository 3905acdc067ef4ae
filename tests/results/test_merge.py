"""Results folders joined: what is copied, what is kept, what is named."""

import json
from pathlib import Path

import numpy as np
import pytest

from mixer_bench.cli import app
from mixer_bench.results.merge import merge
from mixer_bench.results.store import Predictions, Store
from mixer_bench.system import arrays
from tests.builders import a_profile, a_record, a_run

PREDICTIONS = Predictions(np.array([0, 1, 2]), np.array([0, 1, 1]), np.array([0.5, 0.25, 0.125], np.float32))


def save(folder: Path, seed: int = 0, value: float = 0.5, **changes: object) -> Path:
    return Store(folder).save(a_record(value, run=a_run(seed=seed), **changes), PREDICTIONS)


def fail(folder: Path, seed: int = 0) -> Path:
    return Store(folder).save_failure(a_run(seed=seed), FloatingPointError("no number"))


def files(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_records_come_with_their_predictions(tmp_path: Path, capsys) -> None:
    save(tmp_path / "a", 0)
    save(tmp_path / "b", 1)
    save(tmp_path / "c", 2)
    command = ["merge", *(str(tmp_path / name) for name in "abc")]
    assert app.main(command) == 0
    assert capsys.readouterr().out.startswith("2 records, 0 failures and 0 profiles copied to")
    assert files(tmp_path / "a") == {**files(tmp_path / "a"), **files(tmp_path / "b"), **files(tmp_path / "c")}
    assert len(files(tmp_path / "a")) == 6
    before = files(tmp_path / "a")
    assert app.main(command) == 0
    assert "2 records were there already; 0 problems" in capsys.readouterr().out
    assert files(tmp_path / "a") == before


def test_into_need_not_be_there_and_summary_can_be_json(tmp_path: Path, capsys) -> None:
    save(tmp_path / "b")
    assert app.main(["merge", str(tmp_path / "new"), str(tmp_path / "b"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "copied": 1,
        "present": 0,
        "failures": 0,
        "profiles": 0,
        "problems": [],
    }
    assert files(tmp_path / "new") == files(tmp_path / "b")


def test_the_same_outcome_measured_twice_is_no_conflict(tmp_path: Path) -> None:
    save(tmp_path / "a")
    save(tmp_path / "b", created="2026-02-02T00:00:00+00:00", environment={"processor": "another"})
    before = files(tmp_path / "a")
    done = merge(tmp_path / "a", [tmp_path / "b"])
    assert (done.present, done.problems) == (1, [])
    assert files(tmp_path / "a") == before


@pytest.mark.parametrize("what", ["value", "predictions"])
def test_two_outcomes_of_one_run_are_both_named_and_the_first_kept(tmp_path: Path, what: str, capsys) -> None:
    kept = save(tmp_path / "a")
    if what == "value":
        other = save(tmp_path / "b", value=0.25)
    else:
        changed = Predictions(PREDICTIONS.label, PREDICTIONS.label, PREDICTIONS.score)
        other = Store(tmp_path / "b").save(a_record(run=a_run()), changed)
    save(tmp_path / "b", 1)
    before = files(tmp_path / "a")
    assert app.main(["merge", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    error = capsys.readouterr().err
    assert str(kept) in error
    assert str(other) in error
    after = files(tmp_path / "a")
    assert {name: after[name] for name in before} == before
    assert Store(tmp_path / "a").has(a_run(seed=1)), "the rest is merged"


def test_failures_only_where_there_is_nothing(tmp_path: Path) -> None:
    save(tmp_path / "a", 0)
    fail(tmp_path / "a", 1)
    for seed in range(3):
        fail(tmp_path / "b", seed)
    before = files(tmp_path / "a")
    done = merge(tmp_path / "a", [tmp_path / "b"])
    assert (done.failures, done.problems) == (1, [])
    assert {name: files(tmp_path / "a")[name] for name in before} == before
    assert Store(tmp_path / "a").has_failed(a_run(seed=2))
    assert not Store(tmp_path / "a").has_failed(a_run(seed=0))


def test_a_success_replaces_a_failure(tmp_path: Path) -> None:
    fail(tmp_path / "a")
    save(tmp_path / "b")
    assert merge(tmp_path / "a", [tmp_path / "b"]).copied == 1
    assert Store(tmp_path / "a").failures() == []


def test_damaged_files_are_named_and_the_rest_is_merged(tmp_path: Path) -> None:
    damaged = save(tmp_path / "b", 0)
    damaged.write_text(damaged.read_text()[:100])
    newer = save(tmp_path / "b", 1)
    newer.write_text(newer.read_text().replace('"schema_version": 2', '"schema_version": 3'))
    bare = save(tmp_path / "b", 2).with_suffix(".npz")
    bare.unlink()
    failed = fail(tmp_path / "b", 3)
    failed.write_text("[]")
    other = fail(tmp_path / "b", 4)
    other.write_text('{"schema_version": 1, "run": {}}')
    save(tmp_path / "b", 5)
    done = merge(tmp_path / "a", [tmp_path / "b"])
    assert (done.copied, done.failures) == (1, 0)
    for file in (damaged, newer, bare, failed, other):
        assert sum(str(file) in line for line in done.problems) == 1
    assert len(files(tmp_path / "a")) == 2


def test_a_damaged_record_of_into_is_named_and_left(tmp_path: Path) -> None:
    save(tmp_path / "a").write_text("{")
    save(tmp_path / "b")
    before = files(tmp_path / "a")
    done = merge(tmp_path / "a", [tmp_path / "b"])
    assert done.copied == 0
    assert len(done.problems) == 2
    assert files(tmp_path / "a") == before


def test_profiles_are_merged_and_the_newer_stays(tmp_path: Path) -> None:
    old, new = a_profile(), a_profile(created="2026-03-03T00:00:00+00:00", throughput=20.0)
    other = a_profile(threads=4)
    Store(tmp_path / "a").save_profile(old)
    Store(tmp_path / "b").save_profile(new)
    Store(tmp_path / "b").save_profile(other)
    Store(tmp_path / "c").save_profile(old)
    done = merge(tmp_path / "a", [tmp_path / "b", tmp_path / "c"])
    assert (done.profiles, done.problems) == (2, [])
    assert {p.throughput for p in Store(tmp_path / "a").profiles()[0] if p.threads == 2} == {20.0}
    spoiled = Store(tmp_path / "b").profile_place(other)
    spoiled.write_text("{")
    assert [str(spoiled) in line for line in merge(tmp_path / "a", [tmp_path / "b"]).problems] == [True]


def test_what_is_no_results_folder_is_refused(tmp_path: Path, capsys) -> None:
    save(tmp_path / "a")
    assert app.main(["merge", str(tmp_path / "a"), str(tmp_path / "none")]) == 2
    assert app.main(["merge", str(tmp_path / "a"), str(tmp_path / "a")]) == 2
    assert "no results folder" in capsys.readouterr().err


def test_a_conflict_names_the_file_that_was_read(tmp_path: Path) -> None:
    moved = []
    for folder, value in (("a", 0.5), ("b", 0.25)):
        file = save(tmp_path / folder, value=value)
        elsewhere = file.parents[1] / "by hand" / file.name
        elsewhere.parent.mkdir()
        moved.append(file.rename(elsewhere))
    (line,) = merge(tmp_path / "a", [tmp_path / "b"]).problems
    assert line.startswith(f"{moved[1]}: not what {moved[0]} says of the same run")


@pytest.mark.parametrize("kind", ["record", "failure"])
@pytest.mark.parametrize(
    "astray",
    [{"task": "ABSOLUTE"}, {"task": "../../x"}, {"task": "a\0b"}, {"protocol": "../../../../x"}],
)
def test_nothing_is_written_outside_of_into(tmp_path: Path, kind: str, astray: dict[str, str], capsys) -> None:
    names = {key: str(tmp_path / "EVIL") if value == "ABSOLUTE" else value for key, value in astray.items()}
    run = a_run().model_copy(update=names)  # not validated: as others may write it
    source = Store(tmp_path / "deep" / "from")
    file = source.folder / "runs" / "x" / "toy" / f"fewshot-{run.key}.json"
    file.parent.mkdir(parents=True)
    if kind == "record":
        record = a_record(run=a_run()).model_dump(mode="json")
        file.write_text(json.dumps({**record, "run": run.model_dump(mode="json")}))
        if "\0" not in run.task:  # its predictions are where its names lead
            arrays.save(source.place(run, ".npz"), **vars(PREDICTIONS))
    else:
        failure = {"schema_version": 1, "run": run.model_dump(mode="json"), "kind": "ValueError", "message": "no"}
        file = file.with_suffix(".failed.json")
        file.write_text(json.dumps(failure))
    save(source.folder, 1)
    before = files(tmp_path)
    into = tmp_path / "deep" / "into"
    assert app.main(["merge", str(into), str(source.folder)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {file}: ")
    assert len(error.splitlines()) == 1
    after = files(tmp_path)
    assert {name for name in after if not name.startswith("deep/into/runs/colours/toy/")} == set(before)
    assert len(files(into)) == 2, "the rest is merged"


def test_a_profile_whose_name_leads_elsewhere_stays_in_the_folder(tmp_path: Path) -> None:
    file = Store(tmp_path / "b").save_profile(a_profile())
    file.write_text(file.read_text().replace('"model": "toy"', '"model": ".."'))
    assert merge(tmp_path / "a", [tmp_path / "b"]).problems == []
    assert list(files(tmp_path / "a")) == [f"profiles/_/{file.name}"]


def test_links_in_into_are_its_owners(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "runs").symlink_to(tmp_path / "disk", target_is_directory=True)
    save(tmp_path / "b")
    assert merge(tmp_path / "a", [tmp_path / "b"]).copied == 1
    assert len(files(tmp_path / "disk")) == 2
