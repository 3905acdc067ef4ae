"""What a request will take is known before anything of it is done: images, FLOPs, time, and what must be fetched."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch

from mixer_bench.cli import app
from mixer_bench.errors import DataError
from mixer_bench.executors import driver
from mixer_bench.models import names
from mixer_bench.models.device import device_name
from mixer_bench.results.store import Store
from mixer_bench.runs import budget, cost, speeds
from mixer_bench.runs.forecast import Forecast
from mixer_bench.runs.options import Options, seconds_of
from mixer_bench.runs.request import request
from mixer_bench.runs.speeds import Measured, Speeds
from mixer_bench.runs.variants import rates_of, variants_of
from mixer_bench.system import network
from mixer_bench.system.config_file import resolved
from mixer_bench.task.task import tasks
from tests.builders import a_profile

NANOS = ("mixer_nano", "vit_nano", "resnet_nano")
FORWARD, STEP, IMAGE, MADD = 0.002, 0.01, 0.001, 1e-12  # seconds


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of known speed."""
    monkeypatch.setattr(
        Speeds, "image", lambda _self, _card, _precision, trains: Measured(STEP if trains else FORWARD, "by hand")
    )
    monkeypatch.setattr(Speeds, "preparing", lambda *_: IMAGE)
    monkeypatch.setattr(Speeds, "arithmetic", MADD)


def foretold(tmp_path: Path, **asked: object) -> Forecast:
    values = {"task": "clipart", "model": NANOS, "protocol": "knn", "device": "cpu", "output_dir": tmp_path, **asked}
    return driver.foretell(Options.model_validate(values), quiet=True)


def test_time_is_images_through_networks_decoded_once_for_all_that_see_equal_squares(tmp_path: Path, speed) -> None:
    told = foretold(tmp_path, protocol=("knn", "fewshot"), shots=(1, 5), seeds=2)
    images = 500 + 125 + 642
    assert [(piece.model, piece.runs, piece.work.extracted) for piece in told.pieces] == [(n, 5, images) for n in NANOS]
    assert [piece.flops for piece in told.pieces] == [images * cost.counted(names.card(name)).flops for name in NANOS]
    assert told.pieces[0].seconds == pytest.approx(images * (FORWARD + IMAGE), abs=0.3)
    assert told.pieces[1].seconds == pytest.approx(images * FORWARD, abs=0.3)


def test_a_training_is_its_search_once_its_seeds_and_its_look_at_test(tmp_path: Path, speed) -> None:
    settings = {"steps": 50, "batch_size": 20, "warmup": 5}
    (piece,) = foretold(tmp_path, model="mixer_nano", protocol="finetune", settings=settings, seeds=2).pieces
    assert piece.work == (0, (4 + 2) * 50 * 20, 2 * 642)
    assert piece.seconds == pytest.approx(6000 * STEP + 2 * 642 * FORWARD + 1267 * IMAGE, abs=0.3)
    (cheaper,) = foretold(
        tmp_path, model="mixer_nano", protocol="finetune", settings={**settings, "search": "halving"}, seeds=2
    ).pieces
    assert cheaper.work.trained == (4 * 13 + 2 * 12 + 2 * 50) * 20


