"""Jobs by submitit: its local executor stands in for Slurm's, with real processes, files and signals."""

import functools
import os
import pickle
import signal
import stat
import sys
from pathlib import Path

import pytest

from mixer_bench.cli import app
from mixer_bench.errors import UsageError
from mixer_bench.executors import Ended, Site, cells, driver, slurm
from mixer_bench.runs.options import Options
from tests.executors import preempted
from tests.executors.workers import essence
from tests.forks import forked, leftovers

FROZEN = ["run", "--task", "embedded", "--limit", "20", "--seeds", "2", "--model", "pixels"]
FROZEN += ["--protocol", "fewshot,knn", "--shots", "1"]
TRAINED = Options(
    task="digits",
    limit=24,
    model="resnet_nano",
    protocol="finetune",
    seeds=2,
    settings={"steps": 6, "warmup": 1, "batch_size": 8, "learning_rates": 0.01},
)
JOBS = ["--executor", "slurm", "--executor-set", "cluster=local"]


def test_jobs_make_what_one_process_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert app.main([*FROZEN, "--output-dir", "alone"]) == 0
    monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path / "cache"))
    capfd.readouterr()
    assert app.main([*FROZEN, *JOBS, "--jobs", "2"]) == 0
    said = capfd.readouterr().err
    assert "2 cells to do, 2 at once (slurm)" in said
    assert "6 runs done, 0 failed; 120 images through a network" in said
    assert essence(tmp_path / "results") == essence(tmp_path / "alone")
    assert len(essence(tmp_path / "results")) == 12
    assert leftovers(tmp_path / "results" / "runs") == []
    logs = "".join(file.read_text() for file in (tmp_path / "results" / "logs").rglob("*.err"))
    assert "pixels on clipart: 3 runs, 60 images through the network" in logs


def test_a_job_that_is_preempted_comes_back_and_goes_on_at_its_step(tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    assert driver.run(TRAINED.model_copy(update={"output_dir": Path("alone")})).exit_code == 0
    (cell,) = cells.cells(cells.resolved(TRAINED))
    arguments = (cell.model_dump_json(), str(tmp_path), str(tmp_path / "cache"), tmp_path / "mark")
    paths = preempted.submitted(slurm.Job(*arguments), tmp_path / "jobs")
    forked(tmp_path / "cache", prepare=functools.partial(preempted.run, signal.SIGUSR2, tmp_path / "jobs"))
    assert (tmp_path / "steps.txt").read_text() == "0 1 2 3 back "
    assert not paths.result_pickle.exists()
    assert len(list((tmp_path / "cache" / "finetune").glob("*.state.pt"))) == 1
    forked(tmp_path / "cache", prepare=functools.partial(preempted.run, None, tmp_path / "jobs"))
    assert (tmp_path / "steps.txt").read_text() == "0 1 2 3 back 4 5 0 1 2 3 4 5 ", "the second seed after the first"
    assert essence(tmp_path / "results") == essence(tmp_path / "alone")
    outcome, text = pickle.loads(paths.result_pickle.read_bytes())
    assert (outcome, Ended.model_validate_json(text).exit_code) == ("success", 0)


@pytest.mark.parametrize("cancelled", [False, True])
def test_sigterm_brings_a_job_back_unless_its_driver_cancelled_it(cancelled: bool, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (cell,) = cells.cells(cells.resolved(TRAINED))
    arguments = (cell.model_dump_json(), str(tmp_path), str(tmp_path / "cache"), tmp_path / "mark")
    preempted.submitted(slurm.Job(*arguments), tmp_path / "jobs")
    if cancelled:
        (tmp_path / "mark").touch()
    forked(tmp_path / "cache", prepare=functools.partial(preempted.run, signal.SIGTERM, tmp_path / "jobs"))
    assert (tmp_path / "steps.txt").read_text() == ("0 1 2 3 " if cancelled else "0 1 2 3 back ")
    assert len(list((tmp_path / "cache" / "finetune").glob("*.state.pt"))) == 1


def slurm_here(folder: Path, monkeypatch: pytest.MonkeyPatch, sbatch: str) -> None:
    """Programs of Slurm that do nothing but what ``sbatch`` says."""
    for name, text in {"sbatch": sbatch, "srun": "", "scancel": "", "sacct": ""}.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "no sbatch and no srun on this machine"),
        (["--executor-set", "cluster=lsf"], "cluster=lsf: must be slurm, or local"),
        ([*JOBS[2:], "--executor-set", "partion=gpu"], "unknown setting of slurm 'partion'; did you mean partition"),
        ([*JOBS[2:], "--executor-set", "nodes=2"], "unknown setting of slurm 'nodes'"),
        ([*JOBS[2:], "--executor-set", "time=8h"], "timeout_min"),
        ([*JOBS[2:], "--gpus-per-run", "2"], "leave one of them out"),
    ],
)
def test_what_slurm_cannot_do_is_refused_in_a_line(flags, message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert app.main([*FROZEN, "--executor", "slurm", *flags, "--output-dir", str(tmp_path / "results")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_without_submitit_the_way_out_is_named(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert app.main([*FROZEN, "--executor", "slurm"]) == UsageError.exit_code
    assert "pip install 'mixer-bench[slurm]'" in capsys.readouterr().err


def test_what_sbatch_says_no_to_is_said_in_a_line(tmp_path: Path, monkeypatch, capsys) -> None:
    slurm_here(tmp_path, monkeypatch, "echo 'sbatch: error: invalid partition specified: gpuu' >&2; exit 1")
    flags = ["--executor", "slurm", "--executor-set", "partition=gpuu", "--output-dir", str(tmp_path / "results")]
    assert app.main([*FROZEN, *flags]) == UsageError.exit_code
    assert "error: no job could be submitted: " in capsys.readouterr().err


def test_an_array_has_what_was_set_a_gpu_for_each_job_and_time_to_write_a_checkpoint(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    slurm_here(tmp_path, monkeypatch, f"cp \"$1\" {tmp_path}/sent; echo 'Submitted batch job 7'")
    settings = {"partition": "gpu", "time": "90", "account": "vision", "mem_gb": 32, "constraint": "a100"}
    jobs = slurm.executor(Site("auto", 2, settings, tmp_path / "logs"))
    assert jobs.workers == 2
    options = Options(task="digits", model="mixer_nano,vit_nano", protocol="knn,finetune", preset="small")
    made = cells.cells(cells.resolved(options))
    begun = jobs._begun([*enumerate(made)], tmp_path / "mark")
    assert [job.job_id for job in begun.values()] == ["7_0", "7_1", "7_2"]
    sent = (tmp_path / "sent").read_text().splitlines()
    for line in ("partition=gpu", "time=90", "account=vision", "mem=32GB", "constraint=a100", "gpus-per-node=1"):
        assert f"#SBATCH --{line}" in sent
    assert "#SBATCH --array=0-2%2" in sent
    assert any(line.startswith("#SBATCH --signal=USR2@") for line in sent)
    for device, named in (("cpu", False), ("cuda", True)):
        parameters = slurm.executor(Site(device, None, {}, tmp_path / "logs"))._submitted._executor.parameters
        assert ("gpus_per_node" in parameters) == named
