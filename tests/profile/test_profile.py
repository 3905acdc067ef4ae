"""Profiles: the sweep on fake networks, FLOPs and parameters by formula, records, and the verb end to end."""

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mixer_bench.cli import app
from mixer_bench.errors import UsageError
from mixer_bench.models import compiling, device, names
from mixer_bench.profile import profile, speed, table
from mixer_bench.profile.speed import PeakMemory, Stopwatch, sweep
from mixer_bench.results.profiles import Batch, Profile
from mixer_bench.results.store import Store
from tests.builders import a_profile, resealed

QUICK = functools.partial(
    profile.Effort, warmup=1, repeats=2, repeat_seconds=0.0, latency_repeats=(2, 2), latency_seconds=0.0
)
CPU = torch.device("cpu")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Little effort: what the verb does is tested, not how fast this machine is."""
    monkeypatch.setattr(profile, "Effort", QUICK)
    monkeypatch.setattr(speed, "LARGEST", speed.SMALLEST)
    monkeypatch.setattr(speed.gc, "collect", lambda *_: 0)  # over all that tests have loaded it takes the most time
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine two threads wait for each other most of the time
    yield
    torch.set_num_threads(threads)


def timed(speeds: dict[int, float], spread: float = 0.0, fault: RuntimeError | None = None):
    """A network of known speeds; at other batch sizes ``fault`` is raised. Also what was tried."""
    tried: list[int] = []

    def at(batch: int) -> Batch:
        tried.append(batch)
        if batch not in speeds:
            raise fault or AssertionError(f"batch {batch} must not be tried")
        median = speeds[batch]
        quartiles = (median - spread, median + spread)
        return Batch(batch=batch, images_per_second=median, quartiles=quartiles, peak_memory=None)

    return at, tried


@pytest.mark.parametrize(
    ("speeds", "spread", "sizes", "end", "tried"),
    [
        ({size: 1000.0 * (1 + size) for size in speed.BATCH_SIZES}, 0, None, "sizes", [2**n for n in range(13)]),
        ({1: 100.0, 2: 90.0, 4: 200.0, 8: 190.0, 16: 195.0}, 0, None, "fell", [1, 2, 4, 8, 16]),
        ({1: 100.0, 2: 98.0, 4: 97.0, 8: 101.0, 16: 80.0, 32: 80.0}, 5, None, "fell", [1, 2, 4, 8, 16, 32]),
        ({1: 3.0, 2: 3.5, 4: 3.9}, 0, None, "time", [1, 2, 4]),
        ({1: 100.0, 8: 50.0, 16: 40.0, 64: 0.5}, 0, [64, 8, 1, 16, 8], "sizes", [1, 8, 16, 64]),
    ],
    ids=["never slower", "two falls in a row, not one", "a fall within the spread", "too slow", "sizes that are named"],
)
def test_where_the_sweep_ends(speeds, spread: float, sizes, end: str, tried: list[int]) -> None:
    at, seen = timed(speeds, spread)
    batches, why = sweep(at, sizes, longest_pass=1.0)
    assert (seen, why) == (tried, end)
    assert [batch.batch for batch in batches] == tried


@pytest.mark.parametrize(
    "fault", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_the_sweep_ends_where_memory_does(fault: RuntimeError) -> None:
    at, tried = timed({1: 10.0, 2: 20.0, 4: 40.0}, fault=fault)
    batches, end = sweep(at)
    assert (len(batches), end, tried[-1]) == (3, "memory", 8)
    with pytest.raises(RuntimeError, match=r"memory"):
        sweep(at, [8])


def test_other_faults_are_not_taken_for_lack_of_memory() -> None:
    at, _ = timed({1: 10.0}, fault=RuntimeError("sizes do not match"))
    with pytest.raises(RuntimeError, match="sizes do not match"):
        sweep(at)


def test_a_stopwatch_counts_passes_and_images() -> None:
    passes: list[tuple[int, ...]] = []

    class Counting(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert images.is_contiguous(memory_format=torch.channels_last)
            passes.append(tuple(images.shape))
            return images

    watch = Stopwatch(Counting(), 8, CPU, QUICK(warmup=3, repeats=4))
    batch = watch.at(5, PeakMemory(CPU))
    assert passes == [(5, 3, 8, 8)] * (1 + 3 + 4)
    assert batch.quartiles[0] <= batch.images_per_second <= batch.quartiles[1]
    passes.clear()
    assert watch.latency().repeats == 2
    assert passes == [(1, 3, 8, 8)] * (1 + 3 + 2)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process's peak")
def test_peak_memory_is_what_came_after_the_ground_level() -> None:
    memory = PeakMemory(CPU)
    torch.ones(20_000_000)  # 80 MB, and gone
    assert 70e6 < memory.bytes() < 120e6
    memory.restart()
    assert memory.bytes() < 40e6


@pytest.mark.parametrize(("gain", "expected"), [(1.2, "fp32"), (1.3, "bf16"), (8.0, "bf16")])
def test_a_cpu_computes_in_bf16_where_that_is_clearly_faster(gain: float, expected: str, monkeypatch) -> None:
    monkeypatch.setattr(speed, "matmul_peak", lambda _, precision: {"fp32": 1.0, "bf16": gain}[precision])
    assert speed.best_precision(CPU) == expected


def the_job(model: str, resolution: int | None = None, shape: str = "native") -> profile.Job:
    jobs, _ = profile.jobs([model], [resolution] if resolution else [])
    return next(job for job in jobs if job.shape == shape)


def mixer_flops(patches: int, patch: int, width: int, layers: int, tokens_mlp: int, channels_mlp: int) -> int:
    """By MLP-Mixer, section 2 and table 1, with biases and normalisation left out; a multiply-add is two."""
    embedding = patch * patch * 3 * width * patches
    block = 2 * patches * tokens_mlp * width + 2 * patches * width * channels_mlp
    return 2 * (embedding + layers * block)


def vit_flops(patches: int, patch: int, width: int, layers: int, class_token: bool) -> int:
    """By ViT, section 3.1: queries, keys, values and projection, attention twice, an MLP of four times the width."""
    tokens = patches + class_token
    embedding = patch * patch * 3 * width * patches
    block = 4 * tokens * width**2 + 2 * tokens**2 * width + 8 * tokens * width**2
    return 2 * (embedding + layers * block)


@pytest.mark.parametrize(
    ("model", "resolution", "shape", "expected"),
    [
        ("mixer_nano", None, "native", mixer_flops(64, 8, 192, 4, 96, 768)),
        ("mixer_nano", 128, "sized", mixer_flops(256, 8, 192, 4, 96, 768)),
        ("mixer_nano", 128, "widened", mixer_flops(256, 8, 192, 4, 4 * 96, 768)),
        ("mixer_s32", None, "native", mixer_flops(49, 32, 512, 8, 256, 2048)),
        ("mixer_b16", None, "native", mixer_flops(196, 16, 768, 12, 384, 3072)),
        ("mixer_b16", 448, "widened", mixer_flops(784, 16, 768, 12, 4 * 384, 3072)),
        ("vit_nano", None, "native", vit_flops(64, 8, 160, 4, class_token=False)),
        ("vit_nano", 128, "sized", vit_flops(256, 8, 160, 4, class_token=False)),
        ("vit_b16", None, "native", vit_flops(196, 16, 768, 12, class_token=True)),
    ],
)
def test_flops_are_those_of_the_formula(model: str, resolution: int | None, shape: str, expected: int) -> None:
    assert profile.count(the_job(model, resolution, shape)).flops == expected


# facts derived from MLP-Mixer, table 1: multiply-adds in 10^9 at 224 px, and at 448 px widened
@pytest.mark.parametrize(
    ("model", "giga", "giga_widened", "widened_parameters"),
    [("mixer_b16", 12.6, 67.0, 86.2e6), ("mixer_l16", 44.6, 237.4, 279.5e6)],
)
def test_the_papers_mixers_cost_what_is_known_of_them(
    model: str, giga: float, giga_widened: float, widened_parameters: float
) -> None:
    large = profile.count(the_job(model, 448, "widened"))
    assert profile.count(the_job(model)).flops / 2e9 == pytest.approx(giga, abs=0.06)
    assert large.flops / 2e9 == pytest.approx(giga_widened, abs=0.06)
    assert large.parameters == pytest.approx(widened_parameters, abs=0.05e6)


def test_patches_are_counted_and_so_is_an_attention_pool() -> None:
    counts = [profile.count(the_job("mixer_nano", *shape)) for shape in ((64, "native"), (256, "sized"))]
    assert [count.patches for count in counts] == [64, 1024]
    assert profile.count(the_job("vit_b16_siglip")).parameters == names.card("vit_b16_siglip").parameters


def test_which_shapes_are_profiled() -> None:
    jobs, outcome = profile.jobs(["mixer_nano", "vit_nano", "resnet_nano"], [64, 128])
    assert [(job.model, job.resolution, job.shape) for job in jobs] == [
        ("mixer_nano", 64, "native"),
        ("mixer_nano", 128, "sized"),
        ("mixer_nano", 128, "widened"),
        ("vit_nano", 64, "native"),
        ("vit_nano", 128, "sized"),
        ("resnet_nano", 64, "native"),
        ("resnet_nano", 128, "native"),
    ]
    assert jobs[2].architecture == names.card("mixer_nano").at(128).network
    assert (outcome.unavailable, outcome.notes) == ([], [])


def test_names_of_one_network_are_measured_once() -> None:
    jobs, outcome = profile.jobs(["random:mixer_s32", "mixer_s32", "mixer_b16", "mixer_b16_in1k"])
    assert [job.model for job in jobs] == ["mixer_s32", "mixer_b16"]
    assert outcome.notes == ["mixer_b16_in1k has the same network as mixer_b16"]
    assert [job.model for job in profile.jobs(["*_nano", "pixel*"])[0]] == ["mixer_nano", "vit_nano", "resnet_nano"]


@pytest.mark.parametrize(
    ("models", "resolutions", "said"),
    [
        (["mixer_nan"], [], "did you mean mixer_nano"),
        (["pixels"], [], "pixels has no network"),
        (["pixel*"], [], "pixels has no network"),
        ([], [], "a model must be named"),
        (["mixer_nano"], [64, 4], "--resolution 4"),
    ],
)
def test_what_cannot_be_asked_for(models: list[str], resolutions: list[int], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        profile.jobs(models, resolutions)


def test_the_key_is_what_was_measured_and_where_not_what_came_out() -> None:
    once = a_profile()
    assert once.key == "04a751dff1901b04"
    outcome = {"sweep": once.sweep[:1], "best_batch": 1, "throughput": 30.0, "model": "x"}
    assert a_profile(**outcome, created="2026-02-01T00:00:00+00:00").key == once.key
    other = {"precision": "bf16", "resolution": 448, "network": "1" * 64, "device_name": "another", "threads": 4}
    other["compiled"] = True
    assert len({once.key, *(a_profile(**{key: value}).key for key, value in other.items())}) == 7
    assert len({job.architecture.digest for job in profile.jobs(["mixer_nano"], [64, 128])[0]}) == 3


def test_a_profile_read_back_is_the_same(tmp_path: Path) -> None:
    # "disturbed" is no longer measured; profiles that tell it are read.
    once = a_profile(model="file:w.npz?arch=mixer_s32", disturbed=True)
    file = Store(tmp_path).save_profile(once)
    assert file == tmp_path / "profiles" / "file_w.npz_arch=mixer_s32" / f"224px-{once.key}.json"
    assert Store(tmp_path).profiles() == ([once], [])
    again = once.model_copy(update={"throughput": 60.0})
    assert Store(tmp_path).save_profile(again) == file
    assert Store(tmp_path).profiles() == ([again], [])


def test_of_one_network_under_two_names_the_newer_profile_counts(tmp_path: Path) -> None:
    old, new = a_profile(model="b"), a_profile(model="a", created="2026-03-01T00:00:00+00:00")
    for saved in (old, new):
        Store(tmp_path).save_profile(saved)
    assert Store(tmp_path).profiles() == ([new], [])


def test_files_that_are_no_profiles_are_named(tmp_path: Path) -> None:
    whole = a_profile()
    file = Store(tmp_path).save_profile(whole)
    values = json.loads(file.read_text())
    faults = {
        "half.json": (file.read_text()[:300], "not a whole profile"),
        "newer.json": (resealed(json.dumps({**values, "schema_version": 2})), "schema version 2; this program reads 1"),
        "renamed.json": (file.read_text(), f"has the key {whole.key}"),
        "lacking.json": (resealed(json.dumps({k: v for k, v in values.items() if k != "flops"})), "key 'flops'"),
        "list.json": ("[]", "its content is no object"),
    }
    for name, (text, _) in faults.items():
        (file.parent / name).write_text(text)
    saved, problems = Store(tmp_path).profiles()
    assert saved == [whole]
    assert len(problems) == len(faults)
    for name, (_, said) in faults.items():
        assert any(name in line and said in line for line in problems), (name, problems)
    assert Store(tmp_path / "nowhere").profiles() == ([], [])


def test_the_table_fits_and_says_how_cost_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")

    def larger(shape: str, flops: int, **changes: object) -> Profile:
        return a_profile(resolution=896, patches=784, shape=shape, flops=flops, throughput=2.5, **changes)

    small = a_profile(model="mixer_s32")
    sized = larger("sized", 16 * small.flops, model="mixer_s32")
    widened = larger("widened", 80 * small.flops, model="mixer_s32")
    other = a_profile(model="resnet_with_a_rather_long_name_in1k", patches=None)
    text = table.text(
        [small, sized, widened, other, other.model_copy(update={"resolution": 448, "flops": 4 * other.flops})]
    )
    assert max(map(len, text.splitlines())) <= 110
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    assert ["mixer_s32", "224", "18.59", "2.00", "50", "2", "33 (36.5)", "101", "10"] in rows
    assert any(row[0] == "mixer_s32 widened" for row in rows)
    assert "a processor, 2 threads, fp32, eager\n" in text
    assert "with the network: 1,000 GFLOP/s; a multiply-add is two FLOPs" in " ".join(text.split())
    assert "a larger batch might be faster" in table.text([small.model_copy(update={"sweep_end": "time"})])
    assert table.growth([small, sized, widened]) == [
        "mixer_s32, 224 to 896 px: patches x 16, FLOPs x 16.00, time an image x 20.0",
        "mixer_s32 widened, 224 to 896 px: patches x 16, FLOPs x 80.00, time an image x 20.0",
    ]
    assert "in1k, 224 to 448 px: pixels x 4, FLOPs x 4.00, time an image x 1.0" in text


def run(folder: Path, *more: str) -> int:
    return app.main(["profile", "--precision", "fp32", "--device", "cpu", "--output-dir", str(folder), *more])


@pytest.mark.usefixtures("quick")
def test_a_compiled_network_is_said_to_be_that(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    assert run(tmp_path, "--model", "random:mixer_nano", "--batch-sizes", "1", "--compile") == 0
    assert ", fp32, compiled\n" in capsys.readouterr().out
    (saved,), _ = Store(tmp_path).profiles()
    assert saved.compiled
    assert saved.key != saved.model_copy(update={"compiled": False}).key, "an eager profile stays beside it"


@pytest.mark.usefixtures("quick")
def test_the_verb_measures_and_keeps_what_it_shows(tmp_path: Path, capsys) -> None:
    assert run(tmp_path, "--model", "random:mixer_nano", "--resolution", "64,128", "--batch-sizes", "1,2") == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == f"3 profiles in {tmp_path / 'profiles'}"
    assert "mixer_nano, 64 to 128 px: patches x 4, FLOPs x 4.00" in shown
    saved, problems = Store(tmp_path).profiles()
    assert (len(saved), problems) == (3, [])
    native = next(p for p in saved if p.resolution == 64)
    card = names.card("mixer_nano")
    assert (native.model, native.network, native.shape) == ("mixer_nano", card.architecture.digest, "native")
    assert (native.parameters, native.patches, native.device) == (card.parameters, 64, "cpu")
    assert [batch.batch for batch in native.sweep] == [1, 2]
    assert (native.sweep_end, native.repeats, native.latency_ms.repeats) == ("sizes", 2, 2)
    assert native.throughput == native.best.images_per_second == max(b.images_per_second for b in native.sweep)
    assert native.utilisation == pytest.approx(native.throughput * native.flops / native.matmul_peak_flops)
    assert native.device_name == device.device_name(CPU)
    assert {"torch", "timm", "processor", "threads"} <= native.environment.keys()
    for file in (tmp_path / "profiles").rglob("*.json"):
        assert not re.search(r'"/(home|root|tmp|work|Users)', file.read_text())
        assert str(tmp_path) not in file.read_text()


@pytest.mark.usefixtures("quick")
def test_profiles_as_json_and_measured_again_in_place(tmp_path: Path, capsys) -> None:
    for _ in range(2):
        assert run(tmp_path, "--model", "vit_nano", "--batch-sizes", "2", "--json") == 0
        shown = capsys.readouterr()
        values = json.loads(shown.out)
        assert [Profile.model_validate(entry) for entry in values["profiles"]] == Store(tmp_path).profiles()[0]
        assert (values["unavailable"], shown.err) == ([], "")


@pytest.mark.usefixtures("quick")
def test_what_cannot_be_had_is_reported_and_the_others_go_on(tmp_path: Path, capsys) -> None:
    assert run(tmp_path, "--model", "mixer_nano,resnet_nano,vit_nano", "--resolution", "100", "--batch-sizes", "1") == 2
    shown = capsys.readouterr()
    assert "error: mixer_nano at 100 px: a Mixer's weights fit whole multiples of 64 px" in shown.err
    assert "error: vit_nano at 100 px: its patches" in shown.err
    assert [p.model for p in Store(tmp_path).profiles()[0]] == ["resnet_nano"]
    assert "1 profiles in" in shown.out


@pytest.mark.parametrize(
    ("fault", "code", "said", "kept"),
    [
        (KeyboardInterrupt(), 130, "", ["mixer_nano"]),
        (
            torch.OutOfMemoryError("CUDA out of memory.\nmore"),
            1,
            "error: vit_nano, 64 px on cpu: OutOfMemoryError: CUDA out of memory.\n",
            ["mixer_nano", "resnet_nano"],
        ),
    ],
    ids=["Ctrl-C keeps what is finished", "memory that is too small for one model stops no other"],
)
def test_what_breaks_off(fault, code: int, said: str, kept: list[str], tmp_path: Path, monkeypatch, capsys) -> None:
    faults = iter([None, fault, None])

    def measure(job: profile.Job, where: profile.Machine, batch_sizes: object) -> Profile:
        if (error := next(faults)) is not None:
            raise error
        return a_profile(model=job.model, network=job.architecture.digest, resolution=job.resolution)

    monkeypatch.setattr(profile, "measure", measure)
    assert run(tmp_path, "--model", "mixer_nano,vit_nano,resnet_nano") == code
    assert said in capsys.readouterr().err
    assert [p.model for p in Store(tmp_path).profiles()[0]] == kept


def test_wrong_usage_ends_before_anything_is_measured(tmp_path: Path, capsys) -> None:
    assert run(tmp_path, "--model", "mixer_nano,mixer_nan") == 2
    assert run(tmp_path, "--model", "mixer_nano", "--batch-sizes", "1,x") == 2
    assert run(tmp_path, "--model", "mixer_nano", "--batch-sizes", "0") == 2
    assert "--batch-sizes: Input should be greater than 0" in capsys.readouterr().err
    assert not (tmp_path / "profiles").exists()

    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file", "--model", "mixer_nano") == 1
    assert "cannot write results to" in capsys.readouterr().err
