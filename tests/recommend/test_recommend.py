"""The verb from end to end, on noisy colours: what it says, what it keeps, and that test decides nothing."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mixer_bench
from mixer_bench.cli import app
from mixer_bench.errors import MixerBenchError
from mixer_bench.profile import speed
from mixer_bench.profile.speed import Effort
from mixer_bench.recommend import candidates, decision, folds, recommend, work
from mixer_bench.recommend.finalists import Finalists
from mixer_bench.recommend.values import Labels
from mixer_bench.results.store import Store
from mixer_bench.runs import runner, speeds
from mixer_bench.system import code
from tests.builders import colours

MODELS = "pixels,random:resnet_nano"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("images") / "colours"
    splits = colours((120, 1, 60), noise=60.0).splits
    for split, examples in (("train", splits["train"]), ("test", splits["test"])):
        for number, (image, label) in enumerate(zip(examples.images, examples.labels, strict=True)):
            file = place / split / f"colour {label}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(image)).save(file)
    return place


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is timed and fitted, and 120 images are two rounds."""
    monkeypatch.setattr(folds, "GRID", (1e-2,))
    monkeypatch.setattr(folds, "SHARES", (0.5, 1.0))
    monkeypatch.setattr(candidates, "EFFORT", Effort(1, 1, 0.0, 1.0, (1, 1), 0.0))
    monkeypatch.setattr(speed, "LARGEST", speed.SMALLEST)
    monkeypatch.setattr(speed.gc, "collect", lambda *_: 0)  # over all that tests have loaded it takes the most time
    monkeypatch.setattr(speeds, "LONGEST", 0.01)
    monkeypatch.setattr(decision, "SMALLEST", 30)


def recommended(folder: Path, results: Path, *more: str) -> int:
    flags = ["--model", MODELS, "--output-dir", str(results), "--shots", "1", *(more or ("--budget", "1h"))]
    return app.main(["recommend", str(folder), *flags])


def test_from_a_folder_to_a_verdict_and_records_as_run_makes_them(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(runner, "execute", interrupted)
        assert recommended(folder, tmp_path / "a") == 130
    assert "the same command does the rest" in capsys.readouterr().err
    assert recommended(folder, tmp_path / "a") == 0
    said = capsys.readouterr()
    assert "Take pixels: top-1 accuracy" in said.out and "on 60 test images, without a network" in said.out
    assert "It beats the other one by more than chance" in said.out and "60 test images are few" in said.out
    assert "2 models, 120 labelled images" in said.err
    assert "take it away: mixer-bench export" in said.out and "labels look wrong (" in said.out
    ours = {record.run.key: record for record in Store(tmp_path / "a").records()[0]}
    (linear,) = [record for record in ours.values() if record.run.protocol == "linear"]
    assert linear.cost.images == 60  # those of test alone: the others' features were there
    # The same call again computes nothing, and says the same.
    monkeypatch.setattr(work.Work, "done", None)
    assert recommended(folder, tmp_path / "a") == 0
    assert capsys.readouterr().out == said.out
    # Not so where other code recommends.
    digests = code.digests()
    with monkeypatch.context() as patched:
        patched.setattr(code, "digests", lambda: {**digests, "recommend": "0" * 12})
        patched.setattr(work.Work, "done", interrupted)
        assert recommended(folder, tmp_path / "a") == 130
    capsys.readouterr()
    # A run that knows nothing of it gives the same record.
    monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path / "cache"))
    rows = mixer_bench.run(str(folder), "pixels", "linear", device="cpu", output_dir=tmp_path / "b")
    (row,) = rows[rows["metric"] == "top1"].to_dict("records")
    assert (linear.run.key, linear.metrics["top1"].value) == (row["key"], row["value"])


def test_labels_of_test_decide_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work.Work, "_suspected", lambda *_: None)
    monkeypatch.setattr(Finalists, "labels", lambda *_: Labels(fewest=1, most=1, more=5))
    other = tmp_path / "colours"
    shutil.copytree(folder, other)
    for old, new in (("colour 0", "kept"), ("colour 1", "colour 0"), ("kept", "colour 1")):
        (other / "test" / old).rename(other / "test" / new)
    one, two = (
        mixer_bench.recommend(str(place), "pixels", output_dir=tmp_path / place.parent.name, shots=1, budget="1h")
        for place in (folder, other)
    )
    assert one.winner.score == two.winner.score
    assert one.winner.accuracy is not None and two.winner.accuracy is not None
    assert two.winner.accuracy.value < one.winner.accuracy.value - 0.3


def test_limits_that_no_network_keeps_name_the_fastest(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recommended(folder, tmp_path, "--latency", "1us") == 1
    assert "no model fits: the fastest is random:resnet_nano" in capsys.readouterr().err
    with pytest.raises(MixerBenchError, match="no model fits"):
        mixer_bench.recommend(str(folder), MODELS, output_dir=tmp_path, memory="1kB", latency="1us")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--latency", "20"], "--latency: must be a number of ms or s, such as 20ms"),
        (["--memory", "much"], "--memory: must be a number of MB or GB"),
        (["--budget", "soon"], "--budget: must be a number of s, m, h or d"),
    ],
)
def test_limits_without_a_unit_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    assert recommended(folder, tmp_path, *flags) == 2
    assert words in capsys.readouterr().err


def test_all_that_is_wrong_with_a_folder_ends_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / "pets" / name).mkdir(parents=True)
    (tmp_path / "pets" / "cats" / "a.png").write_bytes(b"no image")
    assert app.main(["recommend", str(tmp_path / "pets"), "--output-dir", str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert "3 problems" in said and "dogs: class folder without images" in said and "left out with --skip-bad" in said


def test_a_group_of_tasks_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["recommend", "embedded", "--output-dir", str(tmp_path)]) == 2
    assert "recommend takes one task; embedded stands for clipart, digits" in capsys.readouterr().err


def test_what_is_here_is_told_from_what_a_connection_would_add() -> None:
    there, more = candidates.here()
    assert {"mixer_nano", "vit_nano", "resnet_nano", "pixels"} == {*there}
    assert {"mixer_b16", "vit_b16", "resnet50"} <= {*more}


def test_a_glob_stands_for_its_cards() -> None:
    assert [*recommend._typed(["pixels", "*_nano"])] == ["pixels", "mixer_nano", "vit_nano", "resnet_nano"]


def test_two_models_of_one_name_are_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "w.pth").touch()
    models = ",".join(f"file:{tmp_path}/{place}/w.pth?arch=resnet_nano" for place in ("a", "b"))
    assert app.main(["recommend", str(folder), "--model", models, "--output-dir", str(tmp_path)]) == 2
    assert "call one otherwise: &name=NAME" in capsys.readouterr().err
