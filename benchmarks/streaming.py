"""A folder of ImageNet's size through the whole path in bounded memory: listed, ordered, hashed, extracted.

    python benchmarks/streaming.py [--images 1281167] [--folder /tmp/...]

The tree is synthetic: ImageNet's layout and names, each file a hard link to one of some hundred clipart images. Each
size runs in a process of its own, so that its peak memory is its own. "Extraction" decodes and resizes every image,
computes 12 numbers of it in place of a network, whose speed is not the question here, and writes them to disk.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from mixer_bench import data
from mixer_bench.data.readers import embedded
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.runs.features import CachedFeatures, Computer, Network
from mixer_bench.system import machine
from mixer_bench.task.sources import EmbeddedSource
from mixer_bench.task.task import Task, tasks

CLASSES = 1000
LINKS = 30_000  # to one file: a file system allows 65,000
SMALL = Preprocessing(resolution=32, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", crop_pct=0.875)


class Quarters:
    """Stands in for a network: the mean colour of each quarter of the image, 12 features."""

    preprocessing = SMALL
    overlaps = False

    def begin(self, squares: np.ndarray) -> Callable[[], tuple[np.ndarray, float]]:
        """Compute features; nothing is left to wait for."""
        features = self.features(squares)
        return lambda: (features, 1.0)

    def features(self, squares: np.ndarray) -> np.ndarray:
        """Uint8 [N, 32, 32, 3] to float32 [N, 12]."""
        return squares.reshape(len(squares), 2, 16, 2, 16, 3).mean(axis=(2, 4)).reshape(-1, 12).astype(np.float32)


def make_tree(root: Path, train: int, val: int) -> None:
    """``imagenet/{train,val}/<wnid>/`` below ``root``."""
    rows = embedded.read(EmbeddedSource(kind="embedded", folder="clipart"), root).splits["train"]
    (root / "pool").mkdir(parents=True)
    pool = []
    for index in range(max(100, (train + val) // LINKS + 1)):
        file = root / "pool" / f"{index}.png"
        file.write_bytes(rows.content(index))
        pool.append(str(file))
    for split, count in (("train", train), ("val", val)):
        for label in range(CLASSES):
            folder = f"{root}/imagenet/{split}/n{label:08}"
            Path(folder).mkdir(parents=True)
            for number in range(label, count, CLASSES):
                name = f"n{label:08}_{number}.JPEG" if split == "train" else f"ILSVRC2012_val_{number + 1:08}.JPEG"
                os.link(pool[number % len(pool)], f"{folder}/{name}")


def the_task(train: int, val: int) -> Task:
    """The task file ``imagenet`` with other sizes."""
    whole = tasks()["imagenet"].model_dump()
    cut = round(train * 0.99)
    sizes = {"train": cut, "val": train - cut, "test": val}
    return Task.model_validate({**whole, "real_labels": False, "sizes": sizes, "source": whole["source"][:1]})


def peak() -> int:
    """This process's peak memory so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(root: Path, train: int, val: int) -> dict[str, float]:
    """Seconds and peak memory of each step, in this process."""
    found: dict[str, float] = {"before": peak()}

    def timed(step: str, work: Callable[[], object]) -> object:
        start = time.perf_counter()
        result = work()
        found[f"{step} s"], found[step] = time.perf_counter() - start, peak()
        return result

    loaded = timed("listing", lambda: data.load(the_task(train, val), root))
    assert isinstance(loaded, data.TaskData)
    features = CachedFeatures(
        Network("none", SMALL, "fp32"), root / "cache", load=Quarters, computer=Computer(64, "cpu", {})
    )
    timed("extraction", lambda: [features.features(examples).shape for examples in loaded.splits.values()])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_281_167, help="of train; val has a 25th of it")
    parser.add_argument("--folder", type=Path, help="where to make the tree [default: a temporary folder]")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.images, options.images // 25)))
        return
    rows = []
    for share in (16, 4, 1):
        train = options.images // share
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            make_tree(Path(folder), train, train // 25)
            command = [sys.executable, __file__, "--images", str(train), "--measure", folder]
            variables = {**os.environ, "MIXER_BENCH_CACHE": f"{folder}/cache"}
            told = subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(told)
        count = train + train // 25
        rows.append(
            (
                f"{count:,}",
                f"{found['before'] / 1e6:.0f}",
                f"{found['listing'] / 1e6:.0f}",
                f"{found['extraction'] / 1e6:.0f}",
                f"{(found['extraction'] - found['before']) / count:.0f}",
                f"{count / found['listing s']:,.0f}",
                f"{count / found['extraction s']:,.0f}",
            )
        )
    print(f"{machine.processor()}, {torch.get_num_threads()} threads\n")
    headings = ("images", "before, MB", "listed, MB", "extracted, MB", "bytes an image", "listed/s", "extracted/s")
    print(tabulate(rows, headings, tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    main()
