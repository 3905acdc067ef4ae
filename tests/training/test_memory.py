"""Memory that runs out anywhere in a step, is counted before images are kept, and is given back."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import mixer_bench
from mixer_bench.models import device
from mixer_bench.models.backbone import Backbone
from mixer_bench.system import memory
from mixer_bench.training import finetuning
from mixer_bench.training import images as images_module
from mixer_bench.training.checkpoint import Checkpoint
from mixer_bench.training.framing import Frame
from mixer_bench.training.images import Corpus
from mixer_bench.training.loop import Batch, Loop, Schedule, train
from tests import pretended
from tests.builders import colours

GPU = torch.device("cuda:0")
FITS = 8  # images


def no_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


class Backward(torch.autograd.Function):
    """The same, out of memory on the way back for too many images."""

    @staticmethod
    def forward(_ctx, images: Tensor) -> Tensor:
        return images.clone()

    @staticmethod
    def backward(_ctx, slope: Tensor) -> Tensor:
        if len(slope) > FITS:
            no_memory()
        return slope


class Network(nn.Module):
    """Two layers, out of memory in a place."""

    def __init__(self, place: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.place = place
        self.first, self.second = nn.Linear(12, 5), nn.Linear(5, 3)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.first(images)
        if self.place == "forward" and len(images) > FITS:
            no_memory()
        return self.second(Backward.apply(hidden) if self.place == "backward" else hidden)


def batch_at(step: int, part: int, parts: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(0, 3, (16,), generator=generator)
    images = torch.randn(16, 12, generator=generator) + labels.view(-1, 1)
    return images.tensor_split(parts)[part], labels.tensor_split(parts)[part]


def trained(
    folder: Path, network: nn.Module, kind: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW, at=batch_at
) -> tuple[nn.Module, torch.optim.Optimizer, int | None]:
    optimizer = kind(network.parameters(), lr=0.1)
    loop = Loop(Schedule(0.1, 5, 1, "cosine"), 0.1, "fp32", 1, batch_size=16)
    done = train(network, optimizer, at, loop, Checkpoint(folder / f"{id(network)}.pt", "one"), lambda _: None)
    return network, optimizer, done.micro


def fails_at(call: int, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same function, out of memory once, and then when it has done its work."""
    calls = 0

    def failing(*given, **named) -> Tensor:
        nonlocal calls
        calls += 1
        result = function(*given, **named)
        if calls == call:
            no_memory()
        return result

    return failing


@pytest.mark.parametrize("place", ["batch", "forward", "backward", "clip", "optimizer", "momentum"])
def test_a_step_that_runs_out_of_memory_anywhere_is_done_in_halves_and_is_the_same(
    place, tmp_path, monkeypatch
) -> None:
    kind = {"momentum": lambda weights, lr: torch.optim.SGD(weights, lr, momentum=0.9, fused=True)}.get(
        place, torch.optim.AdamW
    )
    expected, optimizer, _ = trained(tmp_path, Network(), kind)
    at = batch_at
    if place == "batch":
        at = lambda step, part, parts: no_memory() if parts == 1 else batch_at(step, part, parts)  # noqa: E731
    elif place == "clip":  # the gradients are scaled by then
        monkeypatch.setattr(nn.utils, "clip_grad_norm_", fails_at(1, nn.utils.clip_grad_norm_))
    elif place == "optimizer":  # two of the three buffers of two weights are there by then
        monkeypatch.setattr(torch, "zeros_like", fails_at(4, torch.zeros_like))
    elif place == "momentum":
        monkeypatch.setattr(torch, "empty_like", fails_at(2, torch.empty_like))
    network, other, micro = trained(tmp_path, Network(place), kind, at)
    assert micro == FITS
    torch.testing.assert_close(network.state_dict(), expected.state_dict(), rtol=1e-4, atol=1e-5)
    states = [[*kept.state_dict()["state"].values()] for kept in (optimizer, other)]
    torch.testing.assert_close(states[1], states[0], rtol=1e-3, atol=1e-5)


def test_weights_half_changed_are_never_gone_on_with(tmp_path: Path) -> None:
    class Halfway(torch.optim.SGD):
        def step(self) -> None:
            self.param_groups[0]["params"][0].data.add_(1.0)
            self.param_groups[0]["params"][1].detach().add_(1.0)
            no_memory()

    with pytest.raises(RuntimeError, match="some weights were changed and others were not"):
        trained(tmp_path, Network(), Halfway)


