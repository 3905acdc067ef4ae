"""What goes wrong around a run: bad files, full disks, kills, two at once. All through the command line.

Commands run as forks of one process that has torch loaded already: real processes with real exits, without seconds of
imports for each. The first of them all is the command as a user types it.
"""

import itertools
import multiprocessing
import multiprocessing.forkserver
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from mixer_bench.results.record import Record
from mixer_bench.results.store import Store

DIGITS = ("run", "--task", "digits", "--model", "pixels", "--protocol", "fewshot", "--limit", "60")
MANY = (*DIGITS, "--shots", "1,5", "--seeds", "15")  # enough runs to be interrupted between two of them
ASKED = 30
TIMEOUT = 120.0
Scores = dict[str, dict[str, Any]]  # what was measured, by key


class Done(NamedTuple):
    """How a command ended."""

    code: int
    said: str


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


# --- forks of a process that has everything loaded

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["mixer_bench.cli.app", "mixer_bench.runs.runner", "mixer_bench.models.backbone", "sklearn.linear_model"]
)


@dataclass(frozen=True)
class SelfSignal:
    """A signal that a command gets when it has written so many records: however busy the machine, never too late."""

    records: int
    number: signal.Signals


def signal_itself(at: SelfSignal) -> None:
    from mixer_bench.results.store import Store

    save, numbers = Store.save, itertools.count()

    def counted(*arguments: Any) -> Any:
        if next(numbers) == at.records:
            os.kill(os.getpid(), at.number)
        return save(*arguments)

    Store.save = counted  # type: ignore[method-assign]


def child(
    arguments: tuple[str, ...], folder: str, cache: str, said: str, largest_file: int | None, at: SelfSignal | None
) -> None:
    """In the fork: the command line, its words into the file ``said``."""
    for number in (1, 2):
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    os.environ["MIXER_BENCH_CACHE"] = cache
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit it as ignored
    if largest_file is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    from mixer_bench.cli import app

    if at is not None:
        signal_itself(at)
    sys.exit(app.main(list(arguments)))


class Started:
    """A command at work, in the folder that holds the cache."""

    numbers = itertools.count()

    def __init__(
        self, cache: Path, *arguments: str, largest_file: int | None = None, at: SelfSignal | None = None
    ) -> None:
        self.said = cache.parent / f"said-{next(self.numbers)}.txt"
        told = (arguments, str(cache.parent), str(cache), str(self.said), largest_file, at)
        self.process: Any = FORKS.Process(target=child, args=told)
        self.process.start()

    def done(self) -> Done:
        self.process.join(TIMEOUT)
        if (code := self.process.exitcode) is None:
            self.process.kill()
        return Done(code, self.said.read_text(encoding="utf-8") if self.said.exists() else "")


def forked(cache: Path, *arguments: str) -> Done:
    return Started(cache, *arguments).done()


def whole(results: Path) -> list[Record]:
    """All records; each is whole, where it belongs, and has its predictions."""
    store = Store(results)
    records, problems = store.records()
    assert problems == []
    for record in records:
        assert len(store.predictions(record).label) == record.n_test
    return records


def scores(results: Path) -> Scores:
    return {record.run.key: record.model_dump()["metrics"] for record in whole(results)}


def leftovers(results: Path) -> list[str]:
    return [file.name for file in results.rglob("*") if file.is_file() and file.suffix not in (".json", ".npz")]


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
    assert len({str(metrics) for metrics in measured.values()}) > 10, "seeds and shots differ"
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
    done = Started(cache, *arguments, largest_file=largest).done()
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
    for moment in (0, 1, 8, 18):  # of what is missing by then
        assert Started(cache, *arguments, at=SelfSignal(moment, signal.SIGKILL)).done().code == -signal.SIGKILL
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
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_keeps_what_is_finished_and_says_how_to_go_on(
    tmp_path: Path, cache: Path, undisturbed: Scores, number: signal.Signals, code: int, word: str
) -> None:
    results = tmp_path / "results"
    done = Started(cache, *MANY, "--output-dir", "results", at=SelfSignal(4, number)).done()
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


def test_two_at_once_in_one_folder_both_succeed_and_measure_the_same(
    tmp_path: Path, cache: Path, undisturbed: Scores
) -> None:
    both = [Started(cache, *MANY, "--output-dir", "results") for _ in range(2)]
    for started in both:
        done = started.done()
        assert done.code == 0, done.said
        assert "Traceback" not in done.said
    assert scores(tmp_path / "results") == undisturbed
    assert leftovers(tmp_path / "results") == []
    assert Store(tmp_path / "results").failures() == []


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
    assert done.stdout.strip() == "code 0, loaded []"
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
