"""Toy objects that stand in for backbones and tasks: small, real, without timm."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixer_bench.data.examples import Examples, TaskData
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.report import models
from mixer_bench.report.figures import draw
from mixer_bench.report.index import Index
from mixer_bench.report.models import About
from mixer_bench.report.tables import per_task
from mixer_bench.report.tables.table import Table
from mixer_bench.results.made import Made
from mixer_bench.results.profiles import Batch, Latency, Profile
from mixer_bench.results.record import Measured, Record, Run, RunCost
from mixer_bench.results.store import Predictions, Store
from mixer_bench.stats import metrics
from mixer_bench.system import code, schema
from mixer_bench.task.task import tasks
from mixer_bench.training.trainable import Point

TOY = Preprocessing(resolution=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bilinear", crop_pct=1.0)

PEAK = 1e12  # of matrix products, FLOP/s


class MeanColour:
    """A second backbone: the mean colour of each quarter of the image, 12 features."""

    preprocessing = TOY
    overlaps = False
    notes: tuple[str, ...] = ()
    deviation: float | None = None

    def __init__(self) -> None:
        self.images = 0

    def begin(self, squares: np.ndarray) -> Callable[[], tuple[np.ndarray, float]]:
        features = self.features(squares)
        return lambda: (features, 1.0)

    def features(self, squares: np.ndarray) -> np.ndarray:
        self.images += len(squares)
        quarters = squares.reshape(len(squares), 2, 4, 2, 4, 3).mean(axis=(2, 4))
        return quarters.reshape(len(squares), 12).astype(np.float32)


class Given:
    """A backbone whose features are the images' pixels, laid flat; to be trained it is one linear layer."""

    preprocessing = TOY
    device = torch.device("cpu")
    precision = "fp32"
    identity = "0" * 64
    run = "1" * 16
    notes = ()

    def __init__(self, scratch: Path | None = None) -> None:
        self._scratch = scratch
        self.said: list[str] = []
        self.points: list[Point] = []
        self.images = 0.0
        self.skipped = 0.0
        self.kept: torch.nn.Module | None = None

    @property
    def scratch(self) -> Path:
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="mixer-bench-test-"))
            weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
        return self._scratch

    def network(self, num_classes: int) -> torch.nn.Module:
        linear = torch.nn.Linear(8 * 8 * 3, num_classes)
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
        return torch.nn.Sequential(torch.nn.Flatten(), linear)

    def compiled(self, network: torch.nn.Module) -> torch.nn.Module:
        return network

    def heard(self, words: str, images: float = 0, trained: bool = True, points: Sequence[Point] = ()) -> None:
        self.said.append(words)
        self.points += points
        self.images += images
        self.skipped += 0 if trained else images

    def keep(self, network: torch.nn.Module) -> None:
        self.kept = network

    def features(self, examples: Examples) -> np.ndarray:
        return (
            np.stack([examples.images[i] for i in range(len(examples))]).reshape(len(examples), -1).astype(np.float32)
        )


def make_examples(images: np.ndarray, labels: np.ndarray, name: str) -> Examples:
    digests = tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in images)
    names = tuple(f"{name}/{index}" for index in range(len(labels)))
    return Examples(images, labels.astype(np.int64), names, digests)


def tables_of(records: Sequence[Record], about: About | None = None) -> list[Table]:
    """The tables of single tasks."""
    about = about or About()
    return per_task.build(Index(records, about, {}))


def plots_of(records: Sequence[Record], kind: str, about: About | None = None) -> list[Any]:
    """The figures of a kind (the first word of their names), as values."""
    about = about or About(models.cards_of(records))
    plots = draw.figures(Index(records, about, tasks())).plots
    return [plot for plot in plots if plot.name.split()[0] == kind]


def colours(
    counts: tuple[int, int, int] = (60, 30, 90), classes: int = 3, noise: float = 40.0, seed: int = 0
) -> TaskData:
    """Images of one noisy colour a class: separable, but not at a glance."""
    generator = np.random.default_rng(seed)
    palette = generator.uniform(60, 196, size=(classes, 3))
    splits = []
    for name, count in zip(("train", "val", "test"), counts, strict=True):
        labels = np.arange(count) % classes
        shown = palette[labels][:, None, None, :] + generator.normal(0, noise, (count, 1, 1, 3))
        images = np.clip(shown + generator.normal(0, noise, (count, 8, 8, 3)), 0, 255).astype(np.uint8)
        splits.append(make_examples(images, labels, name))
    names = tuple(f"colour {number}" for number in range(classes))
    return TaskData(*splits, class_names=names, metric="top1", source="made by the test", subset="official")