GIB = 1 << 30
MACHINE = "MemTotal: 24000000 kB\nMemFree: 1000 kB\nMemAvailable:   20971520 kB\n"
UNLIMITED = "9223372036854771712"
# Control groups as kernels show them: what this process's line says, the files of the groups, and what is left, GiB.
GROUPS: dict[str, tuple[str, dict[str, str], float]] = {
    "none": ("0::/\n", {}, 20),
    "a container of version 2": (
        "0::/\n",
        {"memory.max": f"{4 * GIB}", "memory.current": f"{3 * GIB}", "memory.stat": f"anon 5\ninactive_file {GIB}\n"},
        2,
    ),
    "a job below a limited slice": (
        "0::/slurm/job/step\n",
        {
            "slurm/job/step/memory.max": "max",
            "slurm/job/step/memory.current": f"{GIB}",
            "slurm/job/memory.max": f"{8 * GIB}",
            "slurm/job/memory.current": f"{5 * GIB}",
        },
        3,
    ),
    "version 1, seen from a container": (
        "5:cpuset:/docker/1\n4:memory:/docker/1\n",
        {
            "memory/memory.limit_in_bytes": f"{6 * GIB}",
            "memory/memory.usage_in_bytes": f"{6 * GIB}",
            "memory/memory.stat": f"inactive_file 7\ntotal_inactive_file {GIB}\n",
        },
        1,
    ),
    "version 1 without a limit": (
        "4:memory:/\n0::/\n",
        {"memory/memory.limit_in_bytes": UNLIMITED, "memory/memory.usage_in_bytes": f"{GIB}"},
        20,
    ),
    "more than the limit": ("0::/\n", {"memory.max": f"{GIB}", "memory.current": f"{2 * GIB}"}, 0),
}


@pytest.mark.parametrize("kind", GROUPS)
def test_free_host_memory_is_what_the_kernel_can_give_within_all_limits(kind: str, tmp_path: Path, monkeypatch) -> None:
    line, contents, left = GROUPS[kind]
    for name, content in {"meminfo": MACHINE, "own": line, **{f"groups/{k}": v for k, v in contents.items()}}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    for name, place in {"MEMINFO": "meminfo", "OWN_GROUPS": "own", "GROUPS": "groups"}.items():
        monkeypatch.setattr(memory, name, tmp_path / place)
    assert memory.available() == left * GIB


def test_memory_that_torch_holds_and_no_tensor_uses_is_free(monkeypatch) -> None:
    told = {"mem_get_info": (2 * GIB, 80 * GIB), "memory_reserved": 60 * GIB, "memory_allocated": 20 * GIB}
    for name, value in told.items():
        monkeypatch.setattr(torch.cuda, name, {GPU: value}.__getitem__)
    assert device.free_memory(GPU) == 42 * GIB
    assert device.free_memory(torch.device("cpu")) == memory.available()


@pytest.mark.parametrize(("free", "unused", "resident"), [(4000, 0, False), (4000, 3000, True), (9000, 0, True)])
def test_images_stay_on_a_gpu_where_they_take_no_more_than_a_share_of_what_is_free(free, unused, resident, monkeypatch):
    """Twelve squares of 192 bytes: 2,304 of them, which are 0.4 of 5,760."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (free, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 10_000 + unused)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 10_000)
    examples = colours(counts=(12, 3, 3)).train
    with pretended.gpu(monkeypatch):
        corpus = Corpus(examples, Frame("squash", 8, None, "bilinear"), GPU)
        assert (corpus._kept is not None) == resident
        images = corpus.images(torch.tensor([3, 1]))
    assert (images.shape, images.device) == ((2, 3, 8, 8), GPU)


COMMAND = {"model": "mixer_nano", "seeds": 1, "limit": 20, "device": "cpu"}
TRAINING = {"settings": {"steps": 2, "warmup": 0, "batch_size": 4, "learning_rates": [0.01, 0.03]}}


def test_a_network_is_gone_before_the_next_is_built_and_nothing_is_held_after_a_run(
    tmp_path: Path, monkeypatch
) -> None:
    seen = list[weakref.ref]()

    def watched(kind: type) -> None:
        begin = kind.__init__

        def begun(self, *given, **named) -> None:
            seen.append(weakref.ref(self))
            begin(self, *given, **named)

        monkeypatch.setattr(kind, "__init__", begun)

    networks = list[weakref.ref]()
    build = finetuning._Task.network

    def built(self, seed: int) -> nn.Module:
        assert [network() for network in networks] == [None] * len(networks), "the one before"
        network = build(self, seed)
        networks.append(weakref.ref(network))
        return network

    monkeypatch.setattr(finetuning._Task, "network", built)
    watched(Corpus), watched(Backbone)
    gc.disable()  # it would come to help at some time
    try:
        mixer_bench.run("digits", protocol=["knn", "finetune"], output_dir=tmp_path, **COMMAND, **TRAINING)
    finally:
        gc.enable()
    assert len(networks) == 3, "two rates and the training"
    gc.collect()
    assert len(seen) >= 3
    assert [kept() for kept in (*seen, *networks)] == [None] * len(seen + networks)
    assert not images_module._KEPT
    assert images_module._permutation.cache_info().currsize == 0
