"""The resize on a device is Pillow's to the bit; tried on the CPU, which computes the same products."""

import numpy as np
import pytest
import torch
from PIL import Image

from mixer_bench.models import matrices
from mixer_bench.models.matrices import Resizer
from tests.models.test_preprocessing import preprocessing
from tests.patterns import SIZES, pattern

CPU = torch.device("cpu")


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [*SIZES, (1, 1, 5, 3), (1, 4000, 8, 8), (4000, 2, 16, 1), (9, 9, 9, 4)], ids=str)
def test_two_products_are_two_passes_of_pillow(interpolation: str, size: tuple[int, int, int, int]) -> None:
    (old_height, old_width, height, width), filter_ = size, Image.Resampling[interpolation.upper()]
    noise = np.random.default_rng(0).integers(0, 256, (old_height, old_width, 3), dtype=np.uint8)
    shown = np.stack([pattern(old_height, old_width), noise])
    made = matrices.resize(torch.from_numpy(shown), height, width, interpolation)
    for image, ours in zip(shown, made, strict=True):
        passes = Image.fromarray(image).resize((width, old_height), filter_).resize((width, height), filter_)
        assert np.array_equal(ours.numpy(), np.asarray(passes))


@pytest.mark.parametrize("together", [matrices.TOGETHER, 20_000, 100])
@pytest.mark.parametrize("interpolation", ["nearest", "bicubic"])
@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_images_of_any_sizes_become_the_squares_that_the_host_makes(
    resize: str, interpolation: str, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    sizes = [(37, 53), (64, 64), (37, 53), (1, 90), (53, 37), (200, 30), (37, 53)]
    images = [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    images[1] = np.dstack([images[1], images[1]])[..., :3]  # with more bytes between
    images[2].setflags(write=False)
    how = preprocessing(resolution=32, resize=resize, interpolation=interpolation, crop_pct=0.8)
    monkeypatch.setattr(matrices, "TOGETHER", together)
    made = Resizer(how, CPU)(images)
    assert made.dtype == torch.uint8
    assert np.array_equal(made.numpy(), np.stack([how.square(image) for image in images]))
