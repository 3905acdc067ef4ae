"""Nothing that extracts or trains waits for a GPU between its batches: seen on one that is pretended."""

import contextlib

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mixer_bench.models import backbone, device, matrices
from mixer_bench.models.backbone import Backbone
from mixer_bench.models.matrices import Resizer
from mixer_bench.training import framing, loop, momentum
from mixer_bench.training.checkpoint import Progress
from mixer_bench.training.images import Batches, Corpus, Order
from mixer_bench.training.loop import Loop, Schedule
from mixer_bench.training.settings import Config
from tests import pretended
from tests.builders import TOY, colours
from tests.pretended import GPU


@pytest.fixture(autouse=True)
def nothing_is_known() -> None:
    """What is kept for a device is kept for this very one."""
    backbone._moments.cache_clear()
    matrices._matrix.cache_clear()
    device._copying.cache_clear()


def network(device: torch.device) -> nn.Module:
    with device:  # nothing that is pretended can be moved
        layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    return nn.Sequential(*layers)


def test_what_would_wait_is_seen(monkeypatch) -> None:
    """The stand-in's own test: each of these waits on a GPU, by torch.cuda.set_sync_debug_mode."""
    waiting = {
        "a number": lambda there: there.sum().item(),
        "a truth": lambda there: bool(there.any()),
        "to the host": lambda there: there.cpu(),
        "to unpinned memory": lambda there: torch.empty(3).copy_(there, non_blocking=True),
        "from the host": lambda there: torch.ones(3).to(there.device),
        "from unpinned memory": lambda there: torch.ones(3).to(there.device, non_blocking=True),
        "a constant": lambda there: torch.tensor([1.0, 2.0], device=there.device),
        "by a mask": lambda there: there[there > 0],
    }
    for what, wait in waiting.items():
        with pretended.gpu(monkeypatch) as gpu:
            there = torch.ones(3, device=GPU)
            assert not gpu.waits
            with contextlib.suppress(Exception):  # a value that is not there
                wait(there)
            assert gpu.waits, what


def test_extraction_waits_for_nothing_but_the_features_before(monkeypatch) -> None:
    squares = np.zeros((5, 8, 8, 3), np.uint8)
    with pretended.gpu(monkeypatch) as gpu:
        monkeypatch.setattr(backbone, "placed", lambda built, _device: built)
        model = Backbone(network(GPU), TOY, GPU)
        gpu.waits.clear()  # the weights' way there
        begun = [model.begin(squares) for _ in range(3)]
        assert not gpu.waits
        assert gpu.crossings == 2 + 3 * 2, "mean and deviation once; of each batch images there and features back"
        assert [(features.shape, seconds) for features, seconds in (wait() for wait in begun)] == [((5, 3), 0.02)] * 3


def test_a_resize_on_a_gpu_waits_for_nothing(monkeypatch) -> None:
    images = [np.zeros((9, 7 + number % 2, 3), np.uint8) for number in range(5)]
    with pretended.gpu(monkeypatch) as gpu:
        assert Resizer(TOY, GPU)(images).shape == (5, 8, 8, 3)
        assert not gpu.waits
        assert gpu.crossings
    matrices._matrix.cache_clear()


VIEWS = {
    "random": {},
    "inception": {"frame": "original", "crop": "inception"},
    "whole": {"frame": "squash", "crop": "none", "ratio": (1, 1)},
    "mixup": {"mixup": 0.2},
}


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("settings", VIEWS.values(), ids=list(VIEWS))
def test_a_training_step_waits_for_nothing(settings: dict, resident: bool, monkeypatch) -> None:
    config = Config.model_validate({"batch_size": 4, "momentum_dtype": "bfloat16", **settings})
    progress, steps = Progress(), Loop(Schedule(0.1, 9, 1, "cosine"), 1.0, "fp32", batch_size=4)
    examples = colours(counts=(6, 3, 3)).train
    with pretended.gpu(monkeypatch) as gpu:
        trained = network(GPU)
        monkeypatch.setattr(Tensor, "backward", lambda _loss: pretended.backward(trained))
        corpus = Corpus(examples, framing.trained_on(config, TOY), GPU, resident)
        view = framing.View(config, TOY.resolution)
        batches = Batches(corpus, Order(len(examples), 4, ("a", 0)), TOY, view, config.mixup, 3)
        optimizer = momentum.sgd(trained, config, 0.1)
        gpu.waits.clear()
        for step in range(2):
            progress.step = step
            loss = loop._step(trained, optimizer, batches.at, steps, progress)
            assert loss.device == GPU
        assert not gpu.waits
        assert gpu.crossings


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_is_waited_for_by_nobody() -> None:
    """What the stand-in says, by CUDA's own word: the mode raises where the host would wait."""
    config = Config.model_validate({"batch_size": 4, "momentum_dtype": "bfloat16"})
    examples, gpu = colours(counts=(6, 3, 3)).train, torch.device("cuda")
    model, trained = Backbone(network(gpu), TOY, gpu), device.placed(network(gpu), gpu)
    view, order = framing.View(config, TOY.resolution), Order(len(examples), 4, ("a", 0))
    corpora = [Corpus(examples, framing.trained_on(config, TOY), gpu, resident) for resident in (True, False)]
    optimizer = momentum.sgd(trained, config, 0.1)
    loops = Loop(Schedule(0.1, 9, 1, "cosine"), 1.0, "bf16", batch_size=4)
    for mode in ("default", "error"):  # the first passes set things up
        torch.cuda.set_sync_debug_mode(mode)
        try:
            begun = [model.begin(np.zeros((5, 8, 8, 3), np.uint8)) for _ in range(2)]
            for corpus in corpora:
                batches = Batches(corpus, order, TOY, view)
                loop._step(trained, optimizer, batches.at, loops, Progress())
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert [wait()[0].shape for wait in begun] == [(5, 3)] * 2