@pytest.mark.parametrize("width", [80, 120, 160])
def test_the_table_fits_its_terminal(tmp_path: Path, speed, width: int, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    command = ["run", "--task", "embedded", "--model", ",".join(NANOS), "--dry-run", "--device", "cpu"]
    assert app.main([*command, "--output-dir", str(tmp_path)]) == 0
    shown = capsys.readouterr().err
    assert max(map(len, shown.splitlines())) <= width
    assert re.search(r"clipart +mixer_nano +finetune +3 +1,926 +1,792,000 +939 T +5\.0 h\n", shown)
    assert "speed by hand: mixer_nano, vit_nano, resnet_nano\n" in shown
    assert "90 runs asked for, 90 to do: about 29.9 h on " in " ".join(shown.split())
    assert not (tmp_path / "runs").exists()


def test_what_is_there_is_told_and_not_counted(tmp_path: Path, speed, capsys) -> None:
    command = ["run", "--task", "digits", "--limit", "30", "--model", "pixels", "--device", "cpu"]
    command += ["--output-dir", str(tmp_path), "--protocol"]
    assert app.main([*command, "knn"]) == 0
    capsys.readouterr()
    assert app.main([*command, "knn,linear", "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["asked"], told["missing"], told["images_with_features"]) == (2, 1, 90)
    assert [(cell["protocols"], cell["work"]["extracted"]) for cell in told["cells"]] == [(["linear"], 0)]
    assert app.main([*command, "knn", "--dry-run", "--fresh"]) == 0
    assert "features" not in capsys.readouterr().err, "a fresh run computes them again"


def test_the_corpus_is_every_task_of_papers_and_the_package_by_every_card(tmp_path: Path, speed, capsys) -> None:
    file = Path(__file__).parents[2] / "benchmarks" / "corpus.toml"
    whole = request(resolved(Options, {}, file)[0])
    assert {task.name for task in whole.tasks} == {name for name, task in tasks().items() if "shifted" not in task.tags}
    assert {card.name for card in whole.cards} == set(names.matching(["*"]))
    command = ["run", "--config", str(file), "--task", "embedded", "--model", "*_nano,pixels", "--dry-run", "--offline"]
    assert app.main([*command, "--output-dir", str(tmp_path)]) == 0
    runs = 2 * (4 * (4 * 5 + 1 + 1) + 3 * 5)
    assert f"{runs} runs asked for, {runs} to do: about" in capsys.readouterr().err


def test_what_must_be_fetched_is_named_and_not_fetched(tmp_path: Path, speed, capsys) -> None:
    command = ["run", "--task", "clipart,vtab/pets", "--model", "mixer_b16,mixer_nano", "--protocol", "knn"]
    command += ["--dry-run", "--device", "cpu", "--data-dir", str(tmp_path), "--output-dir", str(tmp_path)]
    assert app.main(command) == 0
    shown = capsys.readouterr().err
    assert "to fetch: weights of mixer_b16, about 236.4 MB\n" in shown, "59.1 million numbers of four bytes"
    assert "to fetch: images of vtab/pets (timm/oxford-iiit-pet), size not known\n" in shown
    assert "4 runs asked for, 4 to do" in shown
    assert re.search(r"vtab/pets +mixer_b16 +knn +1 +4,669 +- +118 T ", shown), "800 + 200 + 3,669, by its task file"
    assert app.main([*command, "--offline"]) == 3
    shown = capsys.readouterr().err
    assert "to fetch" not in shown
    assert "error: mixer_b16: hf-hub:" in shown


def test_what_is_wrong_is_said_and_the_rest_foretold(tmp_path: Path, monkeypatch, quick_speeds) -> None:
    told = foretold(tmp_path, model=("mixer_b16", "vit_nano"), resolution=96)
    assert [str(error).partition(":")[0] for error in told.unavailable] == ["mixer_b16 at 96 px"], "nothing to fetch"

    def damaged(*_: object) -> float:
        raise DataError("1.png: damaged")

    monkeypatch.setattr(Speeds, "preparing", damaged)
    told = foretold(tmp_path, model="pixels")
    assert [piece.runs for piece in told.pieces] == [1]
    assert told.remarks == ("how long decoding takes is not known, and runs will fail: 1.png: damaged",)


def test_nothing_is_fetched_in_a_block_and_again_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with network.unused():
        assert network.offline()
    assert not network.offline()


def test_a_speed_is_of_the_profile_of_this_device_else_of_batches_here(tmp_path: Path, quick_speeds) -> None:
    cpu, card = torch.device("cpu"), names.card("mixer_nano")
    here = {"device_name": device_name(cpu), "threads": torch.get_num_threads(), "resolution": 64}
    for threads, throughput in ((here["threads"], 400.0), (here["threads"] + 1, 900.0)):
        values = {"network": card.architecture.digest, **here, "threads": threads, "throughput": throughput}
        Store(tmp_path).save_profile(a_profile(**values))
    Store(tmp_path).save_profile(a_profile(**{**values, **here, "compiled": True, "throughput": 700.0}))
    known = Speeds(cpu, Store(tmp_path))
    assert known.image(card, "fp32", trains=False)[:2] == (1 / 400, "measured by profile")
    assert Speeds(cpu, Store(tmp_path), compiled=True).image(card, "fp32", trains=False).seconds == 1 / 700
    step = known.image(card, "fp32", trains=True)
    assert re.fullmatch(r"by (1 batch|\d+ batches) here", step.how)
    assert known.image(card, "fp32", trains=True) is not None
    assert re.fullmatch(r"by (1 batch|\d+ batches) here", known.image(names.card("vit_nano"), "fp32", trains=False).how)


def test_once_patience_is_over_networks_go_by_their_flops(tmp_path: Path, quick_speeds, monkeypatch) -> None:
    known = Speeds(torch.device("cpu"), Store(tmp_path))
    nano, large = names.card("vit_nano"), names.card("vit_b16")
    first = known.image(nano, "fp32", trains=False)
    monkeypatch.setattr(known, "_left", 0.0)
    second = known.image(large, "fp32", trains=False)
    assert second.how == "by FLOPs from vit_nano's speed"
    assert second.seconds / first.seconds == pytest.approx(cost.counted(large).flops / cost.counted(nano).flops)
    alone = Speeds(torch.device("cpu"), Store(tmp_path))
    monkeypatch.setattr(alone, "_left", 0.0)
    assert alone.image(large, "fp32", trains=False).how == f"by FLOPs from {speeds.USUAL}'s speed"


def test_a_network_that_does_not_fit_into_memory_goes_by_its_flops(tmp_path: Path, quick_speeds, monkeypatch) -> None:
    known, timed = Speeds(torch.device("cpu"), Store(tmp_path)), Speeds._timed

    def full(self: Speeds, card: object, *rest: object) -> object:
        if card is large:
            raise torch.OutOfMemoryError("no")
        return timed(self, card, *rest)

    large = names.card("vit_b16")
    monkeypatch.setattr(Speeds, "_timed", full)
    assert known.image(large, "fp32", trains=True).how == "by FLOPs from mixer_nano's speed"


# --- a budget


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("90m", 5400), ("8h", 28800), ("2d", 172800), ("1.5h", 5400)]
)
def test_a_budget_is_a_time(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("wrong", ["8x", "-1h", "0h", "8", "h", "1e3s", "8 h", "nan h"])
def test_a_budget_that_is_no_time_is_one_line(tmp_path: Path, wrong: str, capsys) -> None:
    command = ["run", "--task", "digits", "--model", "pixels", "--output-dir", str(tmp_path), "--budget", wrong]
    assert app.main(command) == 2
    assert capsys.readouterr().err == (
        f"error: --budget: must be a number of s, m, h or d, such as 90m or 8h, not '{wrong}'\n"
    )


# 100 images, a second; seeds look at 642 test images in 1.3 s, and the 1,267 images are decoded in as long.
TRAINED = {"steps": 10, "batch_size": 10, "warmup": 1}


def asked_of(tmp_path: Path, budget: str) -> Options:
    values = {"task": "clipart", "model": "mixer_nano", "protocol": "finetune", "settings": TRAINED, "device": "cpu"}
    return Options.model_validate({**values, "budget": budget, "output_dir": tmp_path})


@pytest.mark.parametrize(
    ("budget_of", "seeds", "rates", "said"),
    [
        ("1h", 3, None, ""),
        ("13s", 3, None, ""),
        ("12s", 2, None, ": 2 of 3 seeds"),
        ("9s", 1, None, ": 1 of 3 seeds"),
        ("7s", 1, 3, ": 1 of 3 seeds, at most 3 rates a search"),
        ("4s", 1, 1, ": 1 of 3 seeds, at most 1 rates a search"),
    ],
)
def test_seeds_go_first_then_rates(
    tmp_path: Path, speed, budget_of: str, seeds: int, rates: int | None, said: str
) -> None:
    options, told = budget.trimmed(asked_of(tmp_path, budget_of))
    assert (options.seeds, options.rates, options.budget) == (seeds, rates, budget_of + said)
    assert told.seconds <= seconds_of(budget_of)
    assert told.remarks[0].startswith(f"budget {budget_of}{said}; about ")


def test_what_nothing_makes_fit_is_refused_in_one_line_and_not_begun(tmp_path: Path, speed, capsys) -> None:
    command = ["run", "--task", "clipart", "--model", "mixer_nano", "--device", "cpu", "--output-dir", str(tmp_path)]
    for more in ([], ["--dry-run"]):
        assert app.main([*command, "--budget", "2s", *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: --budget 2s: even 1 of 3 seeds, at most 1 rates a search, shots 1 alone takes ")
    assert not (tmp_path / "runs").exists()


def test_of_the_rates_those_left_are_spread_and_no_preset_is_claimed(tmp_path: Path) -> None:
    asked = request(asked_of(tmp_path, "1h"))
    for most, left in ((4, (0.003, 0.01, 0.03, 0.06)), (3, (0.003, 0.03, 0.06)), (2, (0.01, 0.06)), (1, (0.03,))):
        options = asked.options.model_copy(update={"rates": most, "settings": {}})
        variants = list(variants_of(dataclasses.replace(asked, options=options), asked.tasks[0], 625))
        assert {rates_of(variant.config) for variant in variants} == {left}
        assert {variant.preset for variant in variants} == {None if most < 4 else "mixer-paper"}


def test_records_say_what_was_trimmed(tmp_path: Path, speed, capsys) -> None:
    command = [
        "run",
        "--task",
        "digits",
        "--limit",
        "20",
        "--model",
        "pixels",
        "--protocol",
        "fewshot",
        "--shots",
        "1,5",
    ]
    command += ["--device", "cpu", "--output-dir", str(tmp_path), "--budget"]
    assert app.main([*command, "0.15s"]) == 0  # 60 images and 6 runs: 0.18 s
    assert "budget 0.15s: 2 of 3 seeds; about 0 s on " in capsys.readouterr().err
    records, _ = Store(tmp_path).records()
    assert sorted((record.run.config["shots"], record.run.seed) for record in records) == [
        (1, 0),
        (1, 1),
        (5, 0),
        (5, 1),
    ]
    assert {record.notes for record in records} == {("budget 0.15s: 2 of 3 seeds",)}
    assert app.main([*command, "1h"]) == 0
    assert {len(record.notes) for record in Store(tmp_path).records()[0]} == {0, 1}, "the third seed is of no budget"


def test_what_several_would_trim_each_its_own_way_is_refused(tmp_path: Path, capsys) -> None:
    command = ["run", "--task", "digits", "--model", "pixels", "--output-dir", str(tmp_path), "--budget", "1h"]
    for more in (["--shard", "1/2"], ["--gpus-per-run", "2"]):
        assert app.main([*command, *more]) == 2
        assert "--budget goes by the speed of one process" in capsys.readouterr().err
    assert app.main([*command, "--executor", "ray"]) == 2
    assert "--budget goes by the speed of this machine, and --executor ray works on others" in capsys.readouterr().err
