"""What benchmarks/gpu.py measures, part by part: each gives its figures as it has them."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from finetune import TRAINING_FLOPS, measure
from gpu_place import Figure, Figures, Place
from torch import Tensor, nn

from mixer_bench.models.backbone import Backbone, Waiting
from mixer_bench.models.device import autocast, device_name, exact_fp32
from mixer_bench.models.matrices import Resizer
from mixer_bench.profile import profile
from mixer_bench.profile.speed import Effort, matmul_peak, seconds
from mixer_bench.runs.features import CachedFeatures, Computer, Network
from mixer_bench.runs.squares import batches, send
from mixer_bench.training import momentum
from mixer_bench.training.checkpoint import Progress
from mixer_bench.training.loop import Batch, Loop, Schedule, _step
from mixer_bench.training.settings import Config

WORKERS = 16  # of the plain loop
# Operations a second of dense bf16 products by NVIDIA's data sheets; of other cards the measured ones count.
NOMINAL = {"H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "H200": 989e12, "A100": 312e12}


def tests(place: Place) -> Figures:
    """Run the tests that need a GPU."""
    folder = Path(__file__).parents[1] / "tests"
    files = [str(file) for file in folder.rglob("test_*.py") if "mark.gpu" in file.read_text(encoding="utf-8")]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(*done.stdout.splitlines()[-12:], sep="\n")
    if done.returncode not in (0, 5):  # 5: none was collected
        raise RuntimeError(f"pytest -m gpu ended with {done.returncode}: {(done.stdout + done.stderr)[-300:]}")
    yield Figure("tests marked gpu that failed", 0.0, least=0.0)
    yield Figure("large matrix products", matmul_peak(place.device, place.precision) / 1e12, "TFLOP/s")


def decoding(place: Place) -> Figures:
    """Measure how many images a second are prepared without a network, resized by the processors and by the device."""
    what = f"JPEG of {place.size[0]} x {place.size[1]} px prepared"
    yield Figure(f"{what} by processors alone", _prepared(place, None), "images/s")
    yield Figure(f"{what}, resized on the device", _prepared(place, place.resizer), "images/s")


def _prepared(place: Place, resizer: Resizer | None) -> float:
    next(batches(place.examples, place.preprocessing, place.batch, 0, resizer))  # what is made once is made
    start = time.perf_counter()
    for squares in batches(place.examples, place.preprocessing, place.batch, 2, resizer):
        last = squares
    if isinstance(last, Tensor):
        last.sum().item()  # waits for the device
    return len(place.examples) / (time.perf_counter() - start)


def resizing(place: Place) -> Figures:
    """Compare the device's resize with Pillow's on images of odd sizes."""
    generator, differ, values = np.random.default_rng(3), 0, 0
    for number in range(40):
        height, width = (int(side) for side in generator.integers(1, 1200 if number < 4 else 300, 2))
        image = generator.integers(0, 256, (height, width, 3), np.uint8)
        square = place.preprocessing.square(image)
        differ += int((place.resizer([image])[0].cpu().numpy() != square).sum())
        values += square.size
    if differ:
        raise RuntimeError(f"{differ} of {values} values differ from Pillow's")
    yield Figure("resized on the device: values compared with Pillow's, none differs", values)


def bare(model: Backbone, place: Place, layout: torch.memory_format | None = None) -> float:
    """Return images a second of the forward pass alone, of images on the device; ``layout``: another than it has."""
    side = place.preprocessing.resolution
    images = torch.randn((place.batch, 3, side, side), device=place.device)
    network = model.network if layout is None else copy.deepcopy(model.network).to(memory_format=layout)
    with torch.inference_mode(), exact_fp32(), autocast(place.device, place.precision):
        # As squares are laid out that are turned into images.
        work = functools.partial(network, images.clone(memory_format=layout or torch.channels_last))
        once = min(seconds(place.device, work) for _ in range(4))
        passes = max(2, int(place.seconds / once))
        return place.batch * passes / seconds(place.device, work, passes)


def from_squares(model: Backbone, place: Place, longer: float = 1.0) -> float:
    """Return images a second of extraction from squares in the host's memory."""
    squares, begun, images = place.squares(place.batch), deque[Waiting](), 0
    model.features(squares)
    start = time.perf_counter()
    while time.perf_counter() < start + longer * place.seconds:
        begun.append(model.begin(squares))
        if len(begun) > model.overlaps:
            images += len(begun.popleft()()[0])
    images += sum(len(wait()[0]) for wait in begun)
    return images / (time.perf_counter() - start)


