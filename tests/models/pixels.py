"""Digests of the pixels that a network is given: of encoded images, of images resized, of images prepared.

``python -m tests.models.pixels`` writes them down, and encodes those images that are not there; whoever means to move
pixels raises ``Preprocessing``'s version with them.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image

from mixer_bench.data.decoding import decode
from mixer_bench.models import resampling
from mixer_bench.models.preprocessing import Preprocessing
from tests.patterns import SIZES, digest, pattern

TABLE = Path(__file__).parents[1] / "golden/pixels.csv"
ENCODED = TABLE.with_name("encoded")  # committed: encoders change more often than decoders
ORIENTATION = 0x0112  # the tag of EXIF
PREPARED = [(37, 53), (375, 500), (500, 375), (64, 64), (3, 700), (700, 3)]  # height and width

SHOWN = Image.fromarray(pattern(37, 53))
EXIF = Image.Exif()
EXIF[ORIENTATION] = 6
MADE: dict[str, tuple[Image.Image, dict[str, object]]] = {
    "420.jpg": (SHOWN, {"quality": 75, "subsampling": 2}),
    "422.jpg": (SHOWN, {"quality": 90, "subsampling": 1}),
    "444-progressive.jpg": (SHOWN, {"quality": 85, "subsampling": 0, "progressive": True}),
    "grey.jpg": (SHOWN.convert("L"), {"quality": 75}),
    "cmyk.jpg": (SHOWN.convert("CMYK"), {"quality": 75}),
    "orientation-6.jpg": (SHOWN, {"quality": 75, "exif": EXIF}),
    "rgb.png": (SHOWN, {}),
    "palette.png": (SHOWN.quantize(16), {"transparency": 3}),
    "grey-16-bit.png": (Image.fromarray(pattern(37, 53)[..., 0].astype(np.uint16) * 251), {}),
    "alpha.png": (Image.fromarray(np.dstack([pattern(37, 53), pattern(53, 37)[..., 1].T])), {}),
    "lossy.webp": (SHOWN, {"quality": 75}),
    "lossless.webp": (SHOWN, {"lossless": True}),
    "256-colours.gif": (SHOWN.quantize(256), {}),
}


def digests() -> Iterator[tuple[str, str]]:
    """Give what was done, in words, with the digest of the pixels that came out."""
    for name in MADE:
        content = (ENCODED / name).read_bytes()
        for upright in (False, True):
            yield f"decode {name} {'upright' if upright else 'stored'}", digest(decode(content, name, upright))
    for interpolation in get_args(resampling.Interpolation):
        for height, width, *size in SIZES:
            made = resampling.pillow(pattern(height, width), *size, interpolation)
            yield f"{interpolation} {height} x {width} to {size[0]} x {size[1]}", digest(made)
        for resize, share in (("squash", 1.0), ("crop", 1.0), ("crop", 0.875)):
            values = {"resolution": 64, "mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": interpolation}
            how = Preprocessing.model_validate({**values, "crop_pct": share, "resize": resize})
            for height, width in PREPARED:
                square = how.square(pattern(height, width))
                yield f"version {how.version} {interpolation} {resize} {share:g} of {height} x {width}", digest(square)


def table() -> dict[str, str]:
    """Return the digests as they were written down."""
    with TABLE.open(encoding="utf-8", newline="") as opened:
        return {row["what"]: row["sha256"] for row in csv.DictReader(opened)}


if __name__ == "__main__":
    ENCODED.mkdir(exist_ok=True)
    for name, (image, options) in MADE.items():
        if not (ENCODED / name).exists():
            image.save(ENCODED / name, **options)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("what", "sha256"), *digests()])
    TABLE.write_text(text.getvalue(), encoding="utf-8")
