"""Images prepared a second, as it was and as it is, and five networks on one folder against one and four passes more.

    python benchmarks/decode.py [--images 1000] [--rounds 5] [--part prepare|models]

The JPEGs are windows of scikit-learn's two photographs, about 500 x 375, mirrored or not, saved with qualities from 75
to 95 and Pillow's other defaults, in a folder of ten classes. "Before" is what the program did until then, written out
here: SHA-256, Pillow's decoding to an array, from there to Pillow's image again, two resizes, and an array once more.
Both prepare the same images in the same process, taking turns round by round; ratios are taken within a round, so that
a machine whose speed drifts does not decide the outcome. All pixels are compared as well.

The second part extracts features of five networks, the nanos and two of them untrained, at 64 px, against one (the mean
of all five) and the bare forward passes of four more on tensors that are ready, again in turns. 1.00 would mean that
images cost nothing after the first network.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from joblib import cpu_count
from PIL import Image
from sklearn.datasets import load_sample_images
from tabulate import tabulate

from mixer_bench import load_task
from mixer_bench.data import jpeg
from mixer_bench.data.decoding import decode
from mixer_bench.data.examples import Examples
from mixer_bench.models import backbone, names, resampling
from mixer_bench.models.backbone import Backbone, normalise_
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.runs import rounds as filling
from mixer_bench.runs.features import CachedFeatures, Computer, Network
from mixer_bench.runs.squares import Squares, batches
from mixer_bench.system import machine

CPU = torch.device("cpu")
HOW = {
    "resolution": 224,
    "mean": (0.5,) * 3,
    "std": (0.5,) * 3,
    "interpolation": "bicubic",
    "crop_pct": 0.875,
}
SQUASH, CROP = (Preprocessing.model_validate({**HOW, "resize": resize}) for resize in ("squash", "crop"))
NANOS = ("mixer_nano", "vit_nano", "random:mixer_nano", "random:vit_nano", "resnet_nano")
BATCH = 64


def jpegs(count: int) -> list[bytes]:
    """Return windows of two photographs as JPEG files."""
    photographs = load_sample_images().images
    generator = np.random.default_rng(0)
    files = []
    for number in range(count):
        whole = photographs[number % 2]
        height, width = int(generator.integers(340, 411)), int(generator.integers(450, 551))
        top, left = (int(generator.integers(a - b + 1)) for a, b in zip(whole.shape, (height, width), strict=False))
        window = whole[top : top + height, left : left + width, :][:, :: int(generator.choice([-1, 1]))]
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(window)).save(file, "JPEG", quality=int(generator.integers(75, 96)))
        files.append(file.getvalue())
    return files


def before(content: bytes, preprocessing: Preprocessing) -> np.ndarray:
    """Prepare an image as the program did."""
    hashlib.sha256(content).hexdigest()
    return square_before(decode_before(content), preprocessing)


def decode_before(content: bytes) -> np.ndarray:
    """Decode as the program did."""
    with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
        image.load()
        image.getexif()
        return np.asarray(image)


def square_before(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Resize and crop as the program did."""
    side, (height, width) = preprocessing.resolution, image.shape[:2]
    shown = Image.fromarray(image)
    if preprocessing.resize == "squash":
        tall, wide = side, side
    else:
        tall, wide = (
            int(int(side / preprocessing.crop_pct) * length / min(height, width)) for length in (height, width)
        )
    top, left = (round((length - side) / 2) for length in (tall, wide))
    across = shown.resize((wide, height), Image.Resampling.BICUBIC).crop((left, 0, left + side, height))
    return np.asarray(across.resize((side, tall), Image.Resampling.BICUBIC).crop((0, top, side, top + side)))


def now(content: bytes, preprocessing: Preprocessing) -> np.ndarray:
    """Prepare an image as the program does."""
    hashlib.sha256(content).hexdigest()
    return preprocessing.square(decode(content, "an image"))


def each(way: Callable[[bytes], object], files: Sequence[bytes], threads: int) -> None:
    """Do all files; what comes out is let go at once, as a batch does."""

    def one(file: bytes) -> None:
        way(file)

    with ThreadPoolExecutor(threads) as pool:
        deque(pool.map(one, files), 0)


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return how long something takes."""
    start = clock()
    work()
    return clock() - start


def middle(ratios: Sequence[float]) -> str:
    """Median and range."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def row(
    name: str, old: Callable[[bytes], object], new: Callable[[bytes], object], files: Sequence[bytes], rounds: int
) -> Iterator[tuple[str, ...]]:
    """Give for one thread, by processor time, and for all, by the clock, how many images a second both ways do."""
    for threads, clock, words in (
        (1, time.process_time, "1 thread, processor time"),
        (cpu_count(), time.perf_counter, f"{cpu_count()} threads, clock"),
    ):
        for way in (old, new):
            each(way, files[:20], threads)  # compiles, and fills caches
        took = [[seconds(partial(each, way, files, threads), clock) for way in (old, new)] for _ in range(rounds)]
        speeds = (f"{statistics.median(len(files) / pair[which] for pair in took):,.0f}" for which in (0, 1))
        yield name, words, *speeds, middle([pair[0] / pair[1] for pair in took])