def from_files(models: list[Backbone], place: Place) -> float:
    """Return the seconds that extraction from the files takes, for all models together."""
    caches = []
    for number, model in enumerate(models):
        network = Network(str(number), place.preprocessing, place.precision)
        computer = Computer(place.batch, "", {})
        caches.append(CachedFeatures(network, place.folder, load=lambda m=model: m, computer=computer, fresh=True))
        caches[-1].load()
    start = time.perf_counter()
    squares = batches(place.examples, place.preprocessing, place.batch, caches[0].ahead, place.resizer)
    send(squares, [cache.computing(place.examples) for cache in caches])
    took = time.perf_counter() - start
    for cache in caches:
        if cache.failure is not None:
            raise cache.failure
    return took


def extraction(place: Place, compiled: bool) -> Figures:
    """Measure extraction beside the bare forward pass."""
    how, limit = "compiled" if compiled else "eager", _prepared(place, place.resizer)
    for number, name in enumerate(place.models):
        model = place.load(name, compiled)
        squares, forward = from_squares(model, place), bare(model, place)
        least = 15_000.0 if compiled and not number else None
        yield Figure(f"{name}, {how}: forward pass alone", forward, "images/s")
        if not compiled and name.startswith("resnet"):  # is the rule of mixer_bench.models.device.placed right?
            rows = bare(model, place, torch.contiguous_format)
            yield Figure(f"{name}, {how}: forward pass alone, channels first", rows, "images/s")
        yield Figure(f"{name}, {how}: extraction from decoded squares", squares, "images/s", least)
        yield Figure(f"{name}, {how}: of the forward pass alone", squares / forward, "", 0.9 if compiled else None)
        files = len(place.examples) / from_files([model], place)
        yield Figure(f"{name}, {how}: extraction from JPEG files", files, "images/s")
        yield Figure(f"{name}, {how}: of the slower of decoding and forward pass", files / min(limit, forward))


def five(place: Place) -> Figures:
    """Measure five models over the same files together and one by one, and a plain loop of timm."""
    models = [place.load(name) for name in list(itertools.islice(itertools.cycle(place.models), 5))]
    for model in models:
        model.features(place.squares(place.batch))
    together, single = from_files(models, place), [from_files([model], place) for model in models]
    forward = sum(len(place.examples) / bare(model, place) for model in models[1:])
    yield Figure("5 models over the files together", together, "s")
    yield Figure("5 single runs: so many times as long", sum(single) / together)
    yield Figure("5 together: of one and 4 bare forward passes", together / (single[0] + forward))
    plain = plain_loop(models[0], place)
    yield Figure(f"plain loop, DataLoader of {WORKERS} workers, one model", len(place.examples) / plain, "images/s")
    yield Figure("one model: ahead of the plain loop", plain / single[0], "times", 2.0)
    others = sum(plain_loop(model, place) for model in models[1:])
    yield Figure("five models: ahead of the plain loop", (plain + others) / together, "times", 4.0)


def plain_loop(model: Backbone, place: Place) -> float:
    """Return the seconds of what users of timm write: ImageFolder, DataLoader, autocast, features to the host."""
    from timm.data import create_transform
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    side, gpu = place.preprocessing.resolution, place.device.type == "cuda"
    images = ImageFolder(str(place.folder / "images"), create_transform((3, side, side), crop_mode="squash"))
    assert len(images) == len(place.examples)
    workers = WORKERS if gpu else 0
    loader = DataLoader(images, place.batch, num_workers=workers, pin_memory=gpu, persistent_workers=workers > 0)
    for _ in range(1 + gpu):  # the second time the workers are there
        start = time.perf_counter()
        with torch.inference_mode(), autocast(place.device, place.precision):
            features = [model.network(batch.to(place.device, non_blocking=True)).float().cpu() for batch, _ in loader]
        took = time.perf_counter() - start
    assert sum(map(len, features)) == len(images)
    return took


def training(place: Place, compiled: bool) -> Figures:
    """Measure a training step beside the bare one, and the share of the device's arithmetic that it uses."""
    how = "compiled" if compiled else "eager"
    (job, *_), _ = profile.jobs(place.models[:1])
    taken = measure(job.model, place.device, place.precision, place.training_batch, 6, compiled)
    step, ratio = (statistics.median(values) for values in zip(*((s, s / b) for s, b in taken), strict=True))
    reached = TRAINING_FLOPS * profile.count(job).flops * place.training_batch / step
    what = f"training {job.model}, batch {place.training_batch}, {place.precision}, {how}"
    yield Figure(f"{what}: step", place.training_batch / step, "images/s")
    yield Figure(f"{what}: of the bare step", 1 / ratio)
    yield Figure(f"{what}: arithmetic", reached / 1e12, "TFLOP/s")
    measured = matmul_peak(place.device, place.precision)
    card = device_name(place.device)
    nominal = next((peak for name, peak in NOMINAL.items() if name in card), measured)
    yield Figure(f"{what}: of large matrix products", 100 * reached / measured, "%")
    yield Figure(
        f"{what}: MFU, of {nominal / 1e12:.3g} TFLOP/s", 100 * reached / nominal, "%", 45.0 if compiled else None
    )


