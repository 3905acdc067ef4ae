"""What goes wrong around a run: bad files, full disks, kills, several at once. All through the command line.

Commands run as forks (tests/forks.py); the first of them all is the command as a user types it.
"""

import functools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixer_bench.results.store import Store
from mixer_bench.system import claims
from tests.forks import TIMEOUT, Done, Scores, Started, forked, leftovers, limit_files, scores, signal_itself, whole

DIGITS = ("run", "--task", "digits", "--model", "pixels", "--protocol", "fewshot", "--limit", "60")
MANY = (*DIGITS, "--shots", "1,5", "--seeds", "8")  # enough runs to be interrupted between two of them
ASKED = 16


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Commands of a few small matrices only get in each other's way with more."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            patch.setenv(name, "1")
        yield


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def one_line_error(done: Done) -> str:
    assert "Traceback" not in done.said
    [line] = [line for line in done.said.splitlines() if line.startswith("error: ")]
    return line


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Scores:
    """What all these runs measure if nothing happens: the command as a user types it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    command = [sys.executable, "-m", "mixer_bench", *MANY, "--output-dir", str(folder / "results")]
    environment = {**os.environ, "MIXER_BENCH_CACHE": str(folder / "cache")}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=TIMEOUT)
    assert f"{ASKED} runs done, 0 failed" in done.stderr
    assert leftovers(folder / "results") == []
    measured = scores(folder / "results")
    assert len(measured) == ASKED
    assert len({str(metrics) for metrics in measured.values()}) > 8, "seeds and shots differ"
    return measured


# --- images


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for name, colour in {"cats": (200, 90, 40), "dogs": (30, 80, 160)}.items():
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(10):
            shade = tuple(value + 4 * index for value in colour)
            Image.new("RGB", (12, 9), shade).save(tmp_path / "pets" / name / f"{index}.png")
    return tmp_path / "pets"


@pytest.mark.parametrize("content", [b"", b"no image", None], ids=["empty", "text", "truncated"])
def test_a_broken_image_exits_3_is_named_and_leaves_no_record(
    tmp_path: Path, cache: Path, pets: Path, content: bytes | None
) -> None:
    broken = pets / "dogs" / "3.png"
    good = broken.read_bytes()
    broken.write_bytes(good[: len(good) // 2] if content is None else content)
    arguments = ("run", "--task", "./pets", "--model", "pixels", "--shots", "1", "--seeds", "1")
    done = forked(cache, *arguments)
    assert done.code == 3
    assert f"{broken}: cannot be decoded" in done.said
    assert "Traceback" not in done.said
    assert list((tmp_path / "results").rglob("*.json")) == []
    if content is None:
        broken.write_bytes(good)
        assert forked(cache, *arguments).code == 0
        [record] = whole(tmp_path / "results")
        assert record.run.task == "folder/pets"


def test_one_broken_folder_does_not_stop_another_task(tmp_path: Path, cache: Path, pets: Path) -> None:
    (pets / "dogs" / "3.png").write_bytes(b"")
    arguments = ("run", "--task", "./pets,digits", "--model", "pixels", "--limit", "60", "--shots", "1", "--seeds", "1")
    assert forked(cache, *arguments).code == 3
    assert [record.run.task for record in whole(tmp_path / "results")] == ["digits"]


# --- the results folder


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/results"])
def test_a_results_folder_that_cannot_be_written_exits_1_in_one_line_before_the_work(
    tmp_path: Path, cache: Path, place: str
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    done = forked(cache, *DIGITS, "--output-dir", place)
    assert done.code == 1
    assert one_line_error(done).startswith(f"error: cannot write results to {place}: ")
    assert len(done.said.splitlines()) == 1
    assert not cache.exists()


def test_a_disk_that_fills_up_leaves_no_half_record_and_the_same_command_does_the_rest(
    tmp_path: Path, cache: Path, undisturbed: Scores
) -> None:
    results = tmp_path / "results"
    arguments = (*MANY, "--output-dir", "results")
    forked(cache, *DIGITS, "--shots", "1", "--seeds", "2", "--output-dir", "results")
    before = {file: file.read_bytes() for file in results.rglob("*.json")}
    assert len(before) == 2
    largest = max(len(content) for content in before.values()) - 200  # predictions fit, the next record does not
    done = Started(cache, *arguments, prepare=functools.partial(limit_files, largest)).done()
    assert done.code == 1
    assert re.search(r"cannot write \S+\.json: File too large; what is finished is kept", one_line_error(done))
    assert {file: file.read_bytes() for file in results.rglob("*.json")} == before
    assert leftovers(results) == []
    whole(results)
    assert forked(cache, *arguments).code == 0
    assert scores(results) == undisturbed


# --- interruptions


def test_killed_again_and_again_every_record_is_whole_and_the_same_command_ends_up_with_the_same_scores(
    tmp_path: Path, cache: Path, undisturbed: Scores
) -> None:
    results = tmp_path / "results"
    arguments = (*MANY, "--output-dir", "results")
    for moment in (0, 1, 4, 8):  # of what is missing by then
        killed = forked(cache, *arguments, prepare=functools.partial(signal_itself, moment, signal.SIGKILL))
        assert killed.code == -signal.SIGKILL
        assert list(cache.rglob("*.npy")), "features are there"
        measured = scores(results)
        assert moment <= len(measured) < ASKED
        assert moment > 0 or not measured, "before the first record nothing is there to mislead"
        assert measured.items() <= undisturbed.items()
    kept = {file: file.read_bytes() for file in results.rglob("*.json")}
    done = forked(cache, *arguments)
    assert done.code == 0, done.said
    assert f"{ASKED} runs asked for, {ASKED - len(kept)} to do" in done.said
    assert scores(results) == undisturbed
    assert all(file.read_bytes() == content for file, content in kept.items()), "what was finished is not done again"


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "hung up"),
        (signal.SIGUSR2, 140, "told to end"),
    ],
)
def test_a_signal_keeps_what_is_finished_and_says_how_to_go_on(
    tmp_path: Path, cache: Path, undisturbed: Scores, number: signal.Signals, code: int, word: str
) -> None:
    results = tmp_path / "results"
    done = Started(cache, *MANY, "--output-dir", "results", prepare=functools.partial(signal_itself, 4, number)).done()
    assert done.code == code
    assert f"{word}; what is finished is kept; the same command does the rest" in done.said
    assert "Traceback" not in done.said
    measured = scores(results)
    assert 4 <= len(measured) <= 5, "Python sees a signal between two steps: the record in hand may be kept"
    assert measured.items() <= undisturbed.items()
    assert Store(results).failures() == []
    assert leftovers(results) == []


def test_a_signal_to_the_command_as_typed_while_it_starts_is_no_traceback(tmp_path: Path, cache: Path) -> None:
    command = [sys.executable, "-m", "mixer_bench", *MANY, "--output-dir", "results"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert f"{ASKED} to do" in first
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 143
    assert "terminated; what is finished is kept" in said
    assert "Traceback" not in said
    assert scores(tmp_path / "results") == {}


# --- several at once


@pytest.mark.parametrize("processes", [2, 4])
def test_several_at_once_in_one_folder_share_the_work_and_all_succeed(
    tmp_path: Path, cache: Path, undisturbed: Scores, processes: int
) -> None:
    started = [Started(cache, *MANY, "--output-dir", "results") for _ in range(processes)]
    done = [each.done() for each in started]
    assert [each.code for each in done] == [0] * processes, done
    assert not any("Traceback" in each.said for each in done)
    assert sum(int(runs) for each in done for runs in re.findall(r"(\d+) runs done", each.said)) == ASKED
    assert scores(tmp_path / "results") == undisturbed
    assert leftovers(tmp_path / "results") == []
    assert list(tmp_path.rglob(".*")) == [], "no claim, and no half of a file"


TWO = ("run", "--task", "digits", "--model", "random:mixer_nano,pixels", "--protocol", "knn", "--limit", "30")
WAITING = "waiting for another process that does random:mixer_nano on digits"


@pytest.mark.parametrize("holder", ["finishes", "fails", "dies"])
def test_what_another_process_has_claimed_is_done_last_and_counted_as_it_ended_there(
    tmp_path: Path, cache: Path, holder: str
) -> None:
    assert forked(cache, *TWO, "--output-dir", "elsewhere").code == 0
    there = {record.run.model: record for record in whole(tmp_path / "elsewhere")}
    run, store = there["random:mixer_nano"].run, Store(tmp_path / "results")
    with claims.claimed(store.place(run, "").with_name("frozen")) as free:
        assert free
        started = Started(cache, *TWO, "--output-dir", "results")
        while not (started.said.exists() and WAITING in started.said.read_text()):
            assert started.process.is_alive()
            time.sleep(0.01)
        assert [record.run.model for record in whole(tmp_path / "results")] == ["pixels"], "the other model comes first"
        if holder == "finishes":
            store.save(there[run.model], Store(tmp_path / "elsewhere").predictions(there[run.model]))
        elif holder == "fails":
            store.save_failure(run, ValueError("no luck"))
    done = started.done()
    told = {"finishes": "1 runs done, 1 by another process, 0 failed", "fails": "1 runs done, 1 failed"}
    assert told.get(holder, "2 runs done, 0 failed") in done.said
    assert done.code == (1 if holder == "fails" else 0)
    assert ("random_mixer_nano/knn-" in done.said) == (holder == "fails"), "the failure is named"
    assert len(whole(tmp_path / "results")) == (1 if holder == "fails" else 2)


def test_two_at_once_with_other_lists_of_models_do_each_model_once(tmp_path: Path, cache: Path) -> None:
    lists = ("pixels,random:mixer_nano", "random:mixer_nano,random:vit_nano")
    command = ("run", "--task", "digits", "--protocol", "knn", "--limit", "30", "--output-dir", "results")
    started = [Started(cache, *command, "--model", models) for models in lists]
    done = [each.done() for each in started]
    assert [each.code for each in done] == [0, 0], done
    assert sum(int(runs) for each in done for runs in re.findall(r"(\d+) runs done", each.said)) == 3
    assert len(whole(tmp_path / "results")) == 3
    assert list(tmp_path.rglob(".*")) == []


# --- doing it again

AGAIN = """
import sys
from mixer_bench.cli.app import main
code = main(sys.argv[1:])
loaded = sorted({"torch", "timm", "sklearn", "pandas"} & sys.modules.keys())
print(f"code {code}, loaded {loaded}")
"""


def test_a_second_identical_run_computes_nothing_and_does_not_load_torch(tmp_path: Path, cache: Path) -> None:
    arguments = (*DIGITS, "--shots", "1,5", "--output-dir", "results")
    assert forked(cache, *arguments).code == 0
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "results").rglob("*")}
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, *arguments], check=True, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert "all 6 runs are there already; nothing to compute" in done.stderr
    assert done.stdout.splitlines()[-1] == "code 0, loaded []"
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "results").rglob("*")} == before


FAILING = ("run", "--task", "digits", "--model", "pixels", "--limit", "1", "--shots", "1", "--seeds", "1")


def states(results: Path) -> dict[str, int]:
    return {re.sub(r"^[^.]*", "", file.name): file.stat().st_mtime_ns for file in results.rglob("*.json")}


def test_a_run_that_failed_is_recorded_as_failed_and_done_again_unless_told_otherwise(
    tmp_path: Path, cache: Path
) -> None:
    results = tmp_path / "results"
    done = forked(cache, *FAILING)  # one training image has one class
    assert done.code == 1
    assert "two or more are needed" in done.said
    first = states(results)
    assert [*first] == [".failed.json"]
    done = forked(cache, *FAILING, "--overwrite", "never")
    assert done.code == 1
    assert "1 runs failed before and are left so (--overwrite never)" in done.said
    assert states(results) == first
    done = forked(cache, *FAILING)
    assert done.code == 1
    assert "1 runs asked for, 1 to do" in done.said
    again = states(results)
    assert again.keys() == first.keys()
    assert again != first


@pytest.mark.parametrize("overwrite", ["never", "failed", "always"])
def test_what_is_there_is_done_again_only_with_always(tmp_path: Path, cache: Path, overwrite: str) -> None:
    results = tmp_path / "results"
    arguments = (*DIGITS, "--shots", "5", "--seeds", "2", "--output-dir", "results")
    forked(cache, *arguments)
    before = {file: file.stat().st_mtime_ns for file in results.rglob("*.json")}
    measured = scores(results)
    assert len(before) == 2
    done = forked(cache, *arguments, "--overwrite", overwrite)
    assert done.code == 0
    assert ("nothing to compute" in done.said) == (overwrite != "always")
    after = {file: file.stat().st_mtime_ns for file in results.rglob("*.json")}
    assert after.keys() == before.keys()
    assert [after[file] != before[file] for file in before] == [overwrite == "always"] * 2
    assert scores(results) == measured


def test_a_success_takes_the_failure_away(tmp_path: Path, cache: Path) -> None:
    results = tmp_path / "results"
    arguments = (*DIGITS, "--shots", "5", "--seeds", "1", "--output-dir", "results")
    forked(cache, *arguments)
    [record] = whole(results)
    store = Store(results)
    store.save_failure(record.run, ValueError("an earlier attempt"))
    store.place(record.run, ".json").unlink()
    assert forked(cache, *arguments, "--overwrite", "never").code == 1
    assert forked(cache, *arguments).code == 0
    assert list(states(results)) == [".json"]


def test_a_damaged_feature_cache_changes_no_score(tmp_path: Path, cache: Path, undisturbed: Scores) -> None:
    assert forked(cache, *DIGITS, "--shots", "1", "--seeds", "1", "--output-dir", "first").code == 0
    for file in cache.rglob("*.npy"):
        content = np.frombuffer(file.read_bytes(), dtype=np.uint8).copy()
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content.tobytes())
    done = forked(cache, *MANY, "--output-dir", "results")
    assert done.code == 0
    assert done.said.count("are damaged") == 3
    assert scores(tmp_path / "results") == undisturbed
