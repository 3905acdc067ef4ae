"""Runs taken away: the folder alone predicts what the record says, and what was changed or is not there is named."""

import hashlib
import json
import os
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image

import mixer_bench
from mixer_bench.cli import app
from mixer_bench.data.decoding import decode
from mixer_bench.errors import ResultsError
from mixer_bench.export import exporting, predicting
from mixer_bench.models import checkpoints, networks
from mixer_bench.models.card import Architecture
from mixer_bench.results.kept import digest
from mixer_bench.results.probes import Affine
from mixer_bench.results.record import Record
from mixer_bench.results.store import Store, read_record
from mixer_bench.runs import keeping
from mixer_bench.system import arrays, files
from tests.builders import resealed

LIMIT = 40
TASK = ["--task", "digits", "--limit", f"{LIMIT}", "--seeds", "1", "--device", "cpu"]
FINETUNE = ["--preset", "small", "--set", "steps=4", "--set", "warmup=1", "--set", "batch_size=16"]
FINETUNE += ["--set", "learning_rates=0.1"]
PROTOCOLS = ("fewshot", "linear", "knn", "finetune")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each protocol."""
    folder = tmp_path_factory.mktemp("results")
    command = ["run", *TASK, *FINETUNE, "--model", "mixer_nano", "--protocol", ",".join(PROTOCOLS), "--shots", "5"]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MIXER_BENCH_CACHE", f"{folder / 'cache'}")
        assert app.main([*command, "--save-model", "--output-dir", f"{folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test split, written out."""
    folder = tmp_path_factory.mktemp("images")
    test = mixer_bench.load_task("digits").limited(LIMIT).test
    for number in range(len(test)):
        Image.fromarray(test.images[number]).save(folder / f"{number:02d}.png")
    return folder


def record_of(results: Path, protocol: str) -> tuple[Path, Record]:
    (file,) = (file for file in (results / "runs").rglob("*.json") if read_record(file).run.protocol == protocol)
    return file, read_record(file)


def classes_of(results: Path, record: Record) -> list[str]:
    names = mixer_bench.load_task("digits").class_names
    return [names[number] for number in Store(results).predictions(record).prediction]


@pytest.fixture
def exported(results: Path, tmp_path: Path) -> Path:
    """The linear probe's folder."""
    mixer_bench.export(record_of(results, "linear")[0], tmp_path / "exported", results)
    return tmp_path / "exported"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_folder_alone_predicts_the_test_split_to_the_last_one(
    protocol: str, results: Path, images: Path, tmp_path: Path, capsys
) -> None:
    _, record = record_of(results, protocol)
    assert app.main(["export", record.run.key[:9], "--to", f"{tmp_path / 'to'}", "--results", f"{results}"]) == 0
    assert f"{record.metrics['top1'].value:.1%}" in capsys.readouterr().out
    assert app.main(["predict", f"{tmp_path / 'to'}", f"{images}", "--output", f"{tmp_path / 'out.csv'}"]) == 0
    table = pd.read_csv(tmp_path / "out.csv", dtype={"class": str})
    assert table["file"].tolist() == [str(images / f"{number:02d}.png") for number in range(LIMIT)]
    assert table["class"].tolist() == classes_of(results, record)
    column = {"fewshot": "score", "knn": "share"}.get(protocol, "probability")
    assert table.columns.tolist()[:5] == ["file", "class", column, "class_2", f"{column}_2"]
    assert (table[column] >= table[f"{column}_2"]).all()
    assert len(table.drop(columns="file").drop_duplicates()) > 5, "the model must tell images apart"
    scores = Store(results).predictions(record).score
    if protocol in ("fewshot", "finetune"):  # whose scores are told as they are
        np.testing.assert_allclose(table[column], scores, rtol=1e-6)
    whole = mixer_bench.predict(tmp_path / "to", images, top=99)
    of_all = whole.filter(regex=rf"^{column}").to_numpy()
    assert of_all.shape == (LIMIT, 10)
    if protocol != "fewshot":
        np.testing.assert_allclose(of_all.sum(1), 1)
    told = (tmp_path / "to" / "export.json").read_text()
    assert json.loads(told)["licences"]["data"].startswith("CC BY 4.0")
    assert str(results) not in told
    assert not re.search(r'"/(home|root|tmp|work|Users)', told)


