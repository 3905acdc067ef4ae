"""What records say of the device: a GPU by a stand-in for what torch tells of it."""

from pathlib import Path

import joblib
import pytest
import torch

from mixer_bench.cli import app
from mixer_bench.errors import UsageError
from mixer_bench.models import device as device_module
from mixer_bench.models import names
from mixer_bench.models.matrices import Resizer
from mixer_bench.results.store import Store
from mixer_bench.runs import machine
from mixer_bench.runs.machine import Machine
from mixer_bench.runs.options import Options
from mixer_bench.system import machine as system_machine
from mixer_bench.system.processes import World
from mixer_bench.training import distributed

GPU = torch.device("cuda:1")
NAME = "NVIDIA H100 80GB HBM3"
TAKEN = 3 << 30  # bytes


def test_a_gpu_is_named_and_its_memory_counted_from_where_it_was_begun(tmp_path: Path, monkeypatch) -> None:
    begun: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "get_device_name", {GPU: NAME}.__getitem__)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", begun.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", {GPU: TAKEN}.__getitem__)
    options = Options(task=("digits",), model=("pixels",))
    here = Machine(options, Store(tmp_path), GPU, World(1, 2, 1), tmp_path)
    device_module.forget_gpu_peak(GPU)
    assert (begun, device_module.gpu_peak(GPU)) == ([GPU], TAKEN)
    assert (here.computer.environment["gpu"], here.computer.environment["device"]) == (NAME, "cuda:1")
    assert (here.computer.device_name, here.leads) == (NAME, False)

    on_cpu = Machine(options, Store(tmp_path), torch.device("cpu"), World(), tmp_path)
    device_module.forget_gpu_peak(on_cpu.device)
    assert (device_module.gpu_peak(on_cpu.device), len(begun)) == (None, 1)
    assert "gpu" not in on_cpu.computer.environment


def test_one_thread_is_not_several() -> None:
    assert system_machine.with_threads("a processor", 1) == "a processor, 1 thread"
    assert system_machine.with_threads("a processor", 2) == "a processor, 2 threads"


def test_processes_that_planned_other_runs_are_refused(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(distributed, "the_firsts", lambda names: names and [("pixels", "0" * 16)])
    command = ["run", "--task", "digits", "--limit", "20", "--model", "pixels", "--protocol", "knn", "--device", "cpu"]
    assert app.main([*command, "--output-dir", str(tmp_path)]) == UsageError.exit_code
    assert "the processes have different runs to do" in capsys.readouterr().err
    assert Store(tmp_path).records()[0] == []


@pytest.mark.parametrize("taken", [None, TAKEN])
def test_records_say_how_much_of_a_gpu_was_taken_and_by_how_many_processes(taken, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(device_module, "gpu_peak", lambda _device: taken)
    command = ["run", "--task", "digits", "--limit", "20", "--model", "mixer_nano", "--protocol", "knn,finetune"]
    command += ["--seeds", "1", "--set", "steps=1", "--set", "warmup=0", "--set", "batch_size=2", "--device", "cpu"]
    assert app.main([*command, "--set", "learning_rates=0.01", "--output-dir", str(tmp_path)]) == 0
    records, _ = Store(tmp_path).records()
    assert {record.run.protocol for record in records} == {"knn", "finetune"}
    assert [(record.cost.gpu_memory, record.cost.processes) for record in records] == [(taken, 1)] * 2


def test_images_are_resized_on_a_gpu_where_there_is_one(tmp_path: Path) -> None:
    how = names.card("mixer_nano").preprocessing
    options = Options(task=("digits",), model=("mixer_nano",))
    on_gpu, on_cpu = (Machine(options, Store(tmp_path), at, World(), tmp_path) for at in (GPU, torch.device("cpu")))
    assert on_gpu.resizer(how) == Resizer(how, GPU)
    assert on_cpu.resizer(how) is None


@pytest.mark.parametrize(("told", "expected"), [(None, 1), ("2", 2)])
def test_torch_takes_no_more_threads_than_a_quota_leaves_unless_it_is_told_how_many(
    told, expected, monkeypatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if told:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    torch.set_num_threads(2)
    try:
        machine._spare_threads()
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_run_on_a_gpu_names_it(tmp_path: Path) -> None:
    command = ["run", "--task", "digits", "--limit", "20", "--model", "mixer_nano", "--protocol", "knn"]
    assert app.main([*command, "--device", "cuda", "--output-dir", str(tmp_path)]) == 0
    (record,) = Store(tmp_path).records()[0]
    assert record.environment["gpu"] == torch.cuda.get_device_name(0)
    assert record.cost.gpu_memory
