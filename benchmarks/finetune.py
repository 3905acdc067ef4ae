"""A training step against the bare one: same network, images, batch and threads, in one run.

    python benchmarks/finetune.py [--rounds 15] [--batch-size 64] [--device auto]

"Step" is what fine-tuning does for each batch: take images, crop, flip, normalise, forward, backward, clip, update.
"Bare" is forward, backward, clip and update on a batch that is a normalised tensor already. The two take turns, and the
ratio is taken round by round, so that a machine whose speed drifts does not decide the outcome. On a CUDA device
Mixer-B/16 in bf16 at batch 512 is measured as well, with the share of the measured matmul peak that its FLOPs reach.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from tabulate import tabulate
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mixer_bench import data
from mixer_bench.models import device as device_module
from mixer_bench.models import names
from mixer_bench.profile import speed
from mixer_bench.system import machine
from mixer_bench.system.machine import Precision
from mixer_bench.task import task
from mixer_bench.training import framing, momentum
from mixer_bench.training.images import Batches, Corpus, Order
from mixer_bench.training.loop import BatchAt, Loop, Progress, Schedule, _step
from mixer_bench.training.network import Trainable
from mixer_bench.training.settings import Config

TRAINING_FLOPS = 3  # of a step, in forward passes


def trainable(name: str, device: torch.device, precision: Precision, compiled: bool = False) -> Trainable:
    """The untrained twin of a model: weights do not change the speed."""
    card = names.card(f"random:{name}")
    scratch = Path(tempfile.gettempdir()) / "mixer-bench-finetune-benchmark"
    model = Trainable(card, card.preprocessing, device, precision, "random", scratch, lambda *_: None)
    model.compiling = compiled
    return model


def measure(
    name: str, device: torch.device, precision: Precision, batch_size: int, rounds: int, compiled: bool = False
) -> list[tuple[float, float]]:
    """Seconds of the step and of the bare step, round by round."""
    model = trainable(name, device, precision, compiled)
    config = Config(batch_size=batch_size, steps=10_000, learning_rates=(0.001,))
    examples = data.load(task.tasks()["clipart"]).train
    corpus = Corpus(examples, framing.trained_on(config, model.preprocessing), device)
    order = Order(len(examples), batch_size, ("finetune", 0))
    view = framing.View(config, model.preprocessing.resolution)
    batches = Batches(corpus, order, model.preprocessing, view)
    network = model.compiled(model.network(25)).train()
    optimizer = momentum.sgd(network, config, 0.001)
    loop = Loop(Schedule(0.001, 10_000, 100, "cosine"), 1.0, precision, batch_size=batch_size)
    batch = batches.at(0)
    found = []
    for number in range(rounds + 2):  # the first passes allocate
        step = seconds(batches.at, Progress(step=number), network, optimizer, loop, device)
        bare = seconds(lambda *_: batch, Progress(), network, optimizer, loop, device)
        found.append((step, bare))
    return found[2:]


def seconds(
    batch_at: BatchAt,
    progress: Progress,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loop: Loop,
    device: torch.device,
) -> float:
    """How long one step takes, images included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    _step(network, optimizer, batch_at, loop, progress)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def row(name: str, device: torch.device, precision: Precision, batch_size: int, rounds: int) -> tuple[str, ...]:
    """One line of the table."""
    found = measure(name, device, precision, batch_size, rounds)
    low, median, high = statistics.quantiles([step / bare for step, bare in found], n=4)
    speed_ = batch_size / statistics.median(step for step, _ in found)
    return name, precision, str(batch_size), f"{speed_:.1f}", f"{median:.3f} (quartiles {low:.3f}, {high:.3f})"


def utilisation(device: torch.device, rounds: int) -> str:
    """Share of the measured matmul peak that training Mixer-B/16 reaches."""
    found = measure("mixer_b16", device, "bf16", 512, rounds)
    model = trainable("mixer_b16", torch.device("cpu"), "fp32")
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model.network(25).to("meta")(torch.zeros(1, 3, 224, 224))
    per_step = TRAINING_FLOPS * counter.get_total_flops() * 512
    reached = per_step / statistics.median(step for step, _ in found)
    peak = speed.matmul_peak(device, "bf16")
    return f"mixer_b16, bf16, batch 512: {reached / 1e12:.1f} TFLOP/s of {peak / 1e12:.1f}, {reached / peak:.0%}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = device_module.pick_device(options.device)
    precision: Precision = "bf16" if device.type == "cuda" else "fp32"
    rows = [
        row(name, device, precision, options.batch_size, options.rounds)
        for name in ("mixer_nano", "vit_nano", "resnet_nano")
    ]
    name = device_module.device_name(device)
    print(f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, {machine.processor()},")
    print(f"{options.rounds} rounds, taking turns step by step\n")
    headings = ("network", "precision", "batch", "step img/s", "step / bare, median")
    print(tabulate(rows, headings, tablefmt="pipe", disable_numparse=True))
    if device.type == "cuda":
        print("\n" + utilisation(device, options.rounds))
    else:
        print("\nNo CUDA device: the share of a GPU's peak that Mixer-B/16 reaches was not measured.")


if __name__ == "__main__":
    main()
