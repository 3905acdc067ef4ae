"""The checkpoint's own classifier, against timm's own forward pass of the whole network."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import mixer_bench
from mixer_bench import data
from mixer_bench.cli import app
from mixer_bench.data.readers import folder
from mixer_bench.errors import DataError, WeightsError
from mixer_bench.models import imagenet_classes, names, networks
from mixer_bench.results.store import Store
from mixer_bench.runs import checkup, plan
from mixer_bench.runs.options import Options
from mixer_bench.runs.request import request
from mixer_bench.task.task import TASKS

ARCHITECTURE = "resnet10t"
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
SYNSETS = ("n01440764", "n01443537", "n02085620", "n03000684")  # outputs 0, 1, 151 and 491
OUTPUTS = [0, 1, 151, 491]
SIDE = 64
TIMM = Path(timm.__file__).parent / "data/_info"


def noise(seed: int) -> np.ndarray:
    corners = np.random.default_rng(seed).integers(0, 256, (4, 4, 3))
    return np.kron(corners, np.ones((SIDE // 4, SIDE // 4, 1))).astype(np.uint8)


def logits_of(network: torch.nn.Module, images: list[np.ndarray]) -> np.ndarray:
    """timm's forward pass, of squares of the network's own side, normalised as its card says."""
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        return network((batch - 0.5) / 0.5).double().numpy()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, torch.nn.Module]:
    """A checkpoint of 1,000 classes in timm's layout, and images that it takes for four of them about equally often."""
    root = tmp_path_factory.mktemp("head")
    torch.manual_seed(0)
    network = timm.create_model(ARCHITECTURE, num_classes=1000).eval()
    classifier = network.get_classifier()
    torch.nn.init.normal_(classifier.weight, std=3.0)
    images = [noise(seed) for seed in range(60)]
    classifier.bias.data.sub_(torch.from_numpy(logits_of(network, images).mean(0)).float())
    (root / "model").mkdir()
    save_file(
        {key: value.contiguous() for key, value in network.state_dict().items()}, root / "model/model.safetensors"
    )
    evaluation = {"input_size": [3, SIDE, SIDE], "mean": MEAN, "std": STD, "interpolation": "bicubic", "crop_pct": 1.0}
    config = {"architecture": ARCHITECTURE, "num_classes": 1000, "num_features": 512, "pretrained_cfg": evaluation}
    (root / "model/config.json").write_text(json.dumps(config))
    taken_for = logits_of(network, images)[:, OUTPUTS].argmax(1)
    for seed, (image, place) in enumerate(zip(images, taken_for, strict=True)):
        split = "test" if seed >= 20 else "val" if seed % 2 else "train"
        folder = root / "images" / split / SYNSETS[place]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{seed}.png")
    assert all((root / "images" / split / name).is_dir() for split in ("train", "val", "test") for name in SYNSETS)
    return f"local-dir:{root / 'model'}", root / "images", network


def test_synsets_are_in_the_order_of_classifiers() -> None:
    assert [imagenet_classes.synsets().index(name) for name in SYNSETS] == OUTPUTS
    assert imagenet_classes.synsets() == tuple(timm.data.ImageNetInfo("imagenet-1k").label_names())


def test_predictions_are_those_of_timms_whole_network_among_the_tasks_classes(
    made: tuple[str, Path, torch.nn.Module], tmp_path: Path
) -> None:
    model, images, _ = made
    mixer_bench.run(task=str(images), model=model, protocol="head", output_dir=tmp_path, seeds=5)
    (record,), _ = Store(tmp_path).records()
    assert record.metrics["top1"].value == 1.0, "the classes are what timm's forward pass says"
    assert (record.run.seed, record.run.config, record.selection) == (0, {}, None)


def test_the_classifier_on_the_features_is_the_whole_network(made: tuple[str, Path, torch.nn.Module]) -> None:
    model, _, network = made
    weight, bias = networks.classifier(names.card(model))
    assert np.array_equal(weight, network.get_classifier().weight.detach().numpy())
    images = [noise(seed) for seed in range(100, 108)]
    with torch.inference_mode():
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
        features = network.forward_head(network.forward_features(batch), pre_logits=True).numpy()
    assert np.allclose(features @ weight.T + bias, logits_of(network, images), atol=1e-3)


