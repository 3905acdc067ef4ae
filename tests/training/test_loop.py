"""The loop: schedule, clip and step against re-statements; killed and resumed, the same."""

import functools
import itertools
import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mixer_bench.errors import UsageError
from mixer_bench.system import signals
from mixer_bench.system.processes import World
from mixer_bench.training import distributed
from mixer_bench.training import loop as loop_module
from mixer_bench.training.checkpoint import Checkpoint, Diverged, Progress, _digest
from mixer_bench.training.loop import Loop, Schedule, train

THEIRS = np.load(Path(__file__).parents[1] / "golden/tensorflow_operators.npz")
SCHEDULE = Schedule(peak=0.05, steps=60, warmup=10, decay="linear")


class Hungry(nn.Module):
    """A linear layer, out of memory for more than ``most`` images."""

    def __init__(self, most: int = 1000) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.most = nn.Linear(48, 3), most

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        logits: torch.Tensor = self.layer(images.flatten(1))
        return logits


def problem(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(0, 3, (16,), generator=generator)
    images = torch.randn(16, 3, 4, 4, generator=generator) + labels.view(-1, 1, 1, 1)
    return images, labels


def in_parts(batch_at):
    """Let whole batches be asked for in parts."""
    return lambda step, part, parts: tuple(whole.tensor_split(parts)[part] for whole in batch_at(step))


def run(
    folder: Path, *, stop: int | None = None, batch_at=problem, identity: str = "one", most: int = 1000, size: int = 16
) -> tuple[nn.Module, Progress]:
    """Train; ``stop`` raises in the middle, as a kill would, once that step was logged."""
    model = Hungry(most)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    loop = Loop(SCHEDULE, clip=1.0, precision="fp32", log_every=5, save_every=2, batch_size=size)

    def on_log(progress) -> None:
        if stop is not None and progress.step >= stop:
            raise KeyboardInterrupt

    return model, train(model, optimizer, in_parts(batch_at), loop, Checkpoint(folder / "state.pt", identity), on_log)


@pytest.mark.parametrize("name", [name for name in THEIRS if name.startswith(("cosine", "stairs"))])
def test_a_schedule_is_its_sources_step_by_step(name: str) -> None:
    """optax's cosine of the public ViT and Mixer code, and the stairs of BiT and task_adaptation."""
    kind, *words = name.split()
    numbers = [int(word) for word in words if word.isdigit()]
    steps, warmup = numbers[:2]
    start = numbers[2] if kind == "cosine" else 0
    decay, places = ("cosine", ()) if kind == "cosine" else ("steps", tuple(numbers[2:]))
    schedule = Schedule(float(THEIRS["rate"]), steps, warmup, decay, places, start)
    ours = [schedule.rate(step) for step in range(steps)]
    np.testing.assert_allclose(ours, THEIRS[name], rtol=1e-5, atol=1e-8)
    assert (ours[0] == 0) == (start == 0)


def test_a_linear_schedule_goes_from_0_to_the_peak_and_back() -> None:
    linear = [SCHEDULE.rate(step) for step in range(61)]
    assert (linear[0], linear[60], np.argmax(linear)) == (0, 0, 10)
    assert linear[5] == pytest.approx(0.05 / 2)
    assert linear[35] == pytest.approx(0.05 * 25 / 50)
    assert Schedule(0.05, 60, 0, "linear").rate(0) == pytest.approx(0.05)


def test_steps_are_momentum_sgd_with_a_clipped_gradient_restated_in_float64(tmp_path: Path) -> None:
    """SGD, momentum 0.9, global norm clipped at 1, warm-up then cosine: five steps in numpy."""
    generator = np.random.default_rng(0)
    images = generator.standard_normal((5, 8, 48)).astype(np.float32) * 3
    labels = generator.integers(0, 3, (5, 8))
    layer = Hungry().layer
    nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5, momentum=0.9, fused=True)
    loop = Loop(Schedule(0.5, 5, 2, "cosine"), 1.0, "fp32", 1, 1, batch_size=8)
    batches = list(zip(torch.from_numpy(images), torch.from_numpy(labels), strict=True))
    train(layer, optimizer, in_parts(batches.__getitem__), loop, Checkpoint(tmp_path / "s.pt", "i"), print)
    weight, bias = np.zeros((3, 48)), np.zeros(3)
    buffers = [np.zeros_like(weight), np.zeros_like(bias)]
    for step in range(5):
        logits = images[step].astype(np.float64) @ weight.T + bias
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        slope = (shares - np.eye(3)[labels[step]]) / 8
        gradients = [slope.T @ images[step].astype(np.float64), slope.sum(0)]
        norm = math.sqrt(sum((g**2).sum() for g in gradients))
        assert norm > 1 or step, "the clip must bind at least once"
        gradients = [g * min(1, 1 / norm) for g in gradients]
        rate = 0.5 * min(1, step / 2) * 0.5 * (1 + math.cos(math.pi * max(0, step - 2) / 3))
        buffers = [0.9 * buffer + gradient for buffer, gradient in zip(buffers, gradients, strict=True)]
        weight, bias = weight - rate * buffers[0], bias - rate * buffers[1]
    np.testing.assert_allclose(layer.weight.detach().numpy(), weight, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.bias.detach().numpy(), bias, rtol=1e-5, atol=1e-6)


