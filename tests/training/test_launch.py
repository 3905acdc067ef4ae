"""Which device a process gets, and how it joins the others: GPUs by stand-ins, and by real ones where there are two."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist

from mixer_bench.errors import UsageError
from mixer_bench.runs import request
from mixer_bench.training import launch
from tests.system.test_processes import MEETING


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Process 3 of 4, the second on a machine with two GPUs: what torch is told, in order."""
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", **MEETING}.items():
        monkeypatch.setenv(name, value)
    calls: list[tuple[str, Any]] = []

    def note(name: str, result: Any = None) -> Callable[..., Any]:
        return lambda *given, **named: (calls.append((name, (*given, *named.values()))), result)[1]

    monkeypatch.setattr("mixer_bench.system.machine.may_have_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", note("set"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", note("bf16", True))
    monkeypatch.setattr(torch, "empty", lambda *_, device: calls.append(("empty", device)))
    monkeypatch.setattr(
        sys.modules["torch.distributed.rendezvous"], "rendezvous", lambda *_, **__: iter([("store", 3, 4)])
    )
    monkeypatch.setattr(dist, "init_process_group", lambda *given, **named: calls.append(("init", (given, named))))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: calls.append(("destroy", None)))
    return calls


@pytest.mark.parametrize("asked", ["auto", "cuda"])
def test_a_process_has_the_gpu_of_its_local_rank_and_touches_no_other(asked: str, told) -> None:
    own = torch.device("cuda:1")
    assert launch.device(asked) == own
    assert told == [("set", ("cuda:1",)), ("empty", own)], "what names no GPU goes to its own before anything is on one"
    told.clear()
    assert request.precision_for("auto", asked) == "bf16"
    assert [name for name, _ in told] == ["set", "empty", "bf16"]


def test_processes_on_gpus_meet_by_a_device_with_an_index(told) -> None:
    with launch.joined(torch.device("cuda:1")) as world:
        assert (world.rank, world.size, world.leads) == (3, 4, False)
    (name, (given, named)), (last, _) = told
    assert (name, given, last) == ("init", ("cpu:gloo,cuda:nccl",), "destroy")
    assert named["device_id"] == torch.device("cuda:1")
    assert (named["rank"], named["world_size"]) == (3, 4)


@pytest.mark.parametrize("asked", ["cuda:0", "cuda:1", "mps", "meta"])
def test_a_device_that_all_processes_would_share_is_refused(asked: str, told) -> None:
    with pytest.raises(UsageError, match=f"--device {asked}: 4 processes train on the CPU, or on a GPU each"):
        launch.device(asked)
    assert told == []


def test_a_process_without_a_gpu_of_its_own_is_refused(told, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="process 1 on this machine has no GPU: there are 1"):
        launch.device("auto")
    monkeypatch.delenv("LOCAL_RANK")
    with pytest.raises(UsageError, match="LOCAL_RANK does not say which GPU"):
        launch.device("cuda")
    assert told == []


def test_processes_share_a_cpu(told, monkeypatch) -> None:
    assert launch.device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert launch.device("auto") == torch.device("cpu")
    with launch.joined(torch.device("cpu")):
        pass
    (_, (given, named)), _ = [call for call in told if call[0] != "empty"]
    assert (given, named["device_id"]) == (("gloo",), None)


def test_processes_of_the_calling_program_are_not_taken_over(told, monkeypatch) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    with pytest.raises(UsageError, match="in use by the program that calls"), launch.joined(torch.device("cpu")):
        pass
    assert told == [], "nor ended"


def test_alone_every_device_is_what_it_is_called() -> None:
    assert launch.device("cpu") == torch.device("cpu")
    with launch.joined(torch.device("cpu")) as world:
        assert (world.rank, world.size) == (0, 1)
    assert not dist.is_initialized()


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_train_as_one_does(tmp_path, monkeypatch) -> None:
    from tests.training import test_processes

    monkeypatch.setattr(test_processes, "DEVICE", "cuda")
    test_processes.test_two_processes_give_the_curve_and_the_predictions_of_one(tmp_path, monkeypatch)