@pytest.mark.parametrize(
    ("model", "task", "left_out"),
    [
        ("random:resnet_nano", "images", True),
        ("pixels", "images", True),
        ("checkpoint", "digits", True),  # whose classes are others
        ("checkpoint", "images", False),
    ],
)
def test_models_and_tasks_that_do_not_fit_are_left_out_by_name(
    model: str, task: str, left_out: bool, made: tuple[str, Path, torch.nn.Module], tmp_path: Path
) -> None:
    asked = {"checkpoint": made[0], "images": str(made[1])}
    options = Options(task=(asked.get(task, task),), model=(asked.get(model, model),), protocol=("head",))
    todo = plan.make(request(options), Store(tmp_path))
    words = [remark for remark in plan.remarks(todo, None) if "classes that head could judge; left out" in remark]
    assert (len(words), len(todo.asked)) == ((1, 0) if left_out else (0, 1))


def test_a_checkpoint_without_a_classifier_is_named() -> None:
    with pytest.raises(WeightsError, match="mixer_nano: its checkpoint has no classifier"):
        networks.classifier(names.card("mixer_nano"))


@pytest.mark.parametrize(
    ("class_names", "outputs", "words"),
    [
        (SYNSETS, 21_843, "tells 21,843 classes apart, not ImageNet's 1,000"),
        (("cat", "dog"), 1000, "the task's 2 classes are not named as ImageNet's"),
        (("n99999999",), 1000, "n99999999 is none of ImageNet's"),
    ],
)
def test_classes_that_the_classifier_does_not_tell_apart(class_names, outputs, words) -> None:
    with pytest.raises(WeightsError, match=words):
        imagenet_classes.columns(class_names, outputs)


# --- some of ImageNet's classes, nothing to learn from

MAKERS = {  # SHA-256 of the outputs that eval.py in hendrycks/natural-adv-examples and hendrycks/imagenet-r takes
    "imagenet-a": "1b241a7a5dd97991",  # thousand_k_to_200
    "imagenet-r": "becd1bb8e8059908",  # imagenet_r_wnids
}


@pytest.mark.parametrize("classes", MAKERS)
def test_the_classes_of_a_subset_are_its_makers(classes: str) -> None:
    outputs = imagenet_classes.columns(imagenet_classes.synsets(classes), 1000)
    assert hashlib.sha256(" ".join(map(str, outputs)).encode()).hexdigest()[:16] == MAKERS[classes]


@pytest.fixture
def among_200(tmp_path: Path) -> list[str]:
    """The command of a run on ImageNet-A's folder with an image a class, of which those of even numbers differ."""
    for place, name in enumerate(imagenet_classes.synsets("imagenet-a")):
        (tmp_path / "imagenet-a" / name).mkdir(parents=True)
        Image.fromarray(noise(place)).save(tmp_path / f"imagenet-a/{name}/{place}.png")
    (tmp_path / "imagenet-a/README.txt").write_text("by its makers")
    text = (TASKS / "imagenet_a.toml").read_text().replace("test = 7500", "test = 200")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/small_a.toml").write_text(text)
    where = ["--include", tmp_path / "tasks", "--data-dir", tmp_path, "--output-dir", tmp_path / "results"]
    return ["run", "--task", "small_a", *map(str, where)]


def test_a_classifier_is_judged_among_the_subsets_classes_alone(
    made: tuple[str, Path, torch.nn.Module], among_200: list[str], tmp_path: Path, capsys, quick_speeds
) -> None:
    model, _, network = made
    assert app.main([*among_200, "--model", model, "--protocol", "head", "--dry-run"]) == 0
    assert app.main([*among_200, "--model", model, "--protocol", "head,fewshot"]) == 0
    told = "small_a: has test alone, nothing that fewshot could learn from; take --protocol head; left out"
    assert told in capsys.readouterr().err
    store = Store(tmp_path / "results")
    (record,), _ = store.records()
    logits = logits_of(network, [noise(place) for place in range(200)])
    outputs = [int(line) for line in (TIMM / "imagenet_a_indices.txt").read_text().split()]
    assert store.predictions(record).prediction.tolist() == logits[:, outputs].argmax(1).tolist()
    assert (logits.argmax(1) != np.array(outputs)[logits[:, outputs].argmax(1)]).any(), "among all it would differ"
    assert (record.n_train, record.n_val, record.n_test) == (0, 0, 200)
    assert app.main(["report", "--results", str(tmp_path / "results")]) == 0
    assert "small_a" in capsys.readouterr().out
    assert app.main(["prepare", *among_200[1:-2]]) == 0
    assert app.main(["doctor", *among_200[1:-2]]) == 0
    assert "0/0/200" in capsys.readouterr().out
    audited = ["audit-preprocessing", *among_200[1:-2], "--model", model, "--protocol", "head", "--limit", "10"]
    assert app.main(audited) == 0


