"""Several processes that train one network: what one would have computed, and one decision on what goes wrong."""

import functools
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mixer_bench.cli import app
from mixer_bench.results.record import Record
from mixer_bench.results.store import Store
from mixer_bench.stats import metrics
from tests.builders import set_flags
from tests.forks import Started
from tests.training import with_faults

DEVICE = "cpu"
RESNET = "random:resnet10t"  # batch normalisation in fourteen places
FAMILIES = ("mixer_nano", RESNET)
SETTINGS = set_flags("steps=4", "warmup=1", "batch_size=7")  # not to be shared evenly by two
COMMAND = ["run", "--task", "digits", "--limit", "41", "--preset", "small", "--resolution", "64"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each process, as a machine with two processors has."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def in_two(folder: Path, faults: str, *arguments: str) -> tuple[list[int], str]:
    """Run the command line in two processes with these faults; return their exit codes and what they said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun = [functools.partial(with_faults.become, rank, port, faults) for rank in range(2)]
    both = [Started(folder / "cache", *arguments, prepare=prepare) for prepare in begun]
    ended = [process.done() for process in both]
    return [end.code for end in ended], "".join(end.said for end in ended)


def by_run(folder: Path) -> dict[tuple[str, str, int], Record]:
    records, _ = Store(folder).records()
    return {(record.run.model, record.run.protocol, record.run.seed): record for record in records}


def assert_same(one: Path, two: Path) -> None:
    """Compare what both folders have."""
    alone, shared = by_run(one), by_run(two)
    for which in alone.keys() & shared.keys():
        record, other = alone[which], shared[which]
        assert record.run == other.run
        np.testing.assert_allclose(record.curve, other.curve, rtol=0, atol=1e-6, err_msg=str(which))
        assert (record.selection, record.metrics.keys()) == (other.selection, other.metrics.keys())
        for name, measured in record.metrics.items():  # those of scores differ as scores do
            exact = metrics.of_classes(name)
            assert measured.value == pytest.approx(other.metrics[name].value, rel=0, abs=0 if exact else 1e-6), name
        predictions = Store(one).predictions(record), Store(two).predictions(record)
        np.testing.assert_array_equal(predictions[0].prediction, predictions[1].prediction)
        np.testing.assert_allclose(predictions[0].score, predictions[1].score, rtol=0, atol=1e-6, err_msg=str(which))


def test_two_processes_give_the_curve_and_the_predictions_of_one(tmp_path: Path, monkeypatch) -> None:
    command = [
        *COMMAND,
        *SETTINGS,
        "--protocol",
        "finetune",
        "--model",
        ",".join(FAMILIES),
        "--seeds",
        "1",
        *set_flags("learning_rates=0.01,0.03", "mixup=0.2"),
    ]
    assert app.main([*command, "--output-dir", str(tmp_path / "one")]) == 0
    monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path / "cache"))  # or the search would be known
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    command += ["--output-dir", str(tmp_path / "two"), "--gpus-per-run", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "mixer_bench", *command], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "scratch").iterdir()) == []
    assert set(by_run(tmp_path / "two")) == {(family, "finetune", 0) for family in FAMILIES}
    assert_same(tmp_path / "one", tmp_path / "two")


def failures(folder: Path) -> dict[int, tuple[str, str]]:
    told = [json.loads(file.read_text()) for file in Store(folder).failures()]
    return {failure["run"]["seed"]: (failure["kind"], failure["message"]) for failure in told}


def test_what_fails_in_one_process_ends_the_run_in_both_and_the_next_goes_on(tmp_path: Path, monkeypatch) -> None:
    """Halved where memory runs out, as one process that halves to the same parts; else one recorded failure a run."""
    command = [*COMMAND, *SETTINGS, *set_flags("learning_rates=0.01"), "--protocol", "knn,finetune", "--device", "cpu"]
    faults = "0=memory>2@1,1=undecodable@1,2=memory>0@1,3=bug@0,99=no features@0,99=no features@1"
    both = ["--model", f"mixer_nano,{RESNET}", "--seeds", "5", "--output-dir", str(tmp_path / "two")]
    _, said = in_two(tmp_path, faults, *command, *both)
    assert "3 runs done, 3 failed" in said, said
    assert f"mixer_nano on digits: {with_faults.UNDECODABLE}" in said, "none of its runs, in both processes"
    assert failures(tmp_path / "two") == {
        1: ("DataError", f"{with_faults.UNDECODABLE} (in process 1 of 2)"),
        2: ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 20.00 MiB (in process 1 of 2)"),
        3: ("ArithmeticError", "a plug-in is wrong"),
    }
    traces = [json.loads(file.read_text())["traceback"] for file in Store(tmp_path / "two").failures()]
    assert all("with_faults.py" in trace for trace in traces), "where it happened, in whichever process"
    records = by_run(tmp_path / "two")
    assert set(records) == {(RESNET, "knn", 0), (RESNET, "finetune", 0), (RESNET, "finetune", 4)}
    assert any("2 images at once in each of 2" in note for note in records[RESNET, "finetune", 0].notes)

    costs = {key: (record.cost.processes, record.cost.gpu_memory) for key, record in records.items()}
    assert costs.pop((RESNET, "knn", 0)) == (1, with_faults.TAKEN), "only the first fits a probe"
    images = records[RESNET, "knn", 0].cost.images
    seen = [int(count) for count in re.findall(r"(\d+) images here", said)]
    assert images == 3 * 41 == sum(seen), "each image goes through the network in one process"
    assert set(costs.values()) == {(2, with_faults.TAKEN + 1)}, "the process that took most of its GPU"

    with monkeypatch.context() as patched:
        with_faults.install(with_faults.Faults("0=memory>4@0"), patched.setattr)
        assert app.main([*command, "--model", RESNET, "--seeds", "1", "--output-dir", str(tmp_path / "one")]) == 0
    alone = by_run(tmp_path / "one")
    assert any("4 images at once" in note for note in alone[RESNET, "finetune", 0].notes)
    assert_same(tmp_path / "one", tmp_path / "two")


def test_a_process_that_is_killed_ends_the_other_and_leaves_no_failure(tmp_path: Path) -> None:
    command = [
        *COMMAND,
        *SETTINGS,
        "--protocol",
        "finetune",
        "--model",
        "mixer_nano",
        "--seeds",
        "1",
        "--device",
        "cpu",
    ]
    codes, said = in_two(tmp_path, "0=killed@1", *command, "--output-dir", str(tmp_path / "results"))
    assert codes[0] > 0, codes
    assert "process 0 of 2 no longer reaches the others" in said
    assert Store(tmp_path / "results").failures() == []
    assert Store(tmp_path / "results").records()[0] == []
