"""What drives executors: those of other packages, several drivers at once, and claims that nobody renews."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mixer_bench.cli import app
from mixer_bench.errors import UsageError
from mixer_bench.executors import Cell, Ended, cells, driver, local, slurm
from mixer_bench.runs.options import Options
from mixer_bench.system import claims, files
from tests.builders import install
from tests.executors.conftest import ASKED
from tests.executors.workers import essence, launching
from tests.forks import leftovers

# --- executors of others


def test_another_package_adds_an_executor(here: Path, monkeypatch, capfd) -> None:
    install(here / "site", "pools", "mixer_bench.executors", {"pool": "tests.executors.examples.pool:Pool"})
    monkeypatch.syspath_prepend(here / "site")
    pixels = ["pixels" if part == "resnet_nano,pixels" else part for part in ASKED]
    assert app.main([*pixels, "--executor", "pool"]) == 0
    assert "2 cells to do, 1 at once (pool)" in capfd.readouterr().err
    assert app.main([*pixels, "--executor", "pond"]) == UsageError.exit_code
    assert "unknown executor 'pond'; did you mean pool?" in capfd.readouterr().err


# --- several drivers


def test_two_drivers_started_together_do_each_cell_once(here: Path, alone: Path, monkeypatch) -> None:
    monkeypatch.setattr(local, "launch", launching()[0])
    options = Options(
        task="embedded", model="resnet_nano,pixels", limit=20, seeds=2, protocol="fewshot,knn", shots=[1], jobs=2
    )
    with ThreadPoolExecutor(2) as drivers:
        first, second = drivers.map(lambda _: driver.run(options, quiet=True), range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.finished + second.finished == len(first.keys) == len(second.keys) == 12
    assert first.images + second.images == 2 * 2 * 60
    assert essence(here / "results") == essence(alone)
    assert leftovers(here / "results") == []


def test_a_claim_that_nobody_renews_is_named_and_the_rest_is_done(here: Path, alone: Path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(local, "launch", launching()[0])
    monkeypatch.setattr(claims, "STALE", 0.0)
    options = Options(
        task="embedded", model="resnet_nano,pixels", limit=20, seeds=2, protocol="fewshot,knn", shots=[1], jobs=2
    )
    lost = cells.cells(cells.resolved(options), 2)[0]
    with claims.claimed(lost.claim):
        summary = driver.run(options)
    assert summary.exit_code == 1
    (error,) = summary.errors
    assert error.startswith(f"{lost.label}: {claims.place_of(lost.claim)} was not renewed for ")
    assert summary.finished == 6
    assert error in capfd.readouterr().err
    assert driver.run(options).exit_code == 0
    assert essence(here / "results") == essence(alone)


def test_a_claim_that_is_held_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "RENEWAL", 0.01)
    work = tmp_path / "work"
    with claims.claimed(work) as free, claims.renewed(work):
        assert free
        before = files.stamp(claims.place_of(work))
        while files.stamp(claims.place_of(work)) == before:
            pass
    assert list(tmp_path.iterdir()) == []


class Lost:
    """A job whose machine is gone."""

    job_id, state = "7_3", "NODE_FAIL"

    class paths:
        stderr = Path("results/logs/7_3/7_3_0_log.err")

    def result(self) -> str:
        raise RuntimeError("Job 7_3 (task: 0) has not produced any output (state: NODE_FAIL)")


def test_a_job_on_a_machine_that_is_lost_is_named() -> None:
    ended = slurm._ended(Cell(options=Options(), label="a model on a task, knn"), Lost())
    reason = "NODE_FAIL: Job 7_3 (task: 0) has not produced any output (state: NODE_FAIL)"
    words = f"job 7_3 came to no end ({reason}); its words: {Lost.paths.stderr}; the same command does it again"
    assert ended == Ended(error=f"a model on a task, knn: {words}", exit_code=1)