ARCHITECTURES = {
    "a ViT's GELU by tanh": Architecture(timm="test_vit", gelu="tanh", args={"img_size": 32}),
    "a Mixer's": Architecture(timm="mixer_s32_224", gelu="tanh", args={"img_size": 32}),
    "a ResNet": Architecture(timm="test_resnet"),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_timm_loads_a_trained_network_by_the_call_that_is_told(name: str, tmp_path: Path, monkeypatch) -> None:
    architecture = ARCHITECTURES[name]
    monkeypatch.chdir(tmp_path)
    trained = networks.build(architecture, num_classes=7, seed=1).eval()
    with torch.no_grad():  # random heads of timm are nearly zero
        trained.get_classifier().weight.normal_(generator=torch.Generator().manual_seed(0))
    Path("model.safetensors").write_bytes(checkpoints.content(trained))
    theirs = eval(exporting._timm(architecture, 7), {"timm": timm}).eval()
    side = architecture.args.get("img_size", 224)
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(theirs(images), trained(images), rtol=1e-5, atol=1e-5)
        assert trained(images).std() > 0.01, "the networks must tell images apart"


def test_a_record_that_kept_no_probe_is_fitted_again_and_proved(results: Path, tmp_path: Path, capsys) -> None:
    file, record = record_of(results, "fewshot")
    older = Store(tmp_path).save(record.model_copy(update={"kept": None}), Store(results).predictions(record))
    mixer_bench.export(older, tmp_path / "again", tmp_path)
    mixer_bench.export(file, tmp_path / "kept", results)
    assert (tmp_path / "again" / "probe.safetensors").read_bytes() == file.with_suffix(".safetensors").read_bytes()
    predictions = Store(results).predictions(record)
    predictions.prediction[0] = (predictions.prediction[0] + 1) % 10
    arrays.save(
        older.with_suffix(".npz"),
        **{name: values for name, values in vars(predictions).items() if name != "confidence"},
    )
    with pytest.raises(ResultsError, match="1 of 40 test images are predicted otherwise"):
        mixer_bench.export(older, tmp_path / "never", tmp_path)
    limited = record.run.model_copy(update={"limit": 30})
    other = Store(tmp_path).save(record.model_copy(update={"kept": None, "run": limited}), predictions)
    assert app.main(["export", f"{other}", "--to", f"{tmp_path / 'never'}"]) == 3
    assert "its images are not those of the record" in capsys.readouterr().err
    assert not (tmp_path / "never").exists()


def test_a_network_that_was_not_kept_is_trained_again_by_the_command_that_is_told(
    results: Path, tmp_path: Path, capsys
) -> None:
    _, record = record_of(results, "finetune")
    bare = Store(tmp_path).save(record.model_copy(update={"kept": None}), Store(results).predictions(record))
    assert app.main(["export", f"{bare}", "--to", f"{tmp_path / 'to'}"]) == 1
    command = re.search(r"train it again: mixer-bench (.*)", capsys.readouterr().err)[1]
    assert app.main([*shlex.split(command), "--output-dir", f"{tmp_path}"]) == 0
    assert mixer_bench.export(bare, tmp_path / "to").record.kept == record.kept, "the same network"


@pytest.mark.parametrize("name", ["model.safetensors", "probe.safetensors", "export.json"])
def test_a_folder_that_was_changed_is_refused_by_name(name: str, exported: Path, images: Path, capsys) -> None:
    content = bytearray((exported / name).read_bytes())
    content[-20] ^= 1
    (exported / name).write_bytes(content)
    assert app.main(["predict", f"{exported}", f"{images}"]) == 1
    assert f"{exported / name}: " in capsys.readouterr().err
    (exported / name).unlink()
    assert app.main(["predict", f"{exported}", f"{images}"]) == 1
    assert f"{exported / name}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [{"timm": "hf-hub:a/b"}, {"timm": "test_vit", "args": {"checkpoint_path": "x"}}, {"class_": "load_checkpoint"}],
    ids=str,
)
def test_a_strangers_folder_builds_networks_and_does_nothing_else(changes, exported: Path, capsys) -> None:
    Path(exported, "image.png").touch()
    told = json.loads((exported / "export.json").read_text())
    told["architecture"] = {"args": {}, **changes}
    (exported / "export.json").write_text(resealed(json.dumps(told)))
    assert app.main(["predict", f"{exported}", f"{exported}"]) in (1, 2)
    assert "names more than a network" in (said := capsys.readouterr().err) or "no network class" in said


