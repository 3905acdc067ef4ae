"""The loop: schedule, clip and step against re-statements; killed and resumed, the same."""

import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mixer_bench.errors import UsageError, WeightsError
from mixer_bench.training.loop import Diverged, Loop, Schedule, train

SCHEDULE = Schedule(peak=0.05, steps=60, warmup=10, decay="linear")


def problem(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(0, 3, (16,), generator=generator)
    images = torch.randn(16, 3, 4, 4, generator=generator) + labels.view(-1, 1, 1, 1)
    return images, labels


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3))


def run(folder: Path, *, stop: int | None = None, loop: Loop | None = None, batch_at=problem, identity: str = "one"):
    """Train; ``stop`` raises in the middle, as a kill would, once that step was logged."""
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    loop = loop or Loop(SCHEDULE, clip=1.0, precision="fp32", log_every=5, checkpoint_every=10)

    def on_log(progress) -> None:
        if stop is not None and progress.step >= stop:
            raise KeyboardInterrupt

    return model, train(model, optimizer, batch_at, loop, folder / "state.pt", identity, on_log)


def test_the_schedule_is_the_papers() -> None:
    """Linear from 0 to the peak, then linear to 0 (Mixer) or half a cosine to 0 (fine-tuning)."""
    linear = [SCHEDULE.rate(step) for step in range(61)]
    assert linear[9] == pytest.approx(0.05)
    assert np.argmax(linear) in (9, 10)
    assert linear[0] == pytest.approx(0.005)
    assert linear[35] == pytest.approx(0.05 * 25 / 50)
    assert linear[60] == 0
    cosine = Schedule(0.05, 60, 10, "cosine")
    for step in range(10, 61):
        assert cosine.rate(step) == pytest.approx(0.05 * 0.5 * (1 + math.cos(math.pi * (step - 10) / 50)))
    assert Schedule(0.05, 60, 0, "linear").rate(0) == pytest.approx(0.05)


def test_one_step_is_adamw_restated_in_numpy(tmp_path: Path) -> None:
    model = network()
    before = [p.detach().numpy().astype(np.float64) for p in model.parameters()]
    images, labels = problem(0)
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    gradients = [p.grad.numpy().astype(np.float64) for p in model.parameters()]
    norm = math.sqrt(sum((g**2).sum() for g in gradients))
    assert norm > 0.3, "the clip must bite"
    loop = Loop(Schedule(0.05, 1, 0, "linear"), clip=0.3, precision="fp32", log_every=1, checkpoint_every=1)
    trained, _ = run(tmp_path, loop=loop)
    for start, gradient, parameter in zip(before, gradients, trained.parameters(), strict=True):
        clipped = gradient * 0.3 / (norm + 1e-6)
        moment, square = 0.1 * clipped / (1 - 0.9), 0.001 * clipped**2 / (1 - 0.999)
        expected = start * (1 - 0.05 * 0.1) - 0.05 * moment / (np.sqrt(square) + 1e-8)
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-4, atol=1e-6)


def test_it_learns(tmp_path: Path) -> None:
    _, progress = run(tmp_path)
    assert progress.losses[-1][1] < 0.5 * progress.losses[0][1]
    assert [step for step, _ in progress.losses] == list(range(5, 61, 5))
    assert progress.device_seconds > 0


@pytest.mark.parametrize("stop", [15, 20, 55])
def test_killed_and_resumed_it_ends_the_same(stop: int, tmp_path: Path) -> None:
    whole, expected = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", stop=stop)
    resumed, progress = run(tmp_path / "killed")
    assert progress.losses == expected.losses
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    run(tmp_path)

    def refuse(step: int):
        raise AssertionError(f"step {step} was asked for")

    _, progress = run(tmp_path, batch_at=refuse)
    assert progress.step == 60


def test_another_trainings_checkpoint_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UsageError, match="other settings"):
        run(tmp_path, identity="two")


@pytest.mark.parametrize("damage", [0.5, 0.0, 0.99])
def test_a_damaged_checkpoint_is_named(damage: float, tmp_path: Path) -> None:
    run(tmp_path)
    state = tmp_path / "state.pt"
    content = state.read_bytes()
    state.write_bytes(content[: int(damage * len(content))])
    with pytest.raises(WeightsError, match=r"state.pt is damaged"):
        run(tmp_path)


def test_a_diverged_loss_stops_the_training(tmp_path: Path) -> None:
    def explode(step: int):
        images, labels = problem(step)
        return images * (float("inf") if step == 12 else 1.0), labels

    with pytest.raises(Diverged, match="step 15"):
        run(tmp_path, batch_at=explode)


def test_checkpoints_must_fall_on_log_entries() -> None:
    with pytest.raises(UsageError, match="multiple"):
        Loop(SCHEDULE, clip=1.0, precision="fp32", log_every=50, checkpoint_every=75)


def test_a_signal_that_somebody_swallows_never_leaves_a_half_trained_network(tmp_path: Path, monkeypatch) -> None:
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    try:

        def batch_at(step: int) -> tuple[torch.Tensor, torch.Tensor]:
            if step == 7:
                signal.raise_signal(signal.SIGTERM)
            return problem(step)

        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, batch_at=batch_at)
    finally:
        signal.signal(signal.SIGTERM, before)
    _, resumed = run(tmp_path)
    _, whole = run(tmp_path / "whole")
    assert resumed.losses == whole.losses


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:

        def batch_at(step: int) -> tuple[torch.Tensor, torch.Tensor]:
            signal.raise_signal(signal.SIGTERM)
            return problem(step)

        assert run(tmp_path, batch_at=batch_at)[1].step == 60
    finally:
        signal.signal(signal.SIGTERM, before)
