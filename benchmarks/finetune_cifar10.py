"""Fine-tuning against a loop that shares nothing with it: CIFAR-10, mixer_nano, same settings, same seeds.

    python benchmarks/finetune_cifar10.py --data-dir data [--steps 600] [--seeds 3] [--threads 1] [--output FOLDER]

`data/uoft-cs/cifar10` holds the data set in the Hugging Face hub's layout. "mixer-bench" is `mixer-bench run --protocol
finetune`; "plain" is what a user of timm would write: timm's network, PIL and a DataLoader, torch.optim.SGD, LambdaLR.
Both train on the 50,000 training images and are scored on the 10,000 test images. What is done already is kept in
the output folder, so that a run that was broken off goes on.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import time
from pathlib import Path

import numpy as np
import pandas
import torch
from PIL import Image
from safetensors.torch import load_file
from tabulate import tabulate
from timm.models.mlp_mixer import MlpMixer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import mixer_bench
from mixer_bench.system import machine

RATE, BATCH, WARMUP, CLIP = 0.03, 64, 0.1, 1.0  # WARMUP: share of the steps
SIDE, STORED = 64, 73  # pixels of the input, and of the images it is cut from: 64 x 256 / 224
WEIGHTS = Path(mixer_bench.__file__).parent / "embedded/mixer_nano.safetensors"


class Cifar10(Dataset[tuple[Tensor, int]]):
    """A split's images, decoded and enlarged as they are asked for; cropped and mirrored at random in training."""

    def __init__(self, folder: Path, split: str, training: bool) -> None:
        """Read the parquet file of ``split``."""
        (file,) = (folder / "plain_text").glob(f"{split}-*.parquet")
        table = pandas.read_parquet(file)
        self._files = [value["bytes"] for value in table["img"]]
        self._labels = table["label"].tolist()
        self._training = training

    def __len__(self) -> int:
        """How many images."""
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Image float [3, 64, 64] in [-1, 1], and its class."""
        image = Image.open(io.BytesIO(self._files[index])).convert("RGB")
        image = image.resize((STORED, STORED), Image.Resampling.BICUBIC)
        free = STORED - SIDE
        left, top = (random.randint(0, free), random.randint(0, free)) if self._training else (free // 2, free // 2)
        image = image.crop((left, top, left + SIDE, top + SIDE))
        if self._training and random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
        return pixels / 127.5 - 1, self._labels[index]


def plain(folder: Path, steps: int, seed: int) -> float:
    """Accuracy on the test split after training with timm and torch alone."""
    random.seed(seed)
    torch.manual_seed(seed)
    network = MlpMixer(img_size=SIDE, patch_size=8, num_blocks=4, embed_dim=192, num_classes=10)
    missing, unexpected = network.load_state_dict(
        {key: value.float() for key, value in load_file(WEIGHTS).items()}, strict=False
    )
    if set(missing) != {"head.weight", "head.bias"} or unexpected:
        raise SystemExit(f"{WEIGHTS}: missing {missing}, unexpected {unexpected}")
    nn.init.zeros_(network.head.weight)
    nn.init.zeros_(network.head.bias)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9)
    warmup = WARMUP * steps

    def factor(step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * max(0.0, step - warmup) / (steps - warmup)))
        return min(1.0, step / warmup) * cosine

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    loader = DataLoader(Cifar10(folder, "train", training=True), BATCH, shuffle=True, drop_last=True)
    network.train()
    batches = iter(loader)
    for _ in range(steps):
        try:
            images, labels = next(batches)
        except StopIteration:
            batches = iter(loader)
            images, labels = next(batches)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        schedule.step()
    network.eval()
    right = 0
    with torch.inference_mode():
        for images, labels in DataLoader(Cifar10(folder, "test", training=False), 256):
            right += int((network(images).argmax(1) == labels).sum())
    return right / 10_000


def kept(file: Path, folder: Path, steps: int, seeds: int) -> list[float]:
    """The plain loop's accuracies by seed; those in ``file`` are not computed again."""
    known = json.loads(file.read_text()) if file.exists() else {}
    for seed in range(seeds):
        key = f"{steps} steps, seed {seed}"
        if key not in known:
            start = time.monotonic()
            known[key] = plain(folder, steps, seed)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(known, indent=1))
            print(f"plain, {key}: {known[key]:.4f}, {time.monotonic() - start:.0f} s", flush=True)
    return [known[f"{steps} steps, seed {seed}"] for seed in range(seeds)]


def ours(data_dir: Path, steps: int, seeds: int, output: Path) -> list[float]:
    """Accuracies by seed of ``mixer-bench run --protocol finetune``."""
    settings = {"learning_rates": RATE, "batch_size": BATCH, "steps": steps, "warmup": round(WARMUP * steps)}
    rows = mixer_bench.run(
        "cifar10",
        "mixer_nano",
        "finetune",
        preset="small",
        settings=settings,
        seeds=seeds,
        data_dir=data_dir,
        source="hub",
        output_dir=output,
        device="cpu",
    )
    return [float(value) for value in rows[rows.metric == "top1"].sort_values("seed").value]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("results/finetune_cifar10"))
    parser.add_argument("--side", choices=("both", "plain", "mixer-bench"), default="both", help="which loop to run")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found: dict[str, list[float]] = {}
    if options.side != "plain":
        found["mixer-bench"] = ours(options.data_dir, options.steps, options.seeds, options.output)
    if options.side != "mixer-bench":
        folder = options.data_dir / "uoft-cs/cifar10"
        found["plain"] = kept(options.output / "plain.json", folder, options.steps, options.seeds)
    print(f"{machine.processor()}, {options.threads} threads, torch {torch.__version__};")
    print(f"{options.steps} steps of {BATCH}, rate {RATE}, {options.seeds} seeds; accuracy on 10,000 test images, %\n")
    rows = [
        (name, *(f"{100 * v:.2f}" for v in values), f"{100 * np.mean(values):.2f}", f"{100 * error(values):.2f}")
        for name, values in found.items()
    ]
    headings = ("loop", *(f"seed {seed}" for seed in range(options.seeds)), "mean", "standard error")
    print(tabulate(rows, headings, tablefmt="pipe", disable_numparse=True))
    if len(found) > 1:
        gap = np.mean(found["mixer-bench"]) - np.mean(found["plain"])
        both = math.hypot(error(found["mixer-bench"]), error(found["plain"]))
        print(f"\nmixer-bench - plain: {100 * gap:+.2f} points, {gap / both:+.1f} standard errors of the difference")


def error(values: list[float]) -> float:
    """Standard error of the mean."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


if __name__ == "__main__":
    main()