def test_a_folder_whose_parts_do_not_fit_is_refused(exported: Path, results: Path, images: Path, capsys) -> None:
    told = json.loads((exported / "export.json").read_text())
    told["classes"] = told["classes"][1:]
    (exported / "export.json").write_text(resealed(json.dumps(told)))
    assert app.main(["predict", f"{exported}", f"{images}"]) == 1
    assert "scores of shape (1, 10) for 9 classes" in capsys.readouterr().err


ODD = ["=1+1.png", "-x.png", "a,b.png", 'quo"te.png', "line\nbreak.png", "\x1b[31mred.png", "sub/é.png"]


@pytest.mark.posix
def test_names_are_shown_exactly_and_steer_nothing(exported: Path, images: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    for name in ODD:
        shutil.copy(images / "00.png", name)
    (exported / "more").mkdir()
    assert app.main(["predict", "exported", "--output", "out.csv", "--", *ODD]) == 0
    names = pd.read_csv("out.csv")["file"].tolist()
    assert names == [f"./{name}" if name[0] in "=-" else name for name in ODD]
    assert all(Path(name).is_file() for name in names)
    assert app.main(["predict", "exported", "--json", "--output", "out.jsonl", "--", *ODD]) == 0
    lines = Path("out.jsonl").read_text().splitlines()
    assert [json.loads(line)["file"] for line in lines] == ODD
    assert Path("out.jsonl").read_text().isascii()
    assert "\x1b" not in Path("out.jsonl").read_text()


def test_broken_images_are_named_and_the_rest_is_predicted(
    exported: Path, images: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mixed", "deeper").mkdir(parents=True)
    shutil.copy(images / "07.png", "mixed/a.png")
    Path("mixed/b.jpg").write_bytes((images / "07.png").read_bytes()[:90])
    Path("mixed/c.png").write_text("<html>")
    Path("mixed/notes.txt").write_text("no image")
    Image.new("L", (1, 500)).save("mixed/deeper/tall.png")
    assert app.main(["predict", "exported", "mixed", "gone.png", "--top", "1"]) == 3
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == "file,class,probability,error"
    assert [line.split(",")[0] for line in lines[1:]] == [
        "mixed/a.png",
        "mixed/b.jpg",
        "mixed/c.png",
        "mixed/deeper/tall.png",
        "gone.png",
    ]
    alone = mixer_bench.predict("exported", images / "07.png", top=1)
    assert lines[1] == f"mixed/a.png,{alone['class'][0]},{alone['probability'][0]},"
    assert all(line.split(",")[1:3] == ["", ""] for line in (lines[2], lines[3], lines[5]))
    for said in ("b.jpg: cannot be decoded", "it is a web page", "gone.png: cannot be read", "3 of 5 images", "1 f"):
        assert said in shown.err
    Path("empty").mkdir()
    assert app.main(["predict", "exported", "empty"]) == 3
    assert "there are no images to predict" in capsys.readouterr().err


@pytest.fixture
def broken_off(exported: Path, images: Path, tmp_path: Path) -> list[str]:
    """The command that predicts 40 images in batches of 8, ended in the third."""

    def interrupted(content: bytes, name: str, upright: bool) -> np.ndarray:
        if name.endswith("17.png"):
            raise KeyboardInterrupt
        return decode(content, name, upright)

    command = ["predict", f"{exported}", f"{images}", "--batch-size", "8", "--output", f"{tmp_path / 'out.csv'}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predicting, "decode", interrupted)
        assert app.main(command) == 130
    assert not (tmp_path / "out.csv").exists()
    assert len((tmp_path / "out.csv.part").read_text().splitlines()) == 1 + 16
    return command


def test_predictions_that_were_broken_off_go_on(
    broken_off: list[str], exported: Path, images: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    with (tmp_path / "out.csv.part").open("ab") as file:
        file.write(b'["half a li')
    seen: list[str] = []

    def noted(content: bytes, name: str, upright: bool) -> np.ndarray:
        seen.append(Path(name).name)
        return decode(content, name, upright)

    monkeypatch.setattr(predicting, "decode", noted)
    assert app.main(broken_off) == 0
    assert "16 of 40 images were predicted before: going on" in capsys.readouterr().err
    assert sorted(set(seen)) == [f"{number:02d}.png" for number in range(16, 40)]
    assert not (tmp_path / "out.csv.part").exists()
    mixer_bench.predict(exported, images, batch_size=8, output=tmp_path / "whole.csv")
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize("change", ["options", "image", "model"])
def test_predictions_of_something_else_are_begun_anew(
    change: str, broken_off: list[str], exported: Path, images: Path, results: Path, tmp_path: Path, capsys
) -> None:
    if change == "options":
        broken_off += ["--top", "2"]
    elif change == "image":
        os.utime(images / "03.png")
    else:
        shutil.rmtree(exported)
        mixer_bench.export(record_of(results, "fewshot")[0], exported, results)
    assert app.main(broken_off) == 0
    assert "begun anew" in capsys.readouterr().err
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 41


def test_what_has_the_name_of_unfinished_predictions_stays(
    exported: Path, images: Path, tmp_path: Path, capsys
) -> None:
    (tmp_path / "out.csv.part").write_text("mine")
    assert app.main(["predict", f"{exported}", f"{images}", "--output", f"{tmp_path / 'out.csv'}"]) == 1
    assert "in the way" in capsys.readouterr().err
    assert (tmp_path / "out.csv.part").read_text() == "mine"


def test_only_an_export_of_the_same_run_is_replaced(results: Path, exported: Path, tmp_path: Path, capsys) -> None:
    before = {file.name: file.read_bytes() for file in exported.iterdir()}
    (exported / "probe.safetensors").write_bytes(b"damaged")
    linear, knn = (f"{record_of(results, protocol)[0]}" for protocol in ("linear", "knn"))
    assert app.main(["export", linear, "--to", f"{exported}"]) == 0
    assert {file.name: file.read_bytes() for file in exported.iterdir()} == before
    assert app.main(["export", knn, "--to", f"{exported}"]) == 2
    assert "holds the export of another run" in capsys.readouterr().err
    for place in (results, tmp_path / "file"):
        (tmp_path / "file").write_text("mine")
        assert app.main(["export", linear, "--to", f"{place}"]) == 2
        assert "is there and no export" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"
    assert [place.name for place in tmp_path.iterdir() if place.name.startswith(".")] == []


def test_a_full_disk_leaves_what_was_there(results: Path, exported: Path, monkeypatch, capsys) -> None:
    before = {file.name: file.read_bytes() for file in exported.iterdir()}
    write = files.write

    def full(path: Path, content: object) -> None:
        if path.name == "export.json":
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(files, "write", full)
    for place in (exported, exported.with_name("new")):
        assert app.main(["export", f"{record_of(results, 'linear')[0]}", "--to", f"{place}"]) == 1
        assert f"cannot write {place}: No space left on device" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in exported.iterdir()} == before
    assert [*exported.parent.iterdir()] == [exported]


def test_large_probes_are_not_kept_and_small_ones_are(task_data) -> None:
    group = SimpleNamespace(data=task_data, task=SimpleNamespace(licence="mine"))
    for width, small in ((1000, True), (30_000, False)):
        probe = Affine(np.zeros(width), np.ones(width), np.zeros((3, width)), np.zeros(3))
        content = keeping.of_probe(group, probe)
        assert (content is not None) == small
        assert content is None or digest(content) == hashlib.sha256(content).hexdigest()
    assert keeping.of_probe(group, None) is None, "a protocol of a package may give none"
