"""Cells and shards: parts of a request that together ask for what it asks for, made without an image or a network."""

from pathlib import Path

import pytest

from mixer_bench import data
from mixer_bench.cli import app
from mixer_bench.errors import UsageError
from mixer_bench.executors import Cell, cells
from mixer_bench.models import weights
from mixer_bench.results.store import Store
from mixer_bench.runs import plan
from mixer_bench.runs.options import Options
from mixer_bench.runs.request import request
from tests.executors.workers import essence

ASKED = {"task": "embedded", "model": "mixer_nano,vit_nano,resnet_nano,pixels", "limit": 20, "preset": "small"}
OPTIONS = Options(**ASKED, protocol="fewshot,knn,finetune", shots=[1, 5], seeds=2, settings={"l2": "64"})


def planned(options: Options) -> list[str]:
    return [f"{run.model} {run.key}" for run in plan.make(request(options), Store(Path("nowhere"))).asked]


def folders(*places: Path) -> None:
    for place in places:
        for name in ("cats", "dogs"):
            (place / name).mkdir(parents=True)


@pytest.mark.parametrize("at_least", [1, 12, 1000])
def test_cells_ask_for_what_the_request_asks_for_each_run_once(at_least: int) -> None:
    made = cells.cells(cells.resolved(OPTIONS), at_least)
    asked = [run for cell in made for run in planned(cell.options)]
    assert len(asked) == len(set(asked))
    assert set(asked) == set(planned(OPTIONS))
    assert len({cell.claim for cell in made}) == len(made)
    # Models of equal squares are one cell a task, and each that is trained is one with all its seeds.
    assert len(made) == {1: 2 + 2 * 3, 12: 12, 1000: 2 * 4 + 2 * 3}[at_least]


def test_a_cell_travels_as_json() -> None:
    for cell in cells.cells(cells.resolved(OPTIONS)):
        assert Cell.model_validate_json(cell.model_dump_json()) == cell


def test_what_costs_most_comes_first() -> None:
    made = cells.cells(
        cells.resolved(Options(task="vtab/pets,imagenet", model="mixer_s32,mixer_l16", protocol="fewshot"))
    )
    weights_of = [cell.weight for cell in made]
    assert weights_of == sorted(weights_of, reverse=True)
    assert "imagenet" in made[0].label
    assert min(weights_of) > 0


def test_images_of_ones_own_are_asked_for_as_they_were_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders(tmp_path / "one" / "pets", tmp_path / "two" / "pets")
    options = Options(task="digits,./one/pets,two/pets/", model="pixels", protocol="knn", skip_bad=True)
    made = cells.cells(cells.resolved(options))
    assert {(cell.options.task, cell.options.skip_bad) for cell in made} == {
        (("digits",), False),
        (("./one/pets",), True),
        (("two/pets/",), True),
    }
    for cell in made:
        assert len(request(cell.options).tasks) == 1


def test_what_only_one_protocol_knows_is_not_asked_of_the_other() -> None:
    made = cells.cells(cells.resolved(OPTIONS))
    for cell in made:
        trains = cell.options.protocol == ("finetune",)
        assert cell.options.preset == ("small" if trains else None)
        assert cell.options.shots == (() if trains else (1, 5))
        assert cell.options.settings == ({} if trains else {"l2": "64"})
        request(cell.options)


def test_a_thousand_cells_are_made_without_reading_an_image_or_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("images or weights are read where cells are made")

    monkeypatch.setattr(data, "load", refused)
    monkeypatch.setattr(weights, "identity", refused)
    tasks = "vtab,avg5,imagenet_v2,digits,clipart"
    models = "mixer_b16,mixer_l16,vit_b16,vit_b32,resnet50,mixer_nano,vit_nano,resnet_nano,pixels"
    own = [tmp_path / f"folder{number}" for number in range(85)]
    folders(*own)
    asked = Options(task=[tasks, *map(str, own)], model=models, preset="small")
    made = cells.cells(cells.resolved(asked))
    assert len(made) >= 1000


def test_models_without_a_network_are_left_out_of_what_trains() -> None:
    whole = cells.resolved(OPTIONS)
    assert cells.untrained(whole) == [("pixels", "finetune")]
    assert not any("pixels" in cell.options.model for cell in cells.cells(whole) if "finetune" in cell.options.protocol)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_shards_are_a_partition_of_about_equal_weight_and_the_same_every_time(count: int) -> None:
    made = cells.cells(cells.resolved(OPTIONS), count)
    shards = [cells.shard(made, which, count) for which in range(1, count + 1)]
    assert sorted(cell.label for shard in shards for cell in shard) == sorted(cell.label for cell in made)
    assert all(shards)
    sums = [sum(cell.weight for cell in shard) for shard in shards]
    assert max(sums) - min(sums) <= max(cell.weight for cell in made)
    assert shards == [cells.shard(cells.cells(cells.resolved(OPTIONS), count), n, count) for n in range(1, count + 1)]


@pytest.mark.parametrize("text", ["5/4", "0/4", "a/b", "1/0", "-1/4", "1", "1/4/2", "", "１/4"])
def test_a_shard_that_is_none_is_refused(text: str, capsys, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        cells.shard_of(text)
    command = ["run", "--task", "digits", "--model", "pixels", "--protocol", "knn", "--shard", text]
    assert app.main([*command, "--output-dir", str(tmp_path)]) == UsageError.exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--shard {text}: must be I/N" in line
    assert list(tmp_path.iterdir()) == []


def test_four_shards_merged_are_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["run", "--task", "embedded", "--model", "resnet_nano,pixels", "--limit", "20"]
    asked += ["--protocol", "fewshot,knn", "--shots", "1", "--seeds", "2"]
    assert app.main([*asked, "--output-dir", "whole"]) == 0
    shards = [f"shard{number}" for number in range(1, 5)]
    for number, folder in enumerate(shards, 1):
        assert app.main([*asked, "--shard", f"{number}/4", "--output-dir", folder]) == 0
        assert essence(tmp_path / folder)
    assert app.main(["merge", "merged", *shards]) == 0
    assert essence(tmp_path / "merged") == essence(tmp_path / "whole")


def test_a_shard_that_nothing_falls_to_says_so(tmp_path: Path, capsys) -> None:
    command = ["run", "--task", "digits", "--model", "pixels", "--protocol", "knn", "--output-dir", str(tmp_path)]
    assert app.main([*command, "--shard", "2/2"]) == 0
    assert capsys.readouterr().err.startswith("shard 2/2: the others have all there is to do\n")
