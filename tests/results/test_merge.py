"""Results folders joined: what is copied, what is kept, what is named."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from mixer_bench.cli import app
from mixer_bench.results import kept
from mixer_bench.results.merge import Merged, merge
from mixer_bench.results.record import Record
from mixer_bench.results.store import Predictions, Store
from mixer_bench.system import arrays
from tests.builders import a_profile, a_record, a_run, resealed

SCORES = np.array([0.5, 0.25, 0.125, 0.5], np.float32)
PREDICTIONS = Predictions(np.array([0, 1, 2, 0]), np.array([0, 1, 1, 2]), SCORES)  # two of four are right


def half_right(seed: int = 0, **changes: object) -> Record:
    return a_record(0.5, **{"run": a_run(seed=seed), "n_test": len(SCORES), **changes})


def save(folder: Path, seed: int = 0, **changes: object) -> Path:
    return Store(folder).save(half_right(seed, **changes), PREDICTIONS)


def fail(folder: Path, seed: int = 0) -> Path:
    return Store(folder).save_failure(a_run(seed=seed), FloatingPointError("no number"))


def files(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_records_come_with_their_predictions_and_failures_where_there_is_nothing(tmp_path: Path, capsys) -> None:
    save(tmp_path / "a", 0)
    fail(tmp_path / "a", 1)
    for seed in (0, 1, 2, 3):
        fail(tmp_path / "b", seed)
    save(tmp_path / "c", 2)
    command = ["merge", *(str(tmp_path / name) for name in "abc")]
    expected = {**files(tmp_path / "b"), **files(tmp_path / "c"), **files(tmp_path / "a")}
    del expected[Store(Path()).place(a_run(), ".failed.json").as_posix()]
    del expected[Store(Path()).place(a_run(seed=2), ".failed.json").as_posix()]  # it succeeded elsewhere
    assert app.main(command) == 0
    assert capsys.readouterr().out.startswith("1 records, 2 failures and 0 profiles copied to")
    assert files(tmp_path / "a") == expected
    assert app.main(command) == 0
    assert "1 records were there already; 0 problems" in capsys.readouterr().out
    assert files(tmp_path / "a") == expected


def test_into_need_not_be_there_and_summary_can_be_json(tmp_path: Path, capsys) -> None:
    save(tmp_path / "b")
    assert app.main(["merge", str(tmp_path / "new"), str(tmp_path / "b"), "--json"]) == 0
    done = {"copied": 1, "present": 0, "failures": 0, "profiles": 0, "fetched": [], "problems": []}
    assert json.loads(capsys.readouterr().out) == done
    assert files(tmp_path / "new") == files(tmp_path / "b")


def test_the_same_outcome_measured_twice_is_no_conflict(tmp_path: Path) -> None:
    save(tmp_path / "a")
    save(tmp_path / "b", created="2026-02-02T00:00:00+00:00", environment={"processor": "another"})
    before = files(tmp_path / "a")
    done = merge(tmp_path / "a", [tmp_path / "b"])
    assert (done.present, done.problems) == (1, [])
    assert files(tmp_path / "a") == before


def test_of_one_outcome_the_record_that_the_installed_code_made_is_kept(tmp_path: Path) -> None:
    """Or the gate would refuse what was done again because it had refused it."""
    save(tmp_path / "old", code={**a_record().code, "pixels": "0" * 12})
    save(tmp_path / "new")
    old, new = files(tmp_path / "old"), files(tmp_path / "new")
    assert merge(tmp_path / "new", [tmp_path / "old"]).present == 1
    assert files(tmp_path / "new") == new
    assert merge(tmp_path / "old", [tmp_path / "new"]).present == 1
    assert old != files(tmp_path / "old") == new


@pytest.mark.parametrize("what", ["value", "predictions"])
def test_two_outcomes_of_one_run_are_both_named_and_the_first_kept(tmp_path: Path, what: str, capsys) -> None:
    top1 = a_record().metrics["top1"]
    kept, other = (
        save(tmp_path / folder, metrics={"top1": top1, "macro_f1": {"value": value, "ci95": (0, 1)}})
        for folder, value in (("a", 0.5), ("b", 0.25))
    )
    if what == "predictions":
        changed = Predictions(PREDICTIONS.label, np.array([0, 2, 2, 1]), SCORES)
        other = Store(tmp_path / "b").save(half_right(), changed)
    moved = []
    for file in (kept, other):  # people may choose where records lie
        elsewhere = file.parents[1] / "by hand" / file.name
        elsewhere.parent.mkdir()
        moved.append(file.rename(elsewhere))
    save(tmp_path / "b", 1)
    before = files(tmp_path / "a")
    assert app.main(["merge", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert f"{moved[1]}: not what {moved[0]} says of the same run" in capsys.readouterr().err
    after = files(tmp_path / "a")
    assert {name: after[name] for name in before} == before
    assert Store(tmp_path / "a").has(a_run(seed=1)), "the rest is merged"


def test_metrics_of_scores_and_those_of_one_side_alone_are_no_other_outcome(tmp_path: Path, capsys) -> None:
    """Scores of two machines differ in their last digits, and records of before have fewer metrics."""
    top1 = a_record().metrics["top1"]
    for folder, more in (("a", {}), ("b", {"auroc": 0.75}), ("c", {"auroc": 0.7500001}), ("d", {"macro_f1": 0.5})):
        measured = {name: {"value": value, "ci95": (0, 1)} for name, value in more.items()}
        save(tmp_path / folder, metrics={"top1": top1, **measured})
    assert app.main(["merge", *(str(tmp_path / folder) for folder in "abcd")]) == 0
    assert "b" not in capsys.readouterr().err
    assert app.main(["merge", *(str(tmp_path / folder) for folder in "bcd")]) == 0


def test_a_success_replaces_a_failure(tmp_path: Path) -> None:
    fail(tmp_path / "a")
    save(tmp_path / "b")
    assert merge(tmp_path / "a", [tmp_path / "b"]).copied == 1
    assert Store(tmp_path / "a").failures() == []


def test_damaged_files_are_named_and_the_rest_is_merged(tmp_path: Path) -> None:
    damaged, newer, bare, _ = (save(tmp_path / "b", seed) for seed in range(4))
    damaged.write_text(damaged.read_text()[:100])
    newer.write_text(resealed(newer.read_text().replace('"schema_version": 2', '"schema_version": 3')))
    bare = bare.with_suffix(".npz")
    bare.unlink()
    failed, other = fail(tmp_path / "b", 4), fail(tmp_path / "b", 5)
    failed.write_text("[]")
    other.write_text('{"schema_version": 1, "run": {}}')
    done = merge(tmp_path / "a", [tmp_path / "b"])
    assert (done.copied, done.failures) == (1, 0)
    for file in (damaged, newer, bare, failed, other):
        assert sum(str(file) in line for line in done.problems) == 1
    assert len(files(tmp_path / "a")) == 2


def test_what_runs_learned_comes_along_and_is_whole(tmp_path: Path) -> None:
    learned = [b"of seed 0", b"of seed 1"]
    for seed, content in enumerate(learned):
        record = half_right(seed, kept=kept.digest(content))
        Store(tmp_path / "b").save(record, PREDICTIONS, content)
    save(tmp_path / "a")  # without it
    spoiled = Store(tmp_path / "b").place(a_run(seed=1), kept.SUFFIX)
    spoiled.write_bytes(b"another")
    done = merge(tmp_path / "a", [tmp_path / "b"])
    assert (done.copied, len(done.problems)) == (0, 1)
    assert f"{spoiled}: is not what its record was made with" in done.problems[0]
    spoiled.write_bytes(learned[1])
    assert merge(tmp_path / "a", [tmp_path / "b"]).problems == []
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_damaged_record_of_into_is_named_and_left(tmp_path: Path) -> None:
    save(tmp_path / "a").write_text("{")
    save(tmp_path / "b")
    before = files(tmp_path / "a")
    done = merge(tmp_path / "a", [tmp_path / "b"])
    assert (done.copied, len(done.problems)) == (0, 2)
    assert files(tmp_path / "a") == before


def test_profiles_are_merged_and_the_newer_stays(tmp_path: Path) -> None:
    old, new = a_profile(), a_profile(created="2026-03-03T00:00:00+00:00", throughput=20.0)
    other = a_profile(threads=4)
    for folder, profiles in {"a": [old], "b": [new, other], "c": [old]}.items():
        for profile in profiles:
            Store(tmp_path / folder).save_profile(profile)
    done = merge(tmp_path / "a", [tmp_path / "b", tmp_path / "c"])
    assert (done.profiles, done.problems) == (2, [])
    assert {p.throughput for p in Store(tmp_path / "a").profiles()[0] if p.threads == 2} == {20.0}
    spoiled = Store(tmp_path / "b").profile_place(other)
    spoiled.write_text("{")
    assert [str(spoiled) in line for line in merge(tmp_path / "a", [tmp_path / "b"]).problems] == [True]


def test_what_is_no_results_folder_is_refused(tmp_path: Path, capsys) -> None:
    save(tmp_path / "a")
    for source, said in (("none", "no results folder"), ("a", "named as source and as target")):
        assert app.main(["merge", str(tmp_path / "a"), str(tmp_path / source)]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["record", "failure"])
@pytest.mark.parametrize(
    "astray",
    [{"task": "ABSOLUTE"}, {"task": "../../x"}, {"task": "a\0b"}, {"protocol": "../../../../x"}, {"task": "C:\\x"}],
)
def test_nothing_is_written_outside_of_into(tmp_path: Path, kind: str, astray: dict[str, str], capsys) -> None:
    names = {key: str(tmp_path / "EVIL") if value == "ABSOLUTE" else value for key, value in astray.items()}
    run = a_run().model_copy(update=names)  # not validated: as others may write it
    source = Store(tmp_path / "deep" / "from")
    file = source.folder / "runs" / "x" / "toy" / f"fewshot-{run.key}.json"
    file.parent.mkdir(parents=True)
    values = {"schema_version": 1, "kind": "ValueError", "message": "no"}
    if kind == "record":
        values = half_right().model_dump(mode="json")
        if "\0" not in run.task:  # its predictions are where its names lead
            arrays.save(
                source.place(run, ".npz"),
                label=PREDICTIONS.label,
                prediction=PREDICTIONS.prediction,
                score=PREDICTIONS.score,
            )
    else:
        file = file.with_suffix(".failed.json")
    file.write_text(json.dumps({**values, "run": run.model_dump(mode="json")}))
    save(source.folder, 1)
    before = files(tmp_path)
    into = tmp_path / "deep" / "into"
    assert app.main(["merge", str(into), str(source.folder)]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {file}: ")
    after = files(tmp_path)
    assert {name for name in after if not name.startswith("deep/into/runs/colours/toy/")} == set(before)
    assert len(files(into)) == 2, "the rest is merged"


def test_a_profile_whose_name_leads_elsewhere_stays_in_the_folder(tmp_path: Path) -> None:
    file = Store(tmp_path / "b").save_profile(a_profile())
    file.write_text(resealed(file.read_text().replace('"model": "toy"', '"model": ".."')))
    assert merge(tmp_path / "a", [tmp_path / "b"]).problems == []
    assert list(files(tmp_path / "a")) == [f"profiles/_/{file.name}"]


def test_links_in_into_are_its_owners(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "runs").symlink_to(tmp_path / "disk", target_is_directory=True)
    save(tmp_path / "b")
    assert merge(tmp_path / "a", [tmp_path / "b"]).copied == 1
    assert len(files(tmp_path / "disk")) == 2


def test_names_longer_than_disks_take_are_cut_and_stay_apart(tmp_path: Path) -> None:
    """File systems take 255 bytes: of letters that take three, 85."""
    long = ["m" * 300, "m" * 299 + "n", "m" * 180, "語" * 100, "語" * 99 + "本", "é" * 127, "語" * 80]
    source, into = Store(tmp_path / "b"), tmp_path / "a"
    for name in long:
        run = a_run(model=name, task=name, protocol=name)
        source.save(half_right(run=run), PREDICTIONS)
        source.save_failure(run.model_copy(update={"seed": 9}), FloatingPointError("no number"))
        source.save_profile(a_profile(model=name))
    done = merge(into, [source.folder])
    assert (done.copied, done.failures, done.problems) == (len(long), len(long), [])
    records, problems = Store(into).records()
    assert problems == []
    assert {record.run.model for record in records} == set(long)
    assert len({Store(into).place(record.run, "").parent for record in records}) == len(long)
    assert max(len(part.name.encode()) for part in into.rglob("*")) < 255 - len(".12345678.partial")
    assert Store(Path()).place(a_run(model="m" * 180), "").parent.name == "m" * 180, "no shorter than need be"


@pytest.mark.posix
def test_four_at_once_into_one_folder_all_succeed_one_after_the_other(tmp_path: Path) -> None:
    for seed in range(6):
        save(tmp_path / "b", seed)
        fail(tmp_path / "b", 10 + seed)
    together, done = threading.Barrier(4), list[Merged]()

    def work() -> None:
        together.wait()
        done.append(merge(tmp_path / "a", [tmp_path / "b"]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.problems for each in done] == [[]] * 4
    assert sorted((each.copied, each.present, each.failures) for each in done) == [(0, 6, 0)] * 3 + [(6, 0, 6)]
    assert files(tmp_path / "a") == files(tmp_path / "b"), "no claim is left"


def test_a_run_that_ends_while_records_are_merged_is_no_conflict(tmp_path: Path, monkeypatch) -> None:
    save(tmp_path / "b")
    look = Store.records_by_file

    def looked(store: Store) -> object:
        there = look(store)
        if store.folder == tmp_path / "a":
            save(tmp_path / "a")
        return there

    monkeypatch.setattr(Store, "records_by_file", looked)
    done = merge(tmp_path / "a", [tmp_path / "b"])
    assert (done.problems, done.copied, done.present) == ([], 0, 1)


def test_a_score_that_its_predictions_do_not_give_is_not_taken_up(tmp_path: Path, capsys) -> None:
    save(tmp_path / "b", 0)
    save(tmp_path / "b", 1, metrics={"top1": {"value": 0.75, "ci95": (0, 1)}})
    save(tmp_path / "b", 2, n_test=5)
    assert app.main(["merge", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("1 records")
    assert "its predictions do not give the record's value" in shown.err
    assert "4 predictions for 5 test images" in shown.err