def rows_of(how: Preprocessing, files: list[bytes], rounds: int) -> Iterator[tuple[str, ...]]:
    """Compare both ways to prepare images, and the resize in it."""
    differ = sum(not np.array_equal(before(file, how), now(file, how)) for file in files)
    print(f"{how.resize}: {differ} of {len(files)} squares differ from Pillow's")
    yield from row(f"all, {how.resize}", lambda file: before(file, how), lambda file: now(file, how), files, rounds)
    some = {file: decode_before(file) for file in files[:100]}
    padded = {file: np.dstack([image, image[..., :1]])[..., :3] for file, image in some.items()}  # as it is decoded
    ways = lambda file: square_before(some[file], how), lambda file: how.square(padded[file])
    yield from row(f"resize, {how.resize}", *ways, [*some] * (len(files) // len(some)), rounds)


def preparing(files: list[bytes], rounds: int) -> None:
    """Print the first part."""
    rows = [*rows_of(SQUASH, files, rounds), *rows_of(CROP, files, rounds)]
    rows += row("decode", decode_before, lambda file: decode(file, "it"), files, rounds)
    headings = ("step", "measured by", "before, img/s", "now, img/s", "times as fast")
    print(f"\n{tabulate(rows, headings, tablefmt='pipe', disable_numparse=True)}\n")


def folder_of(files: Sequence[bytes], folder: Path) -> Examples:
    """Write the files as a folder of ten classes, and return all of its images."""
    for number, file in enumerate(files):
        place = folder / f"class {number % 10}" / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file)
    return Examples.joined([*load_task(str(folder)).splits.values()])


def networks() -> dict[str, Backbone]:
    """Five networks at 64 px, three pretrained and two not."""
    cards = {name: names.card(name) for name in NANOS}
    return {name: backbone.load(card, card.preprocessing, CPU) for name, card in cards.items()}


def extracted(models: dict[str, Backbone], examples: Examples) -> None:
    """Compute the features of all models, as a run does, into a cache of their own."""
    with tempfile.TemporaryDirectory() as folder:
        caches = [
            CachedFeatures(
                Network(name, model.preprocessing, "fp32"),
                Path(folder),
                load=lambda model=model: model,
                computer=Computer(BATCH, "here", {"device": "cpu"}),
            )
            for name, model in models.items()
        ]
        squares = Squares(caches[0].network.preprocessing, BATCH, Path(folder), print)
        filling.fill(caches, [examples], squares, lambda: 1)
        if failures := [cache.failure for cache in caches if cache.failure]:
            raise failures[0]


def bare(models: Sequence[Backbone], tensors: list[torch.Tensor]) -> None:
    """Let tensors that are ready go through networks."""
    with torch.inference_mode():
        for images in tensors:
            for model in models:
                model.network(images)


def sharing(files: list[bytes], rounds: int) -> None:
    """Print the second part."""
    models = networks()
    with tempfile.TemporaryDirectory() as folder:
        examples = folder_of(files, Path(folder))
        first = next(iter(models.values()))
        tensors = [
            normalise_(torch.from_numpy(squares).permute(0, 3, 1, 2).float(), first.preprocessing)
            for squares in batches(examples, first.preprocessing, BATCH)
        ]
        rows = []
        for clock, words in ((time.process_time, "processor time"), (time.perf_counter, "clock")):
            took = []
            for _ in range(rounds):
                five = seconds(lambda: extracted(models, examples), clock)
                one = sum(seconds(lambda n=n, m=m: extracted({n: m}, examples), clock) for n, m in models.items())
                passes = seconds(lambda: bare([*models.values()], tensors), clock)
                took.append((five, one / len(models), passes / len(models)))
            medians = (f"{statistics.median(column):.2f}" for column in zip(*took, strict=True))
            ratios = [five / (one + 4 * passes) for five, one, passes in took]
            apart = [5 * one / five for five, one, _ in took]
            rows.append((words, *medians, middle(ratios), middle(apart)))
    headings = (
        "measured by",
        "five, s",
        "one, mean, s",
        "bare pass, mean, s",
        "five / (one + 4 passes)",
        "five runs / one",
    )
    print(tabulate(rows, headings, tablefmt="pipe", disable_numparse=True))


def main() -> None:
    """Print both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--part", choices=["prepare", "models"])
    options = parser.parse_args()
    files = jpegs(options.images)
    size = statistics.mean(map(len, files)) / 1000
    ways = f"{jpeg.decoder()}, {'compiled loops' if resampling._loops() else 'Pillow'}"
    print(f"{machine.processor()}, {len(files)} JPEGs of {size:.0f} kB, {ways}, torch {torch.__version__}\n")
    if options.part != "models":
        preparing(files, options.rounds)
    if options.part != "prepare":
        sharing(files, options.rounds)


if __name__ == "__main__":
    main()
