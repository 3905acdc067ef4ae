"""Feature extraction against the bare forward pass: same network, images, batch and threads, in one run.

    python benchmarks/extraction.py [--rounds 15] [--batch-size 64] [--images 640]

"Extraction" is what a run does for each model: resize, batch, normalise, forward, back to numpy. Images are decoded
before; what that costs is printed by itself. "Bare" is the network alone on
batches that are normalised tensors already. The two take turns batch by batch, and the ratio is taken round by round,
so that a machine whose speed drifts does not decide the outcome. 1.00 would mean that preparing images costs nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from tabulate import tabulate

from mixer_bench import data
from mixer_bench.data import Examples
from mixer_bench.models import backbone, names, networks
from mixer_bench.models.backbone import Backbone
from mixer_bench.models.card import Architecture
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.runs.squares import batches
from mixer_bench.system import machine
from mixer_bench.task import task

CPU = torch.device("cpu")
AT_224 = Preprocessing(
    resolution=224, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", crop_pct=0.875, resize="squash"
)


def backbones() -> dict[str, Backbone]:
    """The nanos at 64 px and two of the paper's sizes at 224 px, untrained: weights do not change the speed."""
    found = {}
    for name in ("mixer_nano", "vit_nano", "resnet_nano"):
        card = names.card(f"random:{name}")
        found[f"{name}, 64 px"] = backbone.load(card, card.preprocessing.for_task("squash"), CPU)
    for name in ("mixer_s32_224", "mixer_s16_224"):
        network = networks.headless(networks.build(Architecture(timm=name), 1))
        found[f"{name.removesuffix('_224')}, 224 px"] = Backbone(network, AT_224, CPU)
    return found


def images(count: int) -> Examples:
    """``count`` images of clipart's test split, read anew so that none is decoded yet."""
    test = data.load(task.tasks()["clipart"]).test
    return test.take(np.arange(count) % len(test))


def decode(examples: Examples) -> None:
    """Decode all images; embedded ones are kept so."""
    for index in range(len(examples)):
        examples.images[index]


def one_round(model: Backbone, tensors: list[torch.Tensor], examples: Examples, batch_size: int) -> tuple[float, float]:
    """Seconds of the bare network and of extraction for the same images, the two taking turns batch by batch."""
    bare = extraction = 0.0
    parts = map(model.features, batches(examples, model.preprocessing, batch_size))
    for images in tensors:
        start = time.perf_counter()
        with torch.inference_mode():
            model.network(images)
        between = time.perf_counter()
        next(parts)
        bare += between - start
        extraction += time.perf_counter() - between
    start = time.perf_counter()
    if next(parts, None) is not None:
        raise RuntimeError("extraction has more batches than the bare network was given")
    return bare, extraction + time.perf_counter() - start


def measure(model: Backbone, count: int, batch_size: int, rounds: int) -> list[tuple[float, float]]:
    """Images a second of the bare network and of extraction, in each round."""
    decoded = images(count)
    decode(decoded)
    tensors = [
        backbone.normalise_(torch.from_numpy(squares).permute(0, 3, 1, 2).float(), model.preprocessing)
        for squares in batches(decoded, model.preprocessing, batch_size)
    ]
    one_round(model, tensors, decoded, batch_size)  # the first passes allocate
    seconds = [one_round(model, tensors, decoded, batch_size) for _ in range(rounds)]
    return [(count / bare, count / extraction) for bare, extraction in seconds]


def ratio(rounds: list[tuple[float, float]]) -> str:
    """Median, quartiles and range of the ratio of extraction to the bare network."""
    low, median, high = statistics.quantiles([extracted / bare for bare, extracted in rounds], n=4)
    return f"{median:.3f} (quartiles {low:.3f}, {high:.3f})"


def decoding_microseconds(count: int) -> float:
    """Time to decode an image, once."""
    undecoded = images(count)
    start = time.perf_counter()
    decode(undecoded)
    return (time.perf_counter() - start) / min(count, len(data.load(task.tasks()["clipart"]).test)) * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--images", type=int, default=640, help="at 64 px; a fifth of them at 224 px")
    options = parser.parse_args()
    rows = []
    for name, model in backbones().items():
        count = options.images if model.preprocessing.resolution == 64 else max(64, options.images // 5)
        rounds = measure(model, count, options.batch_size, options.rounds)
        bare = statistics.median(speeds[0] for speeds in rounds)
        extracted = statistics.median(speeds[1] for speeds in rounds)
        rows.append((name, count, f"{bare:.1f}", f"{extracted:.1f}", ratio(rounds)))
    print(f"{machine.processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, fp32,")
    print(
        f"batch {options.batch_size}, {options.rounds} rounds, taking turns batch by batch; decoding: "
        f"{decoding_microseconds(options.images):.0f} us an image, once for all models\n"
    )
    headings = ("network", "images", "bare img/s", "extraction img/s", "extraction / bare, median")
    print(tabulate(rows, headings, tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    main()
