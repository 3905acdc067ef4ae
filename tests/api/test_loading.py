"""A model of one's own hand: what runs see of a task's images, and of images in whatever form they are at hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mixer_bench
from mixer_bench.data.examples import Examples
from mixer_bench.errors import DataError, UsageError
from mixer_bench.models import names
from mixer_bench.system import arrays


@pytest.fixture(scope="module")
def model():
    return mixer_bench.load_model("random:vit_nano", device="cpu")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 40, 56, 3), dtype=np.uint8)


def test_images_in_any_form_have_the_same_features(model, images: np.ndarray, tmp_path: Path) -> None:
    expected = model.features(images)
    assert (expected.shape, expected.dtype) == ((5, 160), np.float32)
    files = [tmp_path / f"{number}.png" for number in range(5)]
    opened = [Image.fromarray(image) for image in images]
    for image, file in zip(opened, files, strict=True):
        image.save(file)
    channels_first = torch.from_numpy(images).permute(0, 3, 1, 2)
    for given in (opened, files, [*map(str, files)], [*images], torch.from_numpy(images), channels_first):
        np.testing.assert_array_equal(model.features(given), expected)
    assert np.allclose(model.features(images, batch_size=2), expected, atol=1e-5)


def test_the_features_are_those_of_the_card_computed_by_timms_own_preparation(model, images: np.ndarray) -> None:
    from timm.data import create_transform

    card = names.card("random:vit_nano")
    side = card.preprocessing.resolution
    transform = create_transform(
        side, mean=card.preprocessing.mean, std=card.preprocessing.std, interpolation="bicubic", crop_pct=1.0
    )
    inputs = torch.stack([transform(Image.fromarray(image)) for image in images])
    with torch.inference_mode():
        expected = model.backbone.network(inputs).numpy()
    np.testing.assert_allclose(model.features(images), expected, atol=1e-4)


def test_features_of_a_task_are_those_that_a_run_keeps(model, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MIXER_BENCH_CACHE", f"{tmp_path}")
    mixer_bench.run("clipart", "random:vit_nano", "knn", limit=30, device="cpu", output_dir=tmp_path)
    kept = [arrays.load_rows(file)[0] for file in tmp_path.glob("features/*.npy")]
    features = model.features(mixer_bench.load_task("clipart").limited(30).test)
    assert any(np.allclose(features, rows, atol=1e-5) for rows in kept)


def test_a_task_decides_whether_images_are_squashed(model) -> None:
    assert mixer_bench.load_task("clipart").test.take(np.arange(3)).resize == "squash"
    wide = np.zeros((2, 30, 90, 3), np.uint8)
    wide[:, :, :30] = 255  # a crop does not see it
    labelled = Examples(wide, np.zeros(2, np.int64), (), (), resize="squash")
    squashed = model.features(wide, resize="squash")
    np.testing.assert_array_equal(model.features(labelled), squashed)
    assert not np.allclose(model.features(wide), squashed)


def test_what_is_no_list_of_images_is_refused_in_words(model, images: np.ndarray, tmp_path: Path) -> None:
    for one in (images[0], Image.fromarray(images[0]), "a.png", torch.from_numpy(images[0])):
        with pytest.raises(UsageError, match="put it into a list"):
            model.features(one)
    with pytest.raises(UsageError, match=r"a task's split \(task.test\)"):
        model.features(mixer_bench.load_task("digits"))
    with pytest.raises(UsageError, match="perhaps with its label"):
        model.features([(images[0], 1)])
    with pytest.raises(UsageError, match="float32"):
        model.features(images.astype(np.float32) / 255)
    with pytest.raises(UsageError, match=r"\[40, 56, 1\]"):
        model.features(images[..., :1])
    with pytest.raises(DataError, match="No such file"):
        model.features([tmp_path / "none.png"])
    (tmp_path / "notes.png").write_text("<html>")
    with pytest.raises(DataError, match="cannot be decoded"):
        model.features([tmp_path / "notes.png"])
