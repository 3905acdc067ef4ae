"""Every version of Pillow, and of what it decodes with, gives the pixels that are written down."""

import numpy as np
import pytest
from PIL import Image

from mixer_bench.models import resampling
from tests.models import pixels
from tests.patterns import pattern

TABLE = pixels.table()


def test_pixels_are_those_of_the_table() -> None:
    """Where they moved on purpose: raise the version of ``Preprocessing``, then ``python -m tests.models.pixels``."""
    assert dict(pixels.digests()) == TABLE


def test_what_is_stored_differs_from_what_is_upright_where_exif_says_so_alone() -> None:
    pairs = {name: [TABLE[f"decode {name} {way}"] for way in ("stored", "upright")] for name in pixels.MADE}
    assert [name for name, (stored, upright) in pairs.items() if stored != upright] == ["orientation-6.jpg"]


@pytest.mark.parametrize("change", ["order of passes", "filter", "crop by one pixel", "rounding between the passes"])
def test_a_moved_pixel_is_seen(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(image: np.ndarray, height: int, width: int, interpolation: str, kept=(slice(None),) * 2) -> np.ndarray:
        filter_ = Image.Resampling["BICUBIC" if change == "filter" else interpolation.upper()]
        shown = Image.fromarray(image)
        if change == "order of passes":
            shown = shown.resize((image.shape[1], height), filter_).resize((width, height), filter_)
        elif change == "rounding between the passes":
            bands = [band.convert("F").resize((width, height), filter_) for band in shown.split()]
            return np.dstack([np.rint(np.asarray(band)).clip(0, 255).astype(np.uint8) for band in bands])[kept]
        else:
            shown = shown.resize((width, image.shape[0]), filter_).resize((width, height), filter_)
        made = np.asarray(shown)
        return (np.roll(made, 1, 0) if change == "crop by one pixel" else made)[kept]

    monkeypatch.setattr(resampling, "pillow", moved)
    monkeypatch.setattr(pixels, "PREPARED", [(37, 53), (375, 500)])
    assert any(TABLE[what] != found for what, found in pixels.digests())


@pytest.mark.parametrize(("height", "width"), [(6000, 1), (1, 6000), (3, 9000)])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_an_elongated_image_takes_no_memory_that_is_cut_off(height, width, interpolation, monkeypatch) -> None:
    made = []
    resize = Image.Image.resize

    def heard(self: Image.Image, size: tuple[int, int], *rest: object) -> Image.Image:
        made.append(size[0] * size[1])
        return resize(self, size, *rest)

    monkeypatch.setattr(Image.Image, "resize", heard)
    how = {"resolution": 224, "mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": interpolation, "crop_pct": 0.875}
    square = pixels.Preprocessing.model_validate(how).square(pattern(height, width))
    assert square.shape == (224, 224, 3)
    assert max(made, default=0) <= 256 * 9000, "pixels; the whole would be 256 x 1,536,000"