def a_run(**changes: object) -> Run:
    values = {
        "model": "toy",
        "weights": "0" * 64,
        "preprocessing": TOY,
        "task": "colours",
        "task_version": 1,
        "data": "1" * 64,
        "subset": "official",
        "limit": None,
        "metric": "top1",
        "protocol": "fewshot",
        "protocol_version": 1,
        "config": {"shots": 5, "l2": [1024.0]},
        "seed": 0,
        "precision": "fp32",
    }
    return Run.model_validate({**values, **changes})


def a_record(value: float = 0.5, run: Run | None = None, **changes: object) -> Record:
    values = {
        "run": run or a_run(),
        "metrics": {"top1": Measured(value=value, ci95=(max(0.0, value - 0.04), min(1.0, value + 0.04)))},
        "num_classes": 3,
        "n_train": 60,
        "n_val": 30,
        "n_test": 900,
        "source": "made by the test",
        "cost": RunCost(
            images=0, extract_s=0, fit_s=0.1, throughput=250.0, throughput_on="a processor, batch 64", peak_memory=1
        ),
        "code": code.installed((run or a_run()).protocol),
        "environment": {"processor": "a processor"},
        "created": "2026-01-01T00:00:00+00:00",
    }
    return Record.model_validate({**values, **changes})


MADE = Made.of(a_record())


ANSWERS, CLASSES = 600, 3


def labels_in_turn() -> np.ndarray:
    return np.arange(ANSWERS) % CLASSES


def right_of(seed: int, worse: float = 0.0) -> np.ndarray:
    """70 % right; the first so many of those that were are wrong."""
    right = np.random.default_rng(seed).permutation(ANSWERS) < 0.7 * ANSWERS
    right[np.flatnonzero(right)[: round(worse * ANSWERS)]] = False
    return right


def save_answers(folder: Path, run: Run, right: np.ndarray, label: np.ndarray | None = None) -> Path:
    """Keep a record with the predictions that are right there and its task's metric of them."""
    label = labels_in_turn() if label is None else label
    prediction, metric = np.where(right, label, (label + 1) % CLASSES), metrics.get(run.metric)
    measured = Measured(value=metric.score(prediction, label, CLASSES), ci95=(0, 1))
    record = a_record(run=run, metrics={run.metric: measured}, n_test=len(right), num_classes=CLASSES)
    return Store(folder).save(record, Predictions(label, prediction, np.ones(len(right), np.float32)))


def resealed(text: str) -> str:
    """Return the text of a file that was changed, with the checksum that goes with it now; what can have none as is."""
    try:
        values = json.loads(text)
        values.pop(schema.CHECKSUM, None)
        return json.dumps({**values, schema.CHECKSUM: schema._checksum(values)})
    except (TypeError, ValueError):  # no object, or no finite numbers
        return text


def a_profile(**changes: object) -> Profile:
    values = {
        "model": "toy",
        "network": "0" * 64,
        "shape": "native",
        "resolution": 224,
        "patches": 49,
        "precision": "fp32",
        "device": "cpu",
        "device_name": "a processor",
        "threads": 2,
        "parameters": 18_591_624,
        "flops": 2_003_828_736,
        "sweep": (
            Batch(batch=1, images_per_second=30.0, quartiles=(29.0, 31.0), peak_memory=97_000_000),
            Batch(batch=2, images_per_second=50.0, quartiles=(49.0, 51.0), peak_memory=101_000_000),
        ),
        "sweep_end": "sizes",
        "best_batch": 2,
        "throughput": 50.0,
        "latency_ms": Latency(median=33.0, p95=36.5, repeats=100),
        "matmul_peak_flops": PEAK,
        "utilisation": 50.0 * 2_003_828_736 / PEAK,
        "disturbed": False,
        "warmup": 3,
        "repeats": 7,
        "repeat_seconds": 0.1,
        "environment": {"processor": "a processor"},
        "created": "2026-01-01T00:00:00+00:00",
    }
    return Profile.model_validate({**values, **changes})


def install(site: Path, package: str, group: str, points: Mapping[str, str]) -> None:
    """Leave in ``site`` what pip would of a package, version 1.0, that adds entry points to a group."""
    information = site / f"{package}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (information / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")


def set_flags(*settings: str) -> list[str]:
    """Flags for settings, "key=value"; of a key that stands twice the last counts, as the command would not take it."""
    chosen = dict(setting.split("=", 1) for setting in settings)
    return [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