@contextlib.contextmanager
def little_memory(network: nn.Module, place: Place, left: int) -> Iterator[None]:
    """Leave a GPU so many bytes more than it holds; elsewhere let more than half a batch find no memory."""

    def refuse(_network: nn.Module, images: tuple[Tensor, ...]) -> None:
        if len(images[0]) > place.batch // 2:
            raise torch.OutOfMemoryError("out of memory, as it is pretended")

    with contextlib.ExitStack() as held:
        if place.device.type == "cuda":
            torch.cuda.empty_cache()
            total = torch.cuda.get_device_properties(place.device).total_memory
            share = (torch.cuda.memory_reserved(place.device) + left) / total
            torch.cuda.set_per_process_memory_fraction(share, place.device)
            held.callback(torch.cuda.set_per_process_memory_fraction, 1.0, place.device)
        else:
            held.callback(network.register_forward_pre_hook(refuse).remove)
        yield


def memory(place: Place) -> Figures:
    """Let memory run out in extraction and in training, and compare with what comes out where it does not."""
    count = place.batch * (8 if place.device.type == "cuda" else 1)
    squares, model = place.squares(count), place.load(place.models[0])
    expected = np.concatenate([model.features(part) for part in np.split(squares, 8)])
    model._inputs = torch.empty(0)
    with little_memory(model.network, place, 1 << 29):
        features = model.features(squares)
    if not any(note.startswith("memory ran out") for note in model.notes):
        raise RuntimeError("memory did not run out")
    yield Figure("memory ran out: features off by", _off(features, expected))
    (whole, _), (halves, micro) = (_stepped(place, little) for little in (False, True))
    if micro is None:
        raise RuntimeError("memory did not run out in training")
    yield Figure("memory ran out in a training step: images at once", float(micro))
    yield Figure("memory ran out in a training step: weights off by", _off(halves, whole))


def _off(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def _stepped(place: Place, little: bool) -> tuple[np.ndarray, int | None]:
    """Return how much the weights moved in one step, and in how many images at once that was done."""
    model = place.load(place.models[0]).network.requires_grad_(requires_grad=True).train()
    side, count, progress = place.preprocessing.resolution, place.batch, Progress()
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn((count, 3, side, side), generator=generator), torch.arange(count) % 9
    before = torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).cpu()
    optimizer = momentum.sgd(model, Config(learning_rates=(0.1,)), 0.1)

    def part_of(_step: int, part: int, parts: int) -> Batch:
        return tuple(whole.tensor_split(parts)[part].to(place.device) for whole in (images, labels))  # type: ignore[return-value]

    with little_memory(model, place, 1 << 31) if little else contextlib.nullcontext():
        loop = Loop(Schedule(0.1, 1, 0, "linear"), 1.0, place.precision, batch_size=count)
        _step(model, optimizer, part_of, loop, progress)
    after = torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).cpu()
    return (after - before).numpy(), progress.micro


def two_processes(place: Place, command: list[str]) -> Figures:
    """Let two processes extract on one GPU at once; ``command`` starts one, which prints its images a second."""
    start: Callable[[], subprocess.Popen[str]] = functools.partial(
        subprocess.Popen, [*command, "--alone"], stdout=subprocess.PIPE, text=True
    )
    speeds = []
    for count in (1, 2):
        running = [start() for _ in range(count)]
        told = [process.communicate()[0] for process in running]
        if any(process.returncode for process in running):
            raise RuntimeError(f"of {count} processes one ended with {[process.returncode for process in running]}")
        speeds.append(sum(float(text.splitlines()[-1]) for text in told))
    yield Figure(f"two processes on one {place.device.type}: of one's images/s", speeds[1] / speeds[0])


def profiles(place: Place, compiled: bool) -> Figures:
    """Profile the models at one batch size."""
    effort = Effort(repeats=3, latency_repeats=(10, 20))
    where = profile.Machine(place.device, place.precision, effort, compiled)
    for job in profile.jobs(place.models)[0]:
        measured = profile.measure(job, where, [place.batch])
        what = f"profile {job.model}, {measured.networks}"
        yield Figure(f"{what}: batch {place.batch}", measured.throughput, "images/s")
        yield Figure(f"{what}: latency of one image", measured.latency_ms.median, "ms")