def test_when_memory_runs_out_the_batch_is_taken_in_parts_and_the_step_is_the_same(tmp_path: Path) -> None:
    (whole, done), (parts, taken) = (run(tmp_path / str(most), most=most) for most in (1000, 3))
    torch.testing.assert_close(whole.layer.weight, parts.layer.weight, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(done.losses, taken.losses, atol=1e-5)
    assert (done.micro, taken.micro) == (None, 2)


def test_a_batch_that_does_not_divide_is_taken_in_parts_that_fit(tmp_path: Path) -> None:
    """Seven images, four at once: 4 + 3."""
    _, taken = run(tmp_path, most=4, size=7, batch_at=lambda step: tuple(part[:7] for part in problem(step)))
    assert taken.micro == 4


def test_each_checkpoint_replaces_the_one_before(tmp_path: Path) -> None:
    asked = []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop=25)
    run(tmp_path, batch_at=lambda step: (asked.append(step), problem(step))[1])
    assert min(asked) == 20


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
    torch.testing.assert_close(whole.state_dict(), resumed.state_dict(), rtol=0, atol=0)


def test_a_finished_training_is_not_repeated_nor_taken_for_another(tmp_path: Path) -> None:
    run(tmp_path)

    def refuse(step: int):
        raise AssertionError(f"step {step} was asked for")

    assert run(tmp_path, batch_at=refuse)[1].step == 60
    with pytest.raises(UsageError, match="other settings"):
        run(tmp_path, identity="two")


def broken_off(folder: Path) -> Path:
    """Return the checkpoint of a training that was broken off after step 15."""
    with pytest.raises(KeyboardInterrupt):
        run(folder, stop=15)
    return folder / "state.pt"


@pytest.mark.parametrize("damage", [0.5, 0.0, 0.99])
def test_with_a_truncated_checkpoint_the_training_begins_again(damage: float, tmp_path: Path, caplog) -> None:
    whole, expected = run(tmp_path / "whole")
    state = broken_off(tmp_path / "broken")
    content = state.read_bytes()
    state.write_bytes(content[: int(damage * len(content))])
    again, progress = run(tmp_path / "broken")
    assert "state.pt is damaged" in caplog.text
    assert progress.losses == expected.losses
    torch.testing.assert_close(whole.state_dict(), again.state_dict(), rtol=0, atol=0)


def test_no_flipped_bit_of_a_checkpoint_is_gone_on_from(tmp_path: Path) -> None:
    state = broken_off(tmp_path)
    whole, generator = state.read_bytes(), np.random.default_rng(0)
    sound = Checkpoint(state, "one")._state()
    for position in generator.integers(0, 8 * len(whole), 300):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << (position % 8)
        state.write_bytes(damaged)
        read = Checkpoint(state, "one")._state()
        # The archive's own paddings and times hold nothing of the state.
        assert read is None or repr(read) == repr(sound)


def test_a_checkpoint_without_a_digest_is_not_gone_on_from(tmp_path: Path) -> None:
    state = broken_off(tmp_path / "broken")
    content = torch.load(state, weights_only=True)
    del content["digest"]
    torch.save(content, state)
    assert run(tmp_path / "broken")[1].losses == run(tmp_path / "whole")[1].losses


def test_where_nothing_can_be_written_the_training_goes_on_and_says_so(tmp_path: Path, caplog) -> None:
    (tmp_path / "file").touch()
    assert run(tmp_path / "file/below")[1].losses == run(tmp_path / "whole")[1].losses
    (said,) = [record.message for record in caplog.records]
    assert "no checkpoint (Not a directory); if broken off, the training begins again" in said


def test_a_diverged_loss_stops_the_training(tmp_path: Path) -> None:
    def explode(step: int):
        images, labels = problem(step)
        return images * (float("inf") if step == 12 else 1.0), labels

    with pytest.raises(Diverged, match="step 15"):
        run(tmp_path, batch_at=explode)


