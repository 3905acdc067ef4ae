"""Devices: what "fp32" means whatever a host program set, whose words "no memory" has, and what MPS can do."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mixer_bench
from mixer_bench.models import device as device_module
from mixer_bench.models.backbone import Backbone
from mixer_bench.models.device import exact_fp32, fitting, is_out_of_memory, on_device, placed
from mixer_bench.runs import runner
from tests.builders import TOY

FITS = 2  # images
BACKENDS = torch.backends
# All that torch shows of how it rounds what goes into products of fp32.
SHOWN: dict[str, Callable[[], Any]] = {
    "generic": lambda: BACKENDS.fp32_precision,
    "cuda matmul": lambda: BACKENDS.cuda.matmul.fp32_precision,
    "cudnn": lambda: BACKENDS.cudnn.fp32_precision,
    "cudnn conv": lambda: BACKENDS.cudnn.conv.fp32_precision,
    "cudnn rnn": lambda: BACKENDS.cudnn.rnn.fp32_precision,
    "mkldnn": lambda: BACKENDS.mkldnn.fp32_precision,
    "mkldnn matmul": lambda: BACKENDS.mkldnn.matmul.fp32_precision,
    "mkldnn conv": lambda: BACKENDS.mkldnn.conv.fp32_precision,
    "mkldnn rnn": lambda: BACKENDS.mkldnn.rnn.fp32_precision,
    "older matmul": torch.get_float32_matmul_precision,
    "older cublas": lambda: BACKENDS.cuda.matmul.allow_tf32,
    "older cudnn": lambda: BACKENDS.cudnn.allow_tf32,
}
EXACT = dict.fromkeys(SHOWN, "ieee") | {"older matmul": "highest", "older cublas": False, "older cudnn": False}
HOSTS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "all tf32": lambda: setattr(BACKENDS, "fp32_precision", "tf32"),
    "all bf16": lambda: setattr(BACKENDS, "fp32_precision", "bf16"),
    "matmul tf32": lambda: setattr(BACKENDS.cuda.matmul, "fp32_precision", "tf32"),
    "cudnn tf32": lambda: setattr(BACKENDS.cudnn, "fp32_precision", "tf32"),
    "conv tf32, rnn exact": lambda: (
        setattr(BACKENDS.cudnn.conv, "fp32_precision", "tf32"),
        setattr(BACKENDS.cudnn.rnn, "fp32_precision", "ieee"),
    ),
    "CPU bf16": lambda: setattr(BACKENDS.mkldnn.matmul, "fp32_precision", "bf16"),
    "older high": lambda: torch.set_float32_matmul_precision("high"),
    "older medium": lambda: torch.set_float32_matmul_precision("medium"),
    "older cudnn exact": lambda: setattr(BACKENDS.cudnn, "allow_tf32", False),
    "older and newer": lambda: (
        torch.set_float32_matmul_precision("high"),
        setattr(BACKENDS, "fp32_precision", "tf32"),
        setattr(BACKENDS.cuda.matmul, "fp32_precision", "ieee"),
    ),
}


def shown() -> dict[str, Any]:
    """What every setting says; of an older one that contradicts the newer ones, that torch refuses it."""

    def of(show: Callable[[], Any]) -> Any:
        try:
            return show()
        except RuntimeError:
            return "refused"

    return {name: of(show) for name, show in SHOWN.items()}


@pytest.fixture(autouse=True)
def settings_of_a_new_process() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")
    BACKENDS.cudnn.allow_tf32 = True
    for place in (BACKENDS, BACKENDS.cuda.matmul, BACKENDS.cudnn, *(BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv)):
        place.fp32_precision = "none"
    for place in (BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn):
        place.fp32_precision = "tf32"


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_fp32_is_exact_whatever_the_host_set_and_the_host_has_its_settings_back(host: Callable[[], Any]) -> None:
    host()
    before = shown()
    with exact_fp32():
        assert shown() == EXACT
        with exact_fp32():
            assert shown() == EXACT
        assert shown() == EXACT
    assert shown() == before


def test_settings_that_followed_another_still_follow_it() -> None:
    with exact_fp32():
        pass
    for value in ("tf32", "ieee"):
        BACKENDS.fp32_precision = value
        assert {BACKENDS.cuda.matmul.fp32_precision, BACKENDS.mkldnn.conv.fp32_precision} == {value}


def test_settings_are_given_back_when_something_fails() -> None:
    BACKENDS.fp32_precision = "tf32"
    before = shown()
    with pytest.raises(ZeroDivisionError), exact_fp32():
        raise ZeroDivisionError
    assert shown() == before


def test_a_run_in_a_host_program_and_a_model_by_itself_compute_exactly(tmp_path: Path, monkeypatch) -> None:
    BACKENDS.fp32_precision = "tf32"
    before, seen = shown(), []
    execute = runner.execute
    monkeypatch.setattr(runner, "execute", lambda *given: (seen.append(shown()), execute(*given)))
    mixer_bench.run("digits", "pixels", "knn", limit=20, output_dir=tmp_path)

    class Looking(nn.Flatten):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(shown())
            return super().forward(images)

    Backbone(Looking(), TOY, torch.device("cpu")).features(np.zeros((1, 8, 8, 3), np.uint8))
    assert seen == [EXACT, EXACT]
    assert shown() == before


# Copied from torch's own errors, as people met with them.
@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.25 GiB",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
        "CUDA ran out of memory outside PyTorch's allocator.",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "Unable to find a valid cuDNN algorithm to run convolution",
        "GET was unable to find an engine to execute this computation",
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to",
        "[enforce fail at alloc_cpu.cpp:116] data. DefaultCPUAllocator: not enough memory: you tried to",
        "MPS backend out of memory (MPS allocated: 17.92 GB, other allocations: 1.10 MB, max allowed: 18.13 GB).",
        "std::bad_alloc",
    ],
)
def test_no_memory_in_whatever_words_halves_the_batch(message: str) -> None:
    def attempt(size: int) -> int:
        if size > FITS:
            raise RuntimeError(message)
        return size

    assert fitting(attempt, 8, torch.device("cpu")) == (FITS, FITS)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`",
        "cuDNN error: CUDNN_STATUS_BAD_PARAM",
        "CUDA error: device-side assert triggered",
        "mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)",
    ],
)
def test_other_errors_are_not_taken_for_it(message: str) -> None:
    assert not is_out_of_memory(RuntimeError(message))


def test_this_machines_own_words_for_no_memory_are_known() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)


class Watched(torch.Tensor):
    """A tensor that notes how it was brought to a device."""

    waits: bool | None = None

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is torch.Tensor.to:
            Watched.waits = not kwargs["non_blocking"]
            return args[0]
        return super().__torch_function__(function, types, args, kwargs or {})


@pytest.mark.parametrize("device", ["mps", "cpu"])
def test_what_is_not_cuda_is_waited_for(device: str) -> None:
    on_device(torch.zeros(1).as_subclass(Watched), torch.device(device))
    assert Watched.waits


class Overlapping(nn.Sequential):
    """Patches of 4 px, then what a test gives."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(nn.Conv2d(3, 4, 4, 4), *layers)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(("layers", "convolutional"), [((), False), ((nn.Conv2d(4, 4, 3),), True)])
def test_convolutional_networks_are_laid_out_for_cuda_alone(layers, convolutional, device: str, monkeypatch) -> None:
    monkeypatch.setattr(device_module, "works_alone", lambda _device: device == "cuda")
    network = placed(Overlapping(*layers), torch.device("cpu"))
    last = network[len(layers)].weight
    assert last.is_contiguous(memory_format=torch.channels_last) == (convolutional and device == "cuda")