@pytest.mark.parametrize(
    ("name", "new_name", "words"),
    [
        ("n01498041", "", "n01498041 missing; unpack it again"),
        (
            "n01498041",
            "n01440764",
            "n01498041 missing; n01440764 too many; unpack it again",
        ),  # tench, an ImageNet class
        ("n01498041", "stingray", "n01498041 missing; stingray too many; unpack it again"),
    ],
)
def test_other_class_folders_than_the_subsets_are_refused_by_name(
    name: str, new_name: str, words: str, among_200: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "imagenet-a" / name).rename(tmp_path / "imagenet-a" / new_name if new_name else tmp_path / "away")
    assert app.main([*among_200, "--model", "pixels", "--protocol", "head"]) == 3
    assert f"its classes are not imagenet-a's 200: {words}" in capsys.readouterr().err


def test_folders_that_are_renamed_are_other_data(made: tuple[str, Path, torch.nn.Module], tmp_path: Path) -> None:
    """Of the same images in the same order another output of the classifier is then asked for."""
    fingerprints = set()
    for called in (SYNSETS, (*SYNSETS[:3], "n03000247")):
        place = flat(made[1], tmp_path / called[-1], called)
        fingerprints.add(data.load(folder.task_of(place)).fingerprint)
    assert len(fingerprints) == 2


# --- doctor --model


def flat(images: Path, place: Path, called: tuple[str, ...] = SYNSETS) -> Path:
    for synset, name in zip(SYNSETS, called, strict=True):
        (place / name).mkdir(parents=True)
        for file in images.glob(f"*/{synset}/*.png"):
            (place / name / file.name).write_bytes(file.read_bytes())
    return place


def test_a_model_that_is_what_its_card_says_passes(made: tuple[str, Path, torch.nn.Module], tmp_path: Path) -> None:
    model, images, network = made
    done = checkup.examine(model, flat(images, tmp_path / "a", tuple(map(str, OUTPUTS))))
    squares = [np.asarray(Image.open(file)) for file in sorted((tmp_path / "a").glob("*/*.png"))]
    labels = [int(file.parent.name) for file in sorted((tmp_path / "a").glob("*/*.png"))]
    right = (logits_of(network, squares).argmax(1) == labels).sum()
    assert (done.images, done.outcomes[0].right) == (60, right)


def test_a_wrong_mean_is_noticed(made: tuple[str, Path, torch.nn.Module], tmp_path: Path) -> None:
    model, _, network = made
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    source = Path(model.removeprefix("local-dir:"))
    config = json.loads((source / "config.json").read_text())
    config["pretrained_cfg"] |= {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    (wrong / "config.json").write_text(json.dumps(config))
    (wrong / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    # Classes as the whole network gives them, so that it is right with the normalisation of its training alone.
    called = logits_of(network, [noise(seed) for seed in range(60)]).argmax(1)
    for seed, output in enumerate(called.tolist()):
        (tmp_path / "b" / str(output)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(seed)).save(tmp_path / "b" / str(output) / f"{seed}.png")
    assert checkup.examine(model, tmp_path / "b").state == "ok"
    doubtful = checkup.examine(f"local-dir:{wrong}", tmp_path / "b")
    assert doubtful.state == "doubtful"
    assert "with mean and std 0.5 it is surer of the right classes" in doubtful.remarks[0]


def test_class_folders_that_say_no_class_are_refused(tmp_path: Path, made: tuple[str, Path, torch.nn.Module]) -> None:
    place = flat(made[1], tmp_path / "c", ("cat", "dog", "7", "8"))
    with pytest.raises(DataError, match="must be called n01440764"):
        checkup.examine(made[0], place)