def signalled(step: int, number: signal.Signals = signal.SIGTERM) -> tuple[torch.Tensor, torch.Tensor]:
    if step == 7:
        signal.raise_signal(number)
    return problem(step)


@pytest.mark.parametrize("number", [getattr(signal, name) for name in signals.ENDING if hasattr(signal, name)])
def test_a_signal_that_somebody_swallows_never_leaves_a_half_trained_network(
    tmp_path: Path, number: signal.Signals
) -> None:
    before = signal.signal(number, lambda _number, _frame: None)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, batch_at=functools.partial(signalled, number=number))
    finally:
        signal.signal(number, before)
    steps: list[int] = []
    resumed = run(tmp_path, batch_at=lambda step: (steps.append(step), problem(step))[1])[1]
    assert steps[0] == 8, "a checkpoint was written at the end of the step that was under way"
    assert resumed.losses == run(tmp_path / "whole")[1].losses


@pytest.mark.parametrize("seconds", [70, 120])
def test_a_kill_costs_five_minutes_of_work_at_most(tmp_path: Path, monkeypatch, seconds: float) -> None:
    """Steps of so many seconds by the clock that the loop reads: ten of them are a checkpoint by their number."""
    now, saved = 0.0, list[tuple[int, float]]()

    def slow(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal now
        now += seconds
        return problem(step)

    def save(self: Checkpoint, network: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> bool:
        saved.append((progress.step, now))
        return save_it(self, network, optimizer, progress)

    save_it = Checkpoint.save
    monkeypatch.setattr(Checkpoint, "save", save)
    monkeypatch.setattr(loop_module.time, "monotonic", lambda: now)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", batch_at=slow, stop=25)
    # The clock is looked at between steps, so that the last of them may go beyond.
    between = [later - earlier for (_, earlier), (_, later) in itertools.pairwise([(0, 0.0), *saved])]
    assert max(between) < 300 + seconds
    assert {step % 10 for step, _ in saved} - {0}, "not by their number alone"
    resumed, progress = run(tmp_path / "killed")
    whole, expected = run(tmp_path / "whole")
    assert progress.losses == expected.losses, "losses since the last entry are kept, too"
    torch.testing.assert_close(whole.state_dict(), resumed.state_dict(), rtol=0, atol=0)


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert run(tmp_path, batch_at=signalled)[1].step == 60
    finally:
        signal.signal(signal.SIGTERM, before)


def test_processes_that_see_different_checkpoints_are_refused(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop=20)
    monkeypatch.setattr(distributed, "the_firsts", lambda _step: 0)
    with pytest.raises(UsageError, match="not the same file for all processes; name a folder they share"):
        run(tmp_path)


def test_a_batch_that_gives_some_process_nothing_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(distributed, "world", lambda: World(0, 17))
    loop = Loop(SCHEDULE, clip=1.0, precision="fp32", batch_size=16)
    network = Hungry()
    with pytest.raises(UsageError, match="batches of 16 images leave some of 17 processes without any"):
        train(
            network,
            torch.optim.SGD(network.parameters()),
            in_parts(problem),
            loop,
            Checkpoint(tmp_path / "s", "i"),
            print,
        )


class Counting(Hungry):
    """Batch normalisation before the layer that is out of memory."""

    def __init__(self, most: int = 1000) -> None:
        super().__init__(most)
        self.norm = nn.BatchNorm1d(48)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(self.norm(images.flatten(1)))


def test_an_attempt_that_ran_out_of_memory_leaves_no_trace_in_the_statistics(tmp_path: Path) -> None:
    """The batch fits by halves: as many renewals a step as halves, not one more for the attempt."""
    network = Counting(most=8)
    loop = Loop(Schedule(0.05, 1, 0, "linear"), clip=1.0, precision="fp32", log_every=1, batch_size=16)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    train(network, optimizer, in_parts(problem), loop, Checkpoint(tmp_path / "s", "i"), print)
    expected = nn.BatchNorm1d(48)
    for half in problem(0)[0].flatten(1).split(8):
        expected(half)
    torch.testing.assert_close(network.norm.running_mean, expected.running_mean)
    torch.testing.assert_close(network.norm.running_var, expected.running_var)
    assert network.norm.num_batches_tracked == 2


def test_content_that_differs_by_its_places_alone_has_another_digest() -> None:
    contents = [[[1], 2], [1, [2]], [1, 2], {"a": 1, "b": 2}, {"a": 2, "b": 1}, {"b": 1, "a": 2}, {"c": 1, "b": 2}]
    assert len({_digest(content) for content in contents}) == len(contents)
